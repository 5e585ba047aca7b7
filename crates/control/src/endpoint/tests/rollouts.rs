//! Time tables of updates: what happens, and where calls go and how many instances there are.

use std::time::Duration;

use sagebrush_core::alarms::{AlarmState, SetAlarms};
use sagebrush_core::fleet::InstanceState;

use super::simulation::{ALARM, Simulation, seconds};
use super::{deployment, failed};
use crate::endpoint::rollout::{Policy, Size, Stage, Traffic, Way};
use crate::endpoint::{Deployment, EndpointSpec, EndpointState};

const ROLLED_BACK: &str = "The deployment was rolled back because the alarm errors is in ALARM.";
const BEGUN: &str = "0s 4+4 Updating 0%";

fn fleets() -> (Deployment, Deployment) {
    (deployment("old", 4), deployment("new", 4))
}

fn blue_green(traffic: Traffic, bake: u64, termination_wait: u64) -> Policy {
    let termination_wait = seconds(termination_wait);
    watched(Way::BlueGreen { traffic, termination_wait }, bake)
}

fn rolling(batch: Size, rollback: Option<Size>, bake: u64) -> Policy {
    watched(Way::Rolling { batch, rollback }, bake)
}

fn watched(way: Way, bake: u64) -> Policy {
    Policy { way, bake: seconds(bake), timeout: None, alarms: vec![ALARM.to_owned()] }
}

fn canary(percent: u32, bake: u64) -> Policy {
    blue_green(Traffic::Canary(Size::Percent(percent)), bake, 0)
}

/// Something that happens at a second.
type Event = (i64, fn(&mut Simulation));

fn alarm(simulation: &mut Simulation) {
    simulation.set_alarm(AlarmState::Alarm);
}

fn all_clear(simulation: &mut Simulation) {
    simulation.set_alarm(AlarmState::Ok);
}

/// Runs the update; the trace is without its last line, where that is the same.
#[track_caller]
fn check(policy: Policy, events: &[Event], wanted: &[&str]) -> Simulation {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, policy);
    for (at, happens) in events {
        simulation.run_until(*at);
        happens(&mut simulation);
    }
    simulation.run_until(100_000);
    assert_eq!(simulation.trace, wanted);
    simulation
}

#[test]
fn all_at_once_without_a_bake_is_one_step() {
    check(Policy::default(), &[], &[BEGUN, "0s 0+4 new serves"]);
}

#[test]
fn all_at_once_with_a_bake() {
    let policy = blue_green(Traffic::AllAtOnce, 60, 30);
    let wanted = [BEGUN, "0s 4+4 Updating 100%", "60s 4+4 Updating 100%", "90s 0+4 new serves"];
    check(policy.clone(), &[], &wanted);
    let back = format!("75s 4+0 old serves, {ROLLED_BACK}");
    let wanted =
        [BEGUN, "0s 4+4 Updating 100%", "60s 4+4 Updating 100%", "75s 4+0 RollingBack 0%", &back];
    check(policy, &[(75, alarm)], &wanted);
}

#[test]
fn a_canary_that_is_well() {
    let wanted = [BEGUN, "0s 4+4 Updating 10%", "300s 4+4 Updating 100%", "600s 0+4 new serves"];
    check(canary(10, 300), &[], &wanted);
    let by_count = blue_green(Traffic::Canary(Size::Instances(1)), 300, 0);
    let wanted = [BEGUN, "0s 4+4 Updating 25%", "300s 4+4 Updating 100%", "600s 0+4 new serves"];
    check(by_count, &[], &wanted);
}

#[test]
fn a_canary_that_fails_in_its_fourth_minute_is_back_in_the_same() {
    let back = format!("230s 4+0 old serves, {ROLLED_BACK}");
    let wanted = [BEGUN, "0s 4+4 Updating 10%", "230s 4+0 RollingBack 0%", &back];
    check(canary(10, 300), &[(230, alarm)], &wanted);
}

#[test]
fn an_alarm_that_flaps_has_gone_off() {
    let back = format!("100s 4+0 old serves, {ROLLED_BACK}");
    let wanted = [BEGUN, "0s 4+4 Updating 10%", "100s 4+0 RollingBack 0%", &back];
    let flaps: [Event; 4] = [(100, alarm), (101, all_clear), (102, alarm), (103, all_clear)];
    check(canary(10, 300), &flaps, &wanted);
}

#[test]
fn an_alarm_that_is_on_before_the_switch_keeps_the_old_fleet() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 300));
    simulation.set_alarm(AlarmState::Alarm);
    simulation.run_until(1000);
    assert_eq!(simulation.trace, [BEGUN, &format!("0s 4+0 old serves, {ROLLED_BACK}")]);
}

