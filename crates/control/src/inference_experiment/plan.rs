//! What to do next with an inference experiment. Pure: no clock, no IO.

use sagebrush_core::Timestamp;
use serde_json::Value;

use super::{
    Before, Goal, InferenceExperimentSpec, InferenceExperimentStatus, Layout, Outcome, Purpose,
    State, Stop, configs,
};
use crate::endpoint::{Deployment, EndpointState, shortened};

#[cfg(test)]
mod tests;

/// An experiment as the planner sees it.
pub(super) struct Seen<'a> {
    pub(super) spec: &'a InferenceExperimentSpec,
    pub(super) status: &'a InferenceExperimentStatus,
    pub(super) endpoint: Option<Endpoint<'a>>,
    /// Whether another experiment holds the same endpoint.
    pub(super) has_rival: bool,
    pub(super) now: Timestamp,
}

/// The endpoint of an experiment.
#[derive(Clone, Copy)]
pub(super) struct Endpoint<'a> {
    pub(super) state: &'a EndpointState,
    /// What was asked for last.
    pub(super) wanted: &'a Deployment,
    /// The configuration of what serves, as it was asked for.
    pub(super) config: Option<&'a Value>,
    /// How the instances of the shadow variant are. No update waits for them.
    pub(super) shadow: &'a Instances,
}

/// How the instances of a variant are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instances {
    Starting,
    Ready,
    /// One of them will not start.
    Lost(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing until something changes.
    Stay,
    /// The same, or until then.
    StayUntil(Timestamp),
    Become(InferenceExperimentStatus),
    /// Bring the endpoint to it.
    Deploy(Goal),
    /// Give the shadow variant this weight.
    Reweigh(f32),
}

pub(super) fn plan(seen: &Seen<'_>) -> Step {
    match &seen.status.state {
        State::Creating => creating(seen),
        State::Created => created(seen),
        State::Starting => starting(seen),
        State::Running => running(seen),
        State::Updating => updating(seen),
        State::Stopping(stop) => stopping(seen, stop),
        State::Completed | State::Cancelled => Step::Stay,
    }
}

/// What follows if the endpoint could not be brought to where it was to be.
pub(super) fn failed(seen: &Seen<'_>, reason: &str) -> Step {
    match &seen.status.state {
        // What was asked for cannot be: without it, the endpoint is as it was.
        State::Stopping(stop) if matches!(stop.goal, Goal::Own(Purpose::After, _)) => {
            give_up(seen, reason)
        }
        State::Updating => {
            let mut status = become_state(seen, State::Running);
            status.reason = Some(shortened(reason));
            Step::Become(status)
        }
        State::Stopping(_)
        | State::Creating
        | State::Created
        | State::Starting
        | State::Running
        | State::Completed
        | State::Cancelled => cancelled(seen, reason),
    }
}

/// The endpoint goes back, and the experiment is cancelled.
fn give_up(seen: &Seen<'_>, reason: &str) -> Step {
    let stop = Stop { goal: revert(seen), outcome: Outcome::Cancelled };
    let status = become_state(seen, State::Stopping(Box::new(stop)));
    Step::Become(InferenceExperimentStatus { reason: Some(shortened(reason)), ..status })
}

/// What ends an experiment when nobody says how: the endpoint is again what it was.
fn revert(seen: &Seen<'_>) -> Goal {
    match &seen.status.before {
        Some(_) => Goal::Before,
        None => {
            let production = seen.spec.layout.production.clone();
            Goal::Own(Purpose::Revert, Layout::production_only(production))
        }
    }
}

fn creating(seen: &Seen<'_>) -> Step {
    if seen.now >= seen.spec.schedule.starts_at {
        return start(seen);
    }
    let Some(endpoint) = seen.endpoint else {
        let production = seen.spec.layout.production.clone();
        return Step::Deploy(Goal::Own(Purpose::Wait, Layout::production_only(production)));
    };
    match endpoint.state {
        EndpointState::Creating => Step::Stay,
        EndpointState::Failed { reason } => failed(seen, reason),
        EndpointState::Deleting => deleted(seen),
        EndpointState::InService { .. }
        | EndpointState::Updating { .. }
        | EndpointState::RollingBack { .. }
        | EndpointState::UpdateRollbackFailed { .. } => {
            Step::Become(become_state(seen, State::Created))
        }
    }
}

