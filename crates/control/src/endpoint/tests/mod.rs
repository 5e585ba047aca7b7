//! Tables over the planner: what is seen, and the step that follows.

mod capacities;
mod random;
mod rollouts;
mod simulation;

use std::collections::BTreeMap;
use std::time::Duration;

use sagebrush_core::alarms::SetAlarms;
use sagebrush_core::fleet::{
    ContainerSpec, Execution, FleetView, InstanceState, RETRY_AFTER_DEATH,
};
use sagebrush_core::route::{MetricsConfig, Routing};
use sagebrush_core::{Region, Timestamp};

use super::plan::{Sight, Step, Wanted, plan};
use super::probe::Probed;
use super::{DeployedVariant, Deployment, EndpointState};
use crate::endpoint_config::{Scaling, Serverless};
use crate::testing::ready_instance;

pub(super) fn deployment(revision: &str, instance_count: u32) -> Deployment {
    let variant = DeployedVariant {
        name: "v".to_owned(),
        weight: 1.0,
        instance_count,
        scaling: Scaling::Fixed,
        instance_type: None,
        containers: Vec::new(),
        execution: Execution::Serial,
        routing: Routing::default(),
        network_isolation: false,
        startup_timeout: Duration::from_secs(240),
        download_timeout: Duration::from_secs(3600),
        resolved_at: Timestamp(0),
    };
    let (revision, config) = (revision.to_owned(), format!("config-{revision}"));
    Deployment {
        revision,
        config,
        asynchronous: None,
        capture: None,
        metrics: MetricsConfig::default(),
        variants: vec![variant],
        shadows: Vec::new(),
    }
}

pub(super) fn container(hostname: &str, environment: &[(&str, &str)]) -> ContainerSpec {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    ContainerSpec {
        hostname: Some(hostname.to_owned()),
        image: "i".to_owned(),
        model_data: None,
        environment: environment.iter().map(pair).collect(),
        multi_model: None,
        role_arn: None,
    }
}

fn seen(groups: &[(&Deployment, &[InstanceState])]) -> FleetView {
    let key = |deployment: &Deployment| deployment.key(&Region::new("r"), "e", "v");
    groups.iter().map(|(deployment, states)| (key(deployment), states.to_vec())).collect()
}

fn failed(permanent: bool, attempts: u32) -> InstanceState {
    InstanceState::Failed { reason: "no room".to_owned(), permanent, attempts }
}

#[track_caller]
fn check(
    state: &EndpointState,
    wanted: &Deployment,
    seen: &FleetView,
    revisions: &[&str],
    step: &Step,
) {
    let region = Region::new("r");
    let wanted = Wanted { region: &region, name: "e", deployment: wanted, state };
    let mut probed = Probed::default();
    probed.note("i-0", Ok(()));
    let alarms = SetAlarms::default();
    let now = Timestamp(0);
    let sight = Sight { fleet: seen, probed: &probed, alarms: &alarms, now, watched_since: now };
    assert_eq!(plan(&wanted, &sight), *step);
    let groups = wanted.groups();
    let groups: Vec<_> = groups.iter().map(|group| group.key.revision.as_str()).collect();
    assert_eq!(groups, revisions);
}

#[test]
fn creating_waits_for_all_instances() {
    let new = deployment("new", 2);
    let serving = EndpointState::InService { serving: new.clone(), note: None };
    let failing = EndpointState::Failed { reason: "no room".to_owned() };
    let (ready, starting) = (InstanceState::Ready(ready_instance()), InstanceState::Starting);
    let state = EndpointState::Creating;
    let table: Vec<(Vec<InstanceState>, Step)> = vec![
        (vec![], Step::Stay),
        (vec![starting.clone(), starting.clone()], Step::Stay),
        (vec![ready.clone(), starting.clone()], Step::Stay),
        (vec![ready.clone(), ready.clone()], Step::Become(serving)),
        (vec![ready.clone(), failed(false, 1)], Step::Stay),
        (vec![ready, failed(false, 3)], Step::Become(failing.clone())),
        (vec![starting, failed(true, 1)], Step::Become(failing)),
    ];
    for (instances, step) in table {
        check(&state, &new, &seen(&[(&new, &instances)]), &["new"], &step);
    }
    check(&state, &new, &BTreeMap::new(), &["new"], &Step::Stay);
}

