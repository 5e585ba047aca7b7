//! Tables: an experiment, its endpoint and the time, and the step that follows.

use sagebrush_core::Timestamp;

use super::super::schedule::Schedule;
use super::super::tests::{deployment, shadowed};
use super::super::{
    Before, Goal, InferenceExperimentSpec, InferenceExperimentStatus, Layout, Outcome, Purpose,
    Shadow, State, Stop, Variant,
};
use super::{Endpoint, Instances, Seen, Step, failed, plan};
use crate::endpoint::{Deployment, EndpointState};

/// It starts at 100 and ends at 200.
fn spec() -> InferenceExperimentSpec {
    let variant = |name: &str| Variant {
        name: name.to_owned(),
        model: name.to_owned(),
        instance_type: "ml.m5.large".to_owned(),
        instance_count: 1,
    };
    let (start, end) = (Some(Timestamp(100)), Some(Timestamp(200)));
    InferenceExperimentSpec {
        id: "id".to_owned(),
        endpoint: "e".to_owned(),
        role_arn: String::new(),
        layout: Layout {
            production: variant("main"),
            shadow: Some(Shadow { variant: variant("next"), percentage: 50 }),
            capture: None,
        },
        schedule: Schedule::new(start, end, Timestamp(0)).unwrap(),
        request: serde_json::Value::Null,
    }
}

/// What its endpoint serves and what is wanted of it.
type Site = Option<(EndpointState, Deployment)>;

fn old() -> Deployment {
    deployment("old", "1")
}

fn run() -> Deployment {
    shadowed("experiment-id-run", "2", 0.5)
}

fn after() -> Deployment {
    deployment("experiment-id-after", "3")
}

fn reverted() -> Deployment {
    deployment("old", "id")
}

fn in_service(serving: Deployment) -> Site {
    let wanted = serving.clone();
    Some((EndpointState::InService { serving, note: None }, wanted))
}

fn updating(serving: Deployment, wanted: Deployment) -> Site {
    Some((EndpointState::Updating { serving, rollout: Box::default() }, wanted))
}

/// An update to `wanted` did not come about.
fn stuck(serving: Deployment, wanted: Deployment) -> Site {
    Some((EndpointState::InService { serving, note: Some("no room".to_owned()) }, wanted))
}

fn only(state: EndpointState) -> Site {
    Some((state, old()))
}

fn before() -> Option<Box<Before>> {
    Some(Box::new(Before { deployment: old(), config: None }))
}

fn stop(goal: Goal, outcome: Outcome) -> State {
    State::Stopping(Box::new(Stop { goal, outcome }))
}

fn promotion() -> State {
    let layout = Layout::production_only(spec().layout.shadow.unwrap().variant);
    stop(Goal::Own(Purpose::After, layout), Outcome::Completed)
}

fn goal_word(goal: &Goal) -> String {
    match goal {
        Goal::Kept => "kept".to_owned(),
        Goal::Before => "before".to_owned(),
        Goal::Own(purpose, layout) => {
            let shadow = layout.shadow.as_ref().map_or("", |_| "+shadow");
            format!("{purpose:?} {}{shadow}", layout.production.name)
        }
    }
}

fn word(step: Step) -> String {
    match step {
        Step::Stay => "stay".to_owned(),
        Step::StayUntil(until) => format!("until {}", until.0),
        Step::Deploy(goal) => format!("deploy {}", goal_word(&goal)),
        Step::Reweigh(weight) => format!("weigh {weight}"),
        Step::Become(status) => {
            assert_eq!(status.state.is_final(), status.ended_at.is_some());
            let goal = match &status.state {
                State::Stopping(stop) => format!(" {}", goal_word(&stop.goal)),
                State::Starting if status.before.is_some() => " after something".to_owned(),
                State::Creating
                | State::Created
                | State::Starting
                | State::Running
                | State::Updating
                | State::Completed
                | State::Cancelled => String::new(),
            };
            let reason = status.reason.map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{}{goal}{reason}", status.state.word())
        }
    }
}

struct Case {
    state: State,
    before: Option<Box<Before>>,
    has_rival: bool,
    shadow: Instances,
    now: i64,
}

/// An experiment in this state, at 150.
fn case(state: State) -> Case {
    Case { state, before: None, has_rival: false, shadow: Instances::Ready, now: 150 }
}

impl Case {
    fn at(self, now: i64) -> Self {
        Self { now, ..self }
    }

    fn after_something(self) -> Self {
        Self { before: before(), ..self }
    }

