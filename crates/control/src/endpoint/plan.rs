//! What to do next with an endpoint. Pure: no clock, no IO.

use sagebrush_core::Region;
use sagebrush_core::fleet::{FleetView, GroupSpec, InstanceState};

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

/// What to bring about: the groups that must exist, and the state to write, if it changes.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) groups: Vec<GroupSpec>,
    pub(super) step: Step,
}

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing to write now.
    Stay,
    Become(EndpointState),
    /// Nothing is left of it: the record goes.
    Remove,
}

pub(super) fn plan(wanted: &Wanted<'_>, seen: &FleetView) -> Plan {
    match wanted.state {
        EndpointState::Creating => creating(wanted, seen),
        EndpointState::Updating { serving } => updating(wanted, serving, seen),
        EndpointState::InService { serving, .. } => {
            Plan { groups: wanted.groups(serving), step: Step::Stay }
        }
        EndpointState::Failed { .. } => Plan { groups: Vec::new(), step: Step::Stay },
        EndpointState::Deleting => deleting(wanted, seen),
    }
}

fn creating(wanted: &Wanted<'_>, seen: &FleetView) -> Plan {
    let groups = wanted.groups(wanted.deployment);
    let step = match progress(&groups, seen) {
        Progress::Starting => Step::Stay,
        Progress::Ready => Step::Become(EndpointState::InService {
            serving: wanted.deployment.clone(),
            note: None,
        }),
        Progress::Failed(reason) => Step::Become(EndpointState::Failed { reason }),
    };
    Plan { groups, step }
}

fn updating(wanted: &Wanted<'_>, serving: &Deployment, seen: &FleetView) -> Plan {
    let new = wanted.groups(wanted.deployment);
    let in_service = |serving, note| Step::Become(EndpointState::InService { serving, note });
    let step = match progress(&new, seen) {
        Progress::Starting => Step::Stay,
        Progress::Ready => in_service(wanted.deployment.clone(), None),
        Progress::Failed(reason) => in_service(serving.clone(), Some(reason)),
    };
    let mut groups = wanted.groups(serving);
    groups.extend(new);
    Plan { groups, step }
}

fn deleting(wanted: &Wanted<'_>, seen: &FleetView) -> Plan {
    let is_ours = |key: &&sagebrush_core::fleet::GroupKey| {
        key.region == *wanted.region && key.endpoint == wanted.name
    };
    let something_is_left = seen.keys().any(|key| is_ours(&key));
    let step = if something_is_left { Step::Stay } else { Step::Remove };
    Plan { groups: Vec::new(), step }
}

impl Wanted<'_> {
    fn groups(&self, deployment: &Deployment) -> Vec<GroupSpec> {
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

fn given_up(instance: &InstanceState) -> Option<String> {
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
