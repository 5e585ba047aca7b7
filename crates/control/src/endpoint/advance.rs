//! The next step of an update, forward or back. Pure.

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;
use sagebrush_core::fleet::{FleetView, GroupSpec};

use super::plan::{Progress, Sight, Step, Wanted, in_service, lost, progress};
use super::rollout::{Rollback, Rollout, Share, Stage, later};
use super::{DeployedVariant, Deployment, EndpointState};
use crate::endpoint_config::Scaling;

/// An update that is under way.
struct Update<'a> {
    wanted: &'a Wanted<'a>,
    serving: &'a Deployment,
    rollout: &'a Rollout,
    seen: &'a Sight<'a>,
}

pub(super) fn forward(
    wanted: &Wanted<'_>,
    serving: &Deployment,
    rollout: &Rollout,
    seen: &Sight<'_>,
) -> Step {
    let update = Update { wanted, serving, rollout, seen };
    let fleet = progress(&update.new_groups(), seen.fleet, Some(seen.probed));
    let is_ready = match fleet {
        Progress::Failed(reason) => return update.turn_back(reason),
        Progress::Ready => true,
        Progress::Starting => false,
    };
    if let Some(reason) = update.lost().or_else(|| update.late()) {
        return update.turn_back(reason);
    }
    // Before any call goes to the new fleet, alarms are asked once: when the first would go.
    if (update.is_exposed() || is_ready)
        && let Some(reason) = update.alarmed()
    {
        return update.turn_back(reason);
    }
    update.go_on(is_ready)
}

impl Update<'_> {
    fn go_on(&self, is_ready: bool) -> Step {
        if let Some(until) = self.waits_until()
            && self.seen.now < until
        {
            return self.stay(Some(until));
        }
        if !is_ready {
            return self.stay(None);
        }
        match self.rollout.stage {
            Stage::Launching { step } if self.is_over_at_once(step) => self.after(step),
            Stage::Launching { step } => self.enter(Stage::Baking { step }),
            Stage::Baking { step } => self.after(step),
            Stage::Terminating => in_service(self.wanted.deployment, None),
        }
    }

    /// Whether nothing is left to do when the calls go as `step` says, but for the wait.
    fn is_over_at_once(&self, step: u32) -> bool {
        let policy = &self.rollout.policy;
        policy.bake.is_zero() && policy.share(step, self.wanted.deployment) == Share::ALL
    }

    /// What comes when the bake of `step` is over.
    fn after(&self, step: u32) -> Step {
        let policy = &self.rollout.policy;
        if policy.share(step, self.wanted.deployment) < Share::ALL {
            let step = step + 1;
            return self.enter(if policy.is_rolling() {
                Stage::Launching { step }
            } else {
                Stage::Baking { step }
            });
        }
        if policy.termination_wait().is_zero() {
            return in_service(self.wanted.deployment, None);
        }
        self.enter(Stage::Terminating)
    }

    fn enter(&self, stage: Stage) -> Step {
        let rollout = Box::new(self.rollout.at(stage, self.seen.now));
        Step::Become(EndpointState::Updating { serving: self.serving.clone(), rollout })
    }

    /// The old fleet keeps its calls, or gets them back.
    fn turn_back(&self, reason: String) -> Step {
        if !self.is_exposed() {
            return in_service(self.serving, Some(reason));
        }
        let rollback = Box::new(Rollback {
            policy: self.rollout.policy.clone(),
            reason,
            began: self.rollout.began,
            since: self.seen.now,
            step: self.rollout.step(self.wanted.deployment),
            back: 0,
        });
        Step::Become(EndpointState::RollingBack { serving: self.serving.clone(), rollback })
    }

    /// Whether calls go to the new fleet.
    fn is_exposed(&self) -> bool {
        self.rollout.share(self.wanted.deployment) > Share::NONE
    }

    fn new_groups(&self) -> Vec<GroupSpec> {
        let step = self.rollout.step(self.wanted.deployment);
        let count = |variant: &_| self.rollout.policy.new_count(step, variant);
        let is_exposed = self.is_exposed();
        // One that scales has as many as its calls need, once it has some.
        let count = |variant: &DeployedVariant| {
            let is_led_by_calls = is_exposed && variant.scaling != Scaling::Fixed;
            if is_led_by_calls { 0 } else { count(variant) }
        };
        self.wanted.sized(self.wanted.deployment, count)
    }

    /// Why a new variant that has calls cannot answer any.
    fn lost(&self) -> Option<String> {
        if !self.is_exposed() {
            return None;
        }
        self.new_groups().iter().find_map(|group| lost(group, self.seen.fleet))
    }

    fn late(&self) -> Option<String> {
        let limit = self.rollout.policy.timeout.filter(|_| self.may_be_late())?;
        (self.seen.now >= later(self.rollout.began, limit)).then(|| {
            format!(
                "The deployment was not done within {} seconds \
                 (MaximumExecutionTimeoutInSeconds).",
                limit.as_secs()
            )
        })
    }

    /// The wait for the termination comes after the deployment.
    fn may_be_late(&self) -> bool {
        match self.rollout.stage {
            Stage::Launching { .. } | Stage::Baking { .. } => true,
            Stage::Terminating => false,
        }
    }

    fn alarmed(&self) -> Option<String> {
        let state = |name| self.seen.alarms.state(self.wanted.region, name);
        self.rollout.policy.alarms.iter().find_map(|name| match state(name) {
            Some(AlarmState::Ok | AlarmState::InsufficientData) => None,
            Some(AlarmState::Alarm) => Some(format!(
                "The deployment was rolled back because the alarm {name} is in ALARM."
            )),
            None => Some(format!(
                "The deployment was rolled back because the alarm {name} does not exist any \
                 more: nothing watches over the new instances."
            )),
        })
    }

    fn waits_until(&self) -> Option<Timestamp> {
        let since = self.rollout.since.max(self.seen.watched_since);
        self.rollout.wait().map(|wait| later(since, wait))
    }

    /// Nothing to do before `until`, or before the time of the whole deployment is over.
    fn stay(&self, until: Option<Timestamp>) -> Step {
        let limit = self.rollout.policy.timeout.filter(|_| self.may_be_late());
        let limit = limit.map(|limit| later(self.rollout.began, limit));
        until.into_iter().chain(limit).min().map_or(Step::Stay, Step::StayUntil)
    }
}