#[test]
fn an_alarm_during_the_launch_counts_if_it_lasts() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 300));
    for state in simulation.instances("new") {
        *state = InstanceState::Starting;
    }
    simulation.set_alarm(AlarmState::Alarm);
    simulation.run_until(20);
    assert_eq!(simulation.trace, [BEGUN]);
    simulation.set_alarm(AlarmState::Ok);
    simulation.heal();
    simulation.run_until(400);
    assert_eq!(simulation.trace[1..], ["20s 4+4 Updating 10%", "320s 4+4 Updating 100%"]);
}

#[test]
fn what_is_not_known_is_no_alarm() {
    let silent = |simulation: &mut Simulation| simulation.set_alarm(AlarmState::InsufficientData);
    let wanted = [BEGUN, "0s 4+4 Updating 10%", "9s 4+4 Updating 100%", "18s 0+4 new serves"];
    check(canary(10, 9), &[(1, silent)], &wanted);
}

#[test]
fn an_alarm_that_is_deleted_watches_over_nothing() {
    let delete = |simulation: &mut Simulation| simulation.alarms = SetAlarms::default();
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 300));
    simulation.run_until(50);
    delete(&mut simulation);
    simulation.run_until(60);
    let last = simulation.trace.last().unwrap();
    assert!(last.starts_with("50s 4+0 old serves, "), "{last}");
    assert!(last.contains("the alarm errors does not exist any more"), "{last}");
}

#[test]
fn steps_of_one_size() {
    let wanted = [
        BEGUN,
        "0s 4+4 Updating 30%",
        "60s 4+4 Updating 60%",
        "120s 4+4 Updating 90%",
        "180s 4+4 Updating 100%",
        "240s 4+4 Updating 100%",
        "245s 0+4 new serves",
    ];
    let policy = blue_green(Traffic::Linear(Size::Percent(30)), 60, 5);
    check(policy.clone(), &[], &wanted);
    let back = format!("130s 4+0 old serves, {ROLLED_BACK}");
    let wanted = [&wanted[..4], &["130s 4+0 RollingBack 0%", &back]].concat();
    check(policy, &[(130, alarm)], &wanted);
}

#[test]
fn steps_without_a_bake() {
    let wanted = [BEGUN, "0s 4+4 Updating 50%", "0s 4+4 Updating 100%", "0s 0+4 new serves"];
    check(blue_green(Traffic::Linear(Size::Instances(2)), 0, 0), &[], &wanted);
    check(canary(50, 0), &[], &wanted);
}

#[test]
fn a_new_fleet_that_dies_gives_its_calls_back() {
    let die = |simulation: &mut Simulation| {
        for state in simulation.instances("new") {
            *state = failed(false, 1);
        }
    };
    let wanted =
        [BEGUN, "0s 4+4 Updating 10%", "40s 4+0 RollingBack 0%", "40s 4+0 old serves, no room"];
    check(canary(10, 300), &[(40, die)], &wanted);
}

#[test]
fn an_instance_that_comes_back_does_not_end_the_bake() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 300));
    simulation.run_until(299);
    *simulation.instances("new")[0] = failed(false, 1);
    simulation.run_until(310);
    assert_eq!(simulation.trace.len(), 2, "no step without all instances");
    simulation.heal();
    simulation.run_until(320);
    assert_eq!(simulation.trace[2..], ["310s 4+4 Updating 100%"]);
}

#[test]
fn a_deployment_that_takes_too_long() {
    let timeout = Some(seconds(600));
    let policy = Policy { timeout, ..canary(10, 100) };
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old.clone(), new.clone(), policy.clone());
    simulation.run_until(150);
    *simulation.instances("new")[0] = InstanceState::Starting;
    simulation.run_until(1000);
    let why = "The deployment was not done within 600 seconds (MaximumExecutionTimeoutInSeconds).";
    let last = format!("600s 4+0 old serves, {why}");
    assert_eq!(simulation.trace[3..], ["600s 4+0 RollingBack 0%", &last]);
    let mut simulation = Simulation::new(old, new, policy);
    *simulation.instances("new")[0] = InstanceState::Starting;
    simulation.run_until(1000);
    assert_eq!(simulation.trace, [BEGUN, &last], "no call went to it");
}