fn created(seen: &Seen<'_>) -> Step {
    let is_there = seen.endpoint.is_some_and(|endpoint| !endpoint.is_gone());
    let schedule = seen.spec.schedule;
    if !is_there {
        deleted(seen)
    } else if seen.now >= schedule.starts_at {
        start(seen)
    } else {
        Step::StayUntil(schedule.starts_at)
    }
}

/// Its time has come. It waits for another experiment to leave the endpoint.
fn start(seen: &Seen<'_>) -> Step {
    let end = seen.spec.schedule.end();
    if seen.now >= end {
        cancelled(seen, "The end of the schedule passed before the experiment could start.")
    } else if seen.has_rival {
        Step::StayUntil(end)
    } else {
        Step::Become(become_state(seen, State::Starting))
    }
}

fn starting(seen: &Seen<'_>) -> Step {
    let before = seen.endpoint.and_then(Endpoint::before);
    if let (None, Some(before)) = (&seen.status.before, before)
        && before.deployment.config != configs::name(seen.spec, Purpose::Run)
    {
        let before = Some(Box::new(before));
        return Step::Become(InferenceExperimentStatus { before, ..seen.status.clone() });
    }
    let goal = Goal::Own(Purpose::Run, seen.spec.layout.clone());
    match progress(seen, &goal) {
        Progress::Absent if seen.status.before.is_none() => Step::Deploy(goal),
        Progress::Absent | Progress::Gone => deleted(seen),
        Progress::Behind => Step::Deploy(goal),
        Progress::UnderWay => Step::Stay,
        Progress::Failed(reason) => failed(seen, &reason),
        Progress::Done => match seen.endpoint.map(|endpoint| endpoint.shadow) {
            Some(Instances::Starting) | None => Step::Stay,
            Some(Instances::Lost(reason)) => give_up(seen, reason),
            Some(Instances::Ready) => {
                let mut status = become_state(seen, State::Running);
                status.started_at = Some(seen.now);
                Step::Become(status)
            }
        },
    }
}

fn running(seen: &Seen<'_>) -> Step {
    if let Some(end) = end_by_client(seen) {
        return end;
    }
    let end = seen.spec.schedule.end();
    if seen.now < end {
        return Step::StayUntil(end);
    }
    let stop = Stop { goal: revert(seen), outcome: Outcome::Completed };
    Step::Become(become_state(seen, State::Stopping(Box::new(stop))))
}

fn updating(seen: &Seen<'_>) -> Step {
    if let Some(end) = end_by_client(seen) {
        return end;
    }
    let Some(endpoint) = seen.endpoint else { return deleted(seen) };
    let EndpointState::InService { serving, note } = endpoint.state else { return Step::Stay };
    let weight = |deployment: &Deployment| shadow_weight(&seen.spec.layout, deployment);
    let weighs = |deployment: &Deployment| {
        let is = deployment.shadows.first().map(|shadow| shadow.weight);
        is == weight(deployment)
    };
    match weight(serving) {
        Some(_) if weighs(serving) => {
            let mut status = become_state(seen, State::Running);
            status.reason = None;
            Step::Become(status)
        }
        Some(_) if weighs(endpoint.wanted) => {
            failed(seen, note.as_deref().unwrap_or("The endpoint could not be updated."))
        }
        Some(weight) => Step::Reweigh(weight),
        None => Step::Become(become_state(seen, State::Running)),
    }
}

fn stopping(seen: &Seen<'_>, stop: &Stop) -> Step {
    match progress(seen, &stop.goal) {
        Progress::Absent | Progress::Gone => deleted(seen),
        Progress::Behind => Step::Deploy(stop.goal.clone()),
        Progress::UnderWay => Step::Stay,
        Progress::Failed(reason) => failed(seen, &reason),
        Progress::Done => ended(seen, stop.outcome.into()),
    }
}