#[test]
fn a_variant_that_scales_is_started_once_first() {
    let serverless = Serverless { memory_mb: 1024, max_concurrency: 9, provisioned: 0 };
    for (scaling, n_first) in [
        (Scaling::Serverless(serverless), 1),
        (Scaling::Managed { min: 0, max: 3 }, 1),
        (Scaling::Managed { min: 2, max: 3 }, 2),
    ] {
        let mut new = deployment("new", 7);
        new.variants[0].scaling = scaling;
        assert_eq!(new.groups(&Region::new("r"), "e")[0].instance_count, n_first);
        let serving = EndpointState::InService { serving: new.clone(), note: None };
        let state = EndpointState::Creating;
        let failing = EndpointState::Failed { reason: "no room".to_owned() };
        let mut instances = vec![InstanceState::Starting; n_first as usize];
        check(&state, &new, &seen(&[(&new, &instances)]), &["new"], &Step::Stay);
        let refused = [failed(true, 1)];
        check(&state, &new, &seen(&[(&new, &refused)]), &["new"], &Step::Become(failing));
        instances.fill(InstanceState::Ready(ready_instance()));
        let ready = seen(&[(&new, &instances)]);
        check(&state, &new, &ready, &["new"], &Step::Become(serving.clone()));
        // None is as good, from then on.
        check(&serving, &new, &BTreeMap::new(), &["new"], &Step::Stay);
    }
}

#[test]
fn updating_keeps_the_old_fleet_until_the_new_one_is_ready() {
    let (old, new) = (deployment("old", 1), deployment("new", 1));
    let ready = [InstanceState::Ready(ready_instance())];
    let updating = EndpointState::Updating { serving: old.clone(), rollout: Box::default() };
    let in_service = |serving: &Deployment, note: Option<&str>| {
        let note = note.map(str::to_owned);
        Step::Become(EndpointState::InService { serving: serving.clone(), note })
    };
    let both = ["old", "new"];
    let starting = seen(&[(&old, &ready), (&new, &[InstanceState::Starting])]);
    check(&updating, &new, &starting, &both, &Step::Stay);
    let switched = seen(&[(&old, &ready), (&new, &ready)]);
    check(&updating, &new, &switched, &both, &in_service(&new, None));
    let refused = seen(&[(&old, &ready), (&new, &[failed(true, 1)])]);
    check(&updating, &new, &refused, &both, &in_service(&old, Some("no room")));
    // After a restart the old fleet comes back first, or with the new one.
    check(&updating, &new, &BTreeMap::new(), &both, &Step::Stay);
}

#[test]
fn other_counts_of_one_revision_are_no_second_fleet() {
    let (one, two) = (deployment("same", 1), deployment("same", 2));
    let ready = InstanceState::Ready(ready_instance());
    let updating = EndpointState::Updating { serving: one.clone(), rollout: Box::default() };
    let (region, name) = (Region::new("r"), "e");
    let wanted = Wanted { region: &region, name, deployment: &two, state: &updating };
    assert_eq!(wanted.groups(), two.groups(&region, name));
    let starting = seen(&[(&one, &[ready.clone(), InstanceState::Starting])]);
    check(&updating, &two, &starting, &["same"], &Step::Stay);
    let both = seen(&[(&one, &[ready.clone(), ready])]);
    let in_service = EndpointState::InService { serving: two.clone(), note: None };
    check(&updating, &two, &both, &["same"], &Step::Become(in_service));
}

#[test]
fn settled_states_keep_what_they_have() {
    let (old, new) = (deployment("old", 1), deployment("new", 1));
    let in_service = EndpointState::InService { serving: old.clone(), note: None };
    check(&in_service, &new, &BTreeMap::new(), &["old"], &Step::Stay);
    let lost = seen(&[(&old, &[failed(true, 9)])]);
    check(&in_service, &new, &lost, &["old"], &Step::Stay);
    let failed = EndpointState::Failed { reason: "no room".to_owned() };
    check(&failed, &new, &BTreeMap::new(), &[], &Step::Stay);
}

#[test]
fn deleting_waits_until_nothing_is_left() {
    let old = deployment("old", 1);
    let draining = seen(&[(&old, &[InstanceState::Draining])]);
    check(&EndpointState::Deleting, &old, &draining, &[], &Step::Stay);
    check(&EndpointState::Deleting, &old, &BTreeMap::new(), &[], &Step::Remove);
}

#[test]
fn each_container_of_a_series_must_allow_second_tries() {
    let container = |value: Option<&str>| {
        let pair = value.map(|value| (RETRY_AFTER_DEATH.to_owned(), value.to_owned()));
        ContainerSpec {
            hostname: None,
            image: "i".to_owned(),
            model_data: None,
            environment: pair.into_iter().collect(),
            multi_model: None,
            role_arn: None,
        }
    };
    for (values, wanted) in [
        (&[None][..], true),
        (&[Some("true"), None], true),
        (&[None, Some("false")], false),
        (&[Some("false"), Some("true")], false),
    ] {
        let mut variant = deployment("a", 1).variants.remove(0);
        variant.containers = values.iter().map(|value| container(*value)).collect();
        assert_eq!(variant.retries_after_death(), wanted, "{values:?}");
    }
}