#[test]
fn a_fleet_whose_probes_are_bad_gets_no_calls() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 100));
    let id = simulation.instances("new")[2].ready().unwrap().id.clone();
    simulation.probed.note(&id, Err("it said 500".to_owned()));
    simulation.run_until(10);
    assert_eq!(simulation.trace, [BEGUN, "0s 4+0 old serves, it said 500"]);
}

#[test]
fn an_instance_is_asked_only_after_its_probes() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 100));
    simulation.run_until(10);
    let worker = std::sync::Arc::<crate::testing::EchoWorker>::default();
    let fresh = sagebrush_core::instance::Instance::new(
        "i-fresh".to_owned(),
        worker,
        crate::testing::LIMITS,
    );
    *simulation.instances("new")[0] = InstanceState::Ready(fresh);
    let n_usable = |simulation: &Simulation| simulation.route().variants[1].instances.len();
    assert_eq!(n_usable(&simulation), 3);
    simulation.run_until(150);
    assert_eq!(simulation.trace.len(), 2, "and all wait for it");
    simulation.probed.note("i-fresh", Ok(()));
    assert_eq!(n_usable(&simulation), 4);
}

#[test]
fn batches_come_and_go() {
    let wanted = [
        "0s 4+1 Updating 0%",
        "0s 4+1 Updating 25%",
        "60s 3+2 Updating 25%",
        "60s 3+2 Updating 50%",
        "120s 2+3 Updating 50%",
        "120s 2+3 Updating 75%",
        "180s 1+4 Updating 75%",
        "180s 1+4 Updating 100%",
        "240s 0+4 new serves",
    ];
    check(rolling(Size::Percent(25), None, 60), &[], &wanted);
    check(rolling(Size::Instances(1), None, 60), &[], &wanted);
    check(rolling(Size::Percent(5), None, 60), &[], &wanted);
    let wanted =
        ["0s 4+2 Updating 0%", "0s 4+2 Updating 50%", "0s 2+4 Updating 50%", "0s 0+4 new serves"];
    check(rolling(Size::Percent(50), None, 0), &[], &wanted);
}

#[test]
fn a_first_batch_that_fails_gives_all_back_at_once() {
    let back = format!("30s 4+0 old serves, {ROLLED_BACK}");
    let wanted = ["0s 4+1 Updating 0%", "0s 4+1 Updating 25%", "30s 4+0 RollingBack 0%", &back];
    check(rolling(Size::Percent(25), None, 60), &[(30, alarm)], &wanted);
}

const HALF: [&str; 4] =
    ["0s 4+1 Updating 0%", "0s 4+1 Updating 25%", "60s 3+2 Updating 25%", "60s 3+2 Updating 50%"];

#[test]
fn a_later_batch_that_fails_waits_for_the_old_instances() {
    let back = format!("70s 4+0 old serves, {ROLLED_BACK}");
    let returned = ["70s 4+1 RollingBack 25%", "70s 4+0 RollingBack 0%", &back];
    let wanted = [&HALF[..], &returned].concat();
    check(rolling(Size::Percent(25), None, 60), &[(70, alarm)], &wanted);
}

#[test]
fn old_instances_come_back_in_batches_too() {
    let policy = rolling(Size::Percent(25), Some(Size::Instances(1)), 60);
    let back = format!("130s 4+0 old serves, {ROLLED_BACK}");
    let forward = ["120s 2+3 Updating 50%", "120s 2+3 Updating 75%"];
    let returned =
        ["130s 3+2 RollingBack 50%", "130s 4+1 RollingBack 25%", "130s 4+0 RollingBack 0%", &back];
    let wanted = [&HALF[..], &forward, &returned].concat();
    check(policy, &[(130, alarm)], &wanted);
}

#[test]
fn a_way_back_that_fails_goes_on_later() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, rolling(Size::Percent(25), None, 60));
    simulation.run_until(70);
    simulation.is_quick = false;
    simulation.set_alarm(AlarmState::Alarm);
    simulation.run_until(71);
    for state in simulation.instances("old").into_iter().filter(|state| state.ready().is_none()) {
        *state = failed(true, 1);
    }
    simulation.run_until(80);
    let (trace, last) = (simulation.trace.clone(), simulation.endpoint.status.clone());
    assert_eq!(trace[4..], ["70s 4+1 RollingBack 25%", "71s 4+1 UpdateRollbackFailed 25%"]);
    let EndpointState::UpdateRollbackFailed { rollback, .. } = last else { panic!("{trace:?}") };
    assert!(rollback.reason.contains("the alarm errors"), "{}", rollback.reason);
    assert!(rollback.reason.ends_with("do not come back: no room"), "{}", rollback.reason);
    simulation.heal();
    simulation.run_until(90);
    assert_eq!(simulation.trace[6], "80s 4+0 RollingBack 0%");
    assert!(simulation.trace[7].starts_with("80s 4+0 old serves, "));
}