/// What follows when the client has deleted the endpoint, or made something else of it.
fn end_by_client(seen: &Seen<'_>) -> Option<Step> {
    let endpoint = seen.endpoint.filter(|endpoint| !endpoint.is_gone());
    let Some(endpoint) = endpoint else { return Some(deleted(seen)) };
    let EndpointState::InService { serving, .. } = endpoint.state else { return None };
    let is_ours = serving.config == configs::name(seen.spec, Purpose::Run);
    (!is_ours).then(|| {
        let (endpoint, config) = (&seen.spec.endpoint, &serving.config);
        cancelled(seen, &format!("Endpoint {endpoint} was updated to configuration {config}."))
    })
}

/// How far the endpoint is on its way to a goal.
enum Progress {
    Absent,
    Gone,
    /// It serves, and was not asked for the goal.
    Behind,
    UnderWay,
    Done,
    Failed(String),
}

fn progress(seen: &Seen<'_>, goal: &Goal) -> Progress {
    let Some(endpoint) = seen.endpoint else { return Progress::Absent };
    let is_goal = |deployment: &Deployment| match goal {
        Goal::Kept => true,
        Goal::Before => deployment.revision == seen.spec.id,
        Goal::Own(purpose, _) => deployment.config == configs::name(seen.spec, *purpose),
    };
    match endpoint.state {
        EndpointState::Deleting => Progress::Gone,
        EndpointState::Failed { reason } => Progress::Failed(reason.clone()),
        EndpointState::InService { serving, .. } if is_goal(serving) => Progress::Done,
        EndpointState::InService { note, .. } if is_goal(endpoint.wanted) => {
            let reason = note.as_deref().unwrap_or("The endpoint could not be updated.");
            Progress::Failed(reason.to_owned())
        }
        EndpointState::InService { .. } => Progress::Behind,
        EndpointState::Creating
        | EndpointState::Updating { .. }
        | EndpointState::RollingBack { .. }
        | EndpointState::UpdateRollbackFailed { .. } => Progress::UnderWay,
    }
}

/// What the shadow variant is to weigh beside the production variant of `deployment`.
pub(super) fn shadow_weight(layout: &Layout, deployment: &Deployment) -> Option<f32> {
    let (shadow, production) = (layout.shadow.as_ref()?, deployment.variants.first()?);
    Some(f32::from(shadow.percentage) / 100.0 * production.weight)
}

fn deleted(seen: &Seen<'_>) -> Step {
    let endpoint = &seen.spec.endpoint;
    cancelled(seen, &format!("Endpoint {endpoint} was deleted before the experiment had ended."))
}

fn cancelled(seen: &Seen<'_>, reason: &str) -> Step {
    let reason = Some(shortened(reason));
    let status = become_state(seen, State::Cancelled);
    Step::Become(InferenceExperimentStatus { reason, ended_at: Some(seen.now), ..status })
}

fn ended(seen: &Seen<'_>, state: State) -> Step {
    let status = become_state(seen, state);
    Step::Become(InferenceExperimentStatus { ended_at: Some(seen.now), ..status })
}

fn become_state(seen: &Seen<'_>, state: State) -> InferenceExperimentStatus {
    InferenceExperimentStatus { state, ..seen.status.clone() }
}

impl Endpoint<'_> {
    fn is_gone(&self) -> bool {
        match self.state {
            EndpointState::Deleting | EndpointState::Failed { .. } => true,
            EndpointState::Creating
            | EndpointState::InService { .. }
            | EndpointState::Updating { .. }
            | EndpointState::RollingBack { .. }
            | EndpointState::UpdateRollbackFailed { .. } => false,
        }
    }

    /// What it is now, if it serves and nothing is under way.
    fn before(self) -> Option<Before> {
        let EndpointState::InService { serving, .. } = self.state else { return None };
        Some(Before { deployment: serving.clone(), config: self.config.cloned() })
    }
}