    fn seen<T>(&self, site: &Site, look: impl FnOnce(&Seen<'_>) -> T) -> T {
        let status = InferenceExperimentStatus {
            state: self.state.clone(),
            before: self.before.clone(),
            ..InferenceExperimentStatus::default()
        };
        let endpoint = site.as_ref().map(|(state, wanted)| Endpoint {
            state,
            wanted,
            config: None,
            shadow: &self.shadow,
        });
        look(&Seen {
            spec: &spec(),
            status: &status,
            endpoint,
            has_rival: self.has_rival,
            now: Timestamp(self.now),
        })
    }

    #[track_caller]
    fn check(self, site: Site, wanted: &str) {
        let step = word(self.seen(&site, plan));
        assert!(step.starts_with(wanted), "{step:?} instead of {wanted:?}");
    }
}

#[test]
fn before_its_time() {
    let creating = || case(State::Creating).at(99);
    creating().check(None, "deploy Wait main");
    creating().check(only(EndpointState::Creating), "stay");
    creating().check(in_service(old()), "Created");
    creating().check(updating(old(), after()), "Created");
    creating().check(only(EndpointState::Deleting), "Cancelled: Endpoint e was deleted");
    let failing = || only(EndpointState::Failed { reason: "no room".to_owned() });
    creating().check(failing(), "Cancelled: no room");
    let created = || case(State::Created).at(99);
    created().check(in_service(old()), "until 100");
    created().check(updating(old(), after()), "until 100");
    created().check(None, "Cancelled: Endpoint e was deleted");
    created().check(failing(), "Cancelled: Endpoint e was deleted");
}

#[test]
fn its_time_comes() {
    for state in [State::Creating, State::Created] {
        case(state.clone()).at(100).check(in_service(old()), "Starting");
        case(state.clone()).at(200).check(in_service(old()), "Cancelled: The end of the schedule");
        let beside = Case { has_rival: true, ..case(state) };
        beside.check(in_service(old()), "until 200");
    }
    case(State::Creating).check(None, "Starting");
    case(State::Created).check(None, "Cancelled: Endpoint e was deleted");
}

#[test]
fn the_endpoint_gets_both_variants() {
    let starting = || case(State::Starting);
    starting().check(None, "deploy Run main+shadow");
    starting().check(only(EndpointState::Creating), "stay");
    starting().check(in_service(run()), "Running");
    starting().check(in_service(old()), "Starting after something");
    starting().check(updating(old(), after()), "stay");
    let starting = || case(State::Starting).after_something();
    starting().check(in_service(old()), "deploy Run main+shadow");
    starting().check(updating(old(), run()), "stay");
    starting().check(in_service(run()), "Running");
    starting().check(stuck(old(), run()), "Cancelled: no room");
    let slow = Case { shadow: Instances::Starting, ..starting() };
    slow.check(in_service(run()), "stay");
    let lost = || Instances::Lost("no room".to_owned());
    let failing = Case { shadow: lost(), ..starting() };
    failing.check(in_service(run()), "Stopping before: no room");
    let failing = Case { shadow: lost(), ..case(State::Starting) };
    failing.check(in_service(run()), "Stopping Revert main: no room");
    starting().check(None, "Cancelled: Endpoint e was deleted");
    starting().check(only(EndpointState::Deleting), "Cancelled: Endpoint e was deleted");
}

#[test]
fn it_runs_until_its_end() {
    let running = || case(State::Running).after_something();
    running().check(in_service(run()), "until 200");
    running().at(199).check(in_service(run()), "until 200");
    running().at(200).check(in_service(run()), "Stopping before");
    case(State::Running).at(200).check(in_service(run()), "Stopping Revert main");
    running().check(in_service(shadowed("experiment-id-run", "2", 0.1)), "until 200");
    running().check(updating(run(), old()), "until 200");
    running().check(stuck(run(), old()), "until 200");
    running().check(in_service(old()), "Cancelled: Endpoint e was updated to configuration old");
    running().check(None, "Cancelled: Endpoint e was deleted");
}

#[test]
fn another_part_of_the_calls() {
    let case = || case(State::Updating).after_something();
    let small = || shadowed("experiment-id-run", "2", 0.1);
    case().check(in_service(small()), "weigh 0.5");
    case().check(updating(small(), run()), "stay");
    case().check(in_service(run()), "Running");
    case().check(stuck(small(), run()), "Running: no room");
    case().check(in_service(old()), "Cancelled: Endpoint e was updated");
    case().check(None, "Cancelled: Endpoint e was deleted");
}

#[test]
fn it_stops() {
    let back = || case(stop(Goal::Before, Outcome::Completed)).after_something();
    back().check(in_service(run()), "deploy before");
    back().check(updating(run(), reverted()), "stay");
    back().check(in_service(reverted()), "Completed");
    back().check(stuck(run(), reverted()), "Cancelled: no room");
    // The client's own update to what it was before is another one.
    back().check(stuck(run(), old()), "deploy before");
    back().check(None, "Cancelled: Endpoint e was deleted");
    case(stop(Goal::Kept, Outcome::Cancelled)).check(in_service(run()), "Cancelled");
    let promoted = || case(promotion()).after_something();
    promoted().check(in_service(run()), "deploy After next");
    promoted().check(updating(run(), after()), "stay");
    promoted().check(in_service(after()), "Completed");
    promoted().check(stuck(run(), after()), "Stopping before: no room");
    case(promotion()).check(stuck(run(), after()), "Stopping Revert main: no room");
    for state in [State::Completed, State::Cancelled] {
        case(state).check(in_service(run()), "stay");
    }
}

#[test]
fn a_step_that_is_refused() {
    for (state, wanted) in [
        (State::Creating, "Cancelled: no"),
        (State::Starting, "Cancelled: no"),
        (State::Updating, "Running: no"),
        (promotion(), "Stopping before: no"),
        (stop(Goal::Before, Outcome::Completed), "Cancelled: no"),
    ] {
        let case = case(state).after_something();
        let step = case.seen(&in_service(run()), |seen| failed(seen, "no"));
        assert_eq!(word(step), wanted);
    }
}