#[test]
fn a_restart_at_any_step_goes_on_from_there() {
    for policy in [
        Policy::default(),
        canary(10, 60),
        blue_green(Traffic::Linear(Size::Percent(30)), 60, 30),
        rolling(Size::Percent(25), Some(Size::Percent(25)), 60),
    ] {
        for alarm_at in [None, Some(70)] {
            let steady = run(policy.clone(), alarm_at, None);
            for at in 0..steady.len() {
                assert_eq!(run(policy.clone(), alarm_at, Some(at)), steady, "{policy:?} {at}");
            }
        }
    }
}

/// The states without their times; with a restart after the step `restart_at`.
fn run(policy: Policy, alarm_at: Option<i64>, restart_at: Option<usize>) -> Vec<String> {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, policy);
    let mut is_restarted = restart_at.is_none();
    for second in 0..1000 {
        loop {
            if !is_restarted && Some(simulation.trace.len()) == restart_at.map(|at| at + 1) {
                is_restarted = true;
                simulation.restart();
            }
            if alarm_at == Some(second) {
                simulation.set_alarm(AlarmState::Alarm);
            }
            if !matches!(simulation.step(), crate::endpoint::plan::Step::Become(_)) {
                break;
            }
        }
        simulation.now.0 += 1000;
    }
    let state = |line: &String| line.split_once(' ').unwrap().1.to_owned();
    simulation.trace.iter().map(state).collect()
}

#[test]
fn a_bake_of_which_nobody_watched_a_part_begins_again() {
    let (old, new) = fleets();
    let mut simulation = Simulation::new(old, new, canary(10, 300));
    simulation.run_until(200);
    simulation.restart();
    simulation.run_until(10_000);
    let wanted = [BEGUN, "0s 4+4 Updating 10%", "500s 4+4 Updating 100%", "800s 0+4 new serves"];
    assert_eq!(simulation.trace, wanted);
}

#[test]
fn a_record_from_before_there_were_steps_is_read() {
    let (old, new) = fleets();
    let record = serde_json::json!({"Updating": {"serving": old}});
    let state: EndpointState = serde_json::from_value(record).unwrap();
    let spec: EndpointSpec = serde_json::from_value(serde_json::json!({"wanted": new})).unwrap();
    assert!(spec.deployment_config.is_none());
    let EndpointState::Updating { rollout, .. } = &state else { panic!("{state:?}") };
    assert_eq!((rollout.stage, rollout.policy.is_plain()), (Stage::Launching { step: 1 }, true));
    let mut simulation = Simulation::new(old, new, Policy::default());
    simulation.endpoint.status = state;
    simulation.run_until(1);
    assert_eq!(simulation.trace.last().unwrap(), "0s 0+4 new serves");
}

#[test]
fn fleets_of_other_sizes_and_weights() {
    let (mut old, mut new) = (deployment("old", 10), deployment("new", 3));
    old.variants[0].weight = 1.0;
    new.variants[0].weight = 8.0;
    let mut simulation = Simulation::new(old, new, rolling(Size::Percent(50), None, 60));
    let wanted = [
        "0s 10+1 Updating 0%",
        "0s 10+1 Updating 33%",
        "60s 7+2 Updating 33%",
        "60s 7+2 Updating 67%",
        "120s 4+3 Updating 67%",
        "120s 4+3 Updating 100%",
        "180s 0+3 new serves",
    ];
    simulation.run_until(10);
    let route = simulation.route();
    let weights: Vec<f32> = route.variants.iter().map(|it| it.weight * it.share).collect();
    assert!((weights[1] / (weights[0] + weights[1]) - 1.0 / 3.0).abs() < 1e-4, "{weights:?}");
    simulation.run_until(1000);
    assert_eq!(simulation.trace, wanted);
}

#[test]
fn the_number_of_steps() {
    let (_, new) = fleets();
    for (way, n) in [
        (Way::default(), 1),
        (canary(50, 0).way, 2),
        (blue_green(Traffic::Linear(Size::Percent(10)), 0, 0).way, 10),
        (blue_green(Traffic::Linear(Size::Instances(3)), 0, 0).way, 2),
        (rolling(Size::Percent(30), None, 0).way, 4),
    ] {
        let policy = Policy { way, bake: Duration::ZERO, ..Policy::default() };
        assert_eq!(policy.n_steps(&new), n, "{policy:?}");
    }
}
