//! What to do next with an endpoint. Pure: no clock, no IO.

use sagebrush_core::Region;
use sagebrush_core::fleet::{FleetView, GroupKey, GroupSpec, InstanceState, Owner};

use super::{Deployment, EndpointState};

/// After so many failed starts in a row a new deployment is given up.
const MAX_ATTEMPTS: u32 = 3;

/// An endpoint as the planner sees it.
pub(super) struct Wanted<'a> {
    pub(super) region: &'a Region,
    pub(super) name: &'a str,
    pub(super) deployment: &'a Deployment,
    pub(super) state: &'a EndpointState,
}

/// The state to write, if it changes.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing to write now.
    Stay,
    Become(EndpointState),
    /// Nothing is left of it: the record goes.
    Remove,
}

pub(super) fn plan(wanted: &Wanted<'_>, seen: &FleetView) -> Step {
    match wanted.state {
        EndpointState::Creating => creating(wanted, seen),
        EndpointState::Updating { serving } => updating(wanted, serving, seen),
        EndpointState::InService { .. } | EndpointState::Failed { .. } => Step::Stay,
        EndpointState::Deleting => deleting(wanted, seen),
    }
}

fn creating(wanted: &Wanted<'_>, seen: &FleetView) -> Step {
    match progress(&wanted.groups_of(wanted.deployment), seen) {
        Progress::Starting => Step::Stay,
        Progress::Ready => Step::Become(EndpointState::InService {
            serving: wanted.deployment.clone(),
            note: None,
        }),
        Progress::Failed(reason) => Step::Become(EndpointState::Failed { reason }),
    }
}

fn updating(wanted: &Wanted<'_>, serving: &Deployment, seen: &FleetView) -> Step {
    let in_service = |serving, note| Step::Become(EndpointState::InService { serving, note });
    match progress(&wanted.groups_of(wanted.deployment), seen) {
        Progress::Starting => Step::Stay,
        Progress::Ready => in_service(wanted.deployment.clone(), None),
        Progress::Failed(reason) => in_service(serving.clone(), Some(reason)),
    }
}

fn deleting(wanted: &Wanted<'_>, seen: &FleetView) -> Step {
    let is_ours = |key: &GroupKey| {
        key.owner == Owner::Endpoint && key.region == *wanted.region && key.name == wanted.name
    };
    if seen.keys().any(is_ours) { Step::Stay } else { Step::Remove }
}

impl Wanted<'_> {
    /// The groups that must exist in the state that the endpoint has: those that serve, and those
    /// that are being launched.
    pub(super) fn groups(&self) -> Vec<GroupSpec> {
        let launching = match self.state {
            EndpointState::Creating | EndpointState::Updating { .. } => Some(self.deployment),
            EndpointState::InService { .. }
            | EndpointState::Failed { .. }
            | EndpointState::Deleting => None,
        };
        // One revision with other counts is the same groups: those that are wanted count.
        let is_replaced = |serving: &&Deployment| {
            launching.is_none_or(|launching| launching.revision != serving.revision)
        };
        let deployments = self.state.serving().filter(is_replaced).into_iter().chain(launching);
        deployments.flat_map(|deployment| self.groups_of(deployment)).collect()
    }

    fn groups_of(&self, deployment: &Deployment) -> Vec<GroupSpec> {
        deployment.groups(self.region, self.name)
    }
}

enum Progress {
    Starting,
    Ready,
    Failed(String),
}

fn progress(groups: &[GroupSpec], seen: &FleetView) -> Progress {
    let mut all_ready = true;
    for group in groups {
        let instances = seen.get(&group.key).map_or(&[][..], Vec::as_slice);
        if let Some(reason) = instances.iter().find_map(given_up) {
            return Progress::Failed(reason);
        }
        all_ready &= n_ready(instances) >= group.instance_count as usize;
    }
    if all_ready { Progress::Ready } else { Progress::Starting }
}

/// Why an instance will not start, once that is sure.
pub(crate) fn given_up(instance: &InstanceState) -> Option<String> {
    match instance {
        InstanceState::Failed { reason, permanent, attempts }
            if *permanent || *attempts >= MAX_ATTEMPTS =>
        {
            Some(reason.clone())
        }
        InstanceState::Failed { .. }
        | InstanceState::Starting
        | InstanceState::Ready(_)
        | InstanceState::Draining => None,
    }
}

fn n_ready(instances: &[InstanceState]) -> usize {
    instances.iter().filter(|instance| matches!(instance, InstanceState::Ready(_))).count()
}
