//! What to do next with a transform job. Pure: no clock, no IO.

use sagebrush_core::Timestamp;
use sagebrush_core::fleet::InstanceState;

use super::{State, TransformJobStatus};
use crate::endpoint::given_up;

/// How the run of a job ended; an error says why it failed.
pub(super) type Outcome = Result<(), String>;

/// A job as the planner sees it.
pub(super) struct Seen<'a> {
    pub(super) status: &'a TransformJobStatus,
    /// How many instances it is to have.
    pub(super) instance_count: u32,
    pub(super) instances: &'a [InstanceState],
    /// Set once its run has ended.
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) now: Timestamp,
}

/// The status to write, if it changes.
pub(super) fn plan(seen: &Seen<'_>) -> Option<TransformJobStatus> {
    let ended =
        |state| Some(TransformJobStatus { state, ended_at: Some(seen.now), ..seen.status.clone() });
    match &seen.status.state {
        State::InProgress => match (seen.outcome, seen.instances.iter().find_map(given_up)) {
            (Some(Ok(())), _) => ended(State::Completed),
            (Some(Err(reason)), _) => ended(State::Failed { reason: reason.clone() }),
            (None, Some(reason)) => ended(State::Failed { reason }),
            (None, None) => started(seen),
        },
        State::Stopping => ended(State::Stopped),
        State::Completed | State::Failed { .. } | State::Stopped => None,
    }
}

fn started(seen: &Seen<'_>) -> Option<TransformJobStatus> {
    let n_ready = seen.instances.iter().filter(|instance| instance.ready().is_some()).count();
    let starts = seen.status.started_at.is_none() && n_ready >= seen.instance_count as usize;
    starts.then(|| TransformJobStatus { started_at: Some(seen.now), ..seen.status.clone() })
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;
    use sagebrush_core::fleet::InstanceState;

    use super::super::{State, TransformJobStatus};
    use super::{Outcome, Seen, plan};
    use crate::testing::ready_instance;

    const NOW: Timestamp = Timestamp(9);

    fn status(state: State, started: bool) -> TransformJobStatus {
        let ended_at = state.is_final().then_some(NOW);
        TransformJobStatus { state, started_at: started.then_some(NOW), ended_at }
    }

    #[track_caller]
    fn check(
        state: State,
        started: bool,
        instances: &[InstanceState],
        outcome: Option<Outcome>,
        wanted: Option<TransformJobStatus>,
    ) {
        let status = status(state, started);
        let outcome = outcome.as_ref();
        let seen = Seen { status: &status, instance_count: 2, instances, outcome, now: NOW };
        assert_eq!(plan(&seen), wanted);
    }

    #[test]
    fn the_way_of_a_job() {
        let ready = || InstanceState::Ready(ready_instance());
        let lost = |attempts| InstanceState::Failed {
            reason: "no room".to_owned(),
            permanent: false,
            attempts,
        };
        let failed = |reason: &str| State::Failed { reason: reason.to_owned() };
        let fails = || Some(Err("bad record".to_owned()));
        let one = [ready(), InstanceState::Starting];
        let both = [ready(), ready()];
        let given_up = [ready(), lost(3)];
        check(State::InProgress, false, &[], None, None);
        check(State::InProgress, false, &one, None, None);
        check(State::InProgress, false, &both, None, Some(status(State::InProgress, true)));
        check(State::InProgress, true, &both, None, None);
        check(State::InProgress, true, &[ready(), lost(1)], None, None);
        let no_room = Some(status(failed("no room"), true));
        check(State::InProgress, true, &given_up, None, no_room);
        let completed = Some(status(State::Completed, true));
        check(State::InProgress, true, &given_up, Some(Ok(())), completed);
        let bad = Some(status(failed("bad record"), false));
        check(State::InProgress, false, &[], fails(), bad);
        let stopped = || Some(status(State::Stopped, true));
        check(State::Stopping, true, &both, None, stopped());
        check(State::Stopping, true, &both, fails(), stopped());
        for state in [State::Completed, failed("x"), State::Stopped] {
            check(state, true, &both, Some(Ok(())), None);
        }
    }
}