/// The next step back. Where the old instances do not come, the fleet goes on trying, and the way
/// back goes on when they are there after all.
pub(super) fn back(
    wanted: &Wanted<'_>,
    serving: &Deployment,
    rollback: &Rollback,
    seen: &FleetView,
    now: Timestamp,
) -> Step {
    if kept(wanted, serving, rollback) == Share::NONE {
        let is_new = |group: &GroupSpec| seen.contains_key(&group.key);
        return if wanted.groups_of(wanted.deployment).iter().any(is_new) {
            Step::Stay
        } else {
            in_service(serving, Some(rollback.reason.clone()))
        };
    }
    if wanted.groups_of(wanted.deployment).iter().any(|group| lost(group, seen).is_some()) {
        // It cannot answer: what is there of the old fleet answers all.
        return returned(serving, rollback, u32::MAX, now);
    }
    match progress(&awaited(wanted, serving, rollback), seen, None) {
        Progress::Starting => Step::Stay,
        Progress::Ready => returned(serving, rollback, rollback.back.saturating_add(1), now),
        Progress::Failed(_)
            if matches!(wanted.state, EndpointState::UpdateRollbackFailed { .. }) =>
        {
            Step::Stay
        }
        Progress::Failed(reason) => {
            let reason =
                format!("{} The old instances do not come back: {reason}", rollback.reason);
            let rollback = Box::new(Rollback { reason, since: now, ..rollback.clone() });
            let serving = serving.clone();
            Step::Become(EndpointState::UpdateRollbackFailed { serving, rollback })
        }
    }
}

fn returned(serving: &Deployment, rollback: &Rollback, back: u32, now: Timestamp) -> Step {
    let rollback = Box::new(Rollback { back, since: now, ..rollback.clone() });
    Step::Become(EndpointState::RollingBack { serving: serving.clone(), rollback })
}

/// The part of the calls that the new fleet still has.
fn kept(wanted: &Wanted<'_>, serving: &Deployment, rollback: &Rollback) -> Share {
    rollback.policy.left(rollback.step, rollback.back, serving, wanted.deployment)
}

/// The old instances that the next step back needs.
fn awaited(wanted: &Wanted<'_>, serving: &Deployment, rollback: &Rollback) -> Vec<GroupSpec> {
    let next = rollback.back.saturating_add(1);
    let left = rollback.policy.left(rollback.step, next, serving, wanted.deployment);
    wanted.returning(serving, left)
}
