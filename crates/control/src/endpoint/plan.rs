//! What to do next with an endpoint. Pure: no clock, no IO.

use sagebrush_core::alarms::Alarms;
use sagebrush_core::fleet::{FleetView, GroupKey, GroupSpec, InstanceState, Owner};
use sagebrush_core::{Region, Timestamp};

use super::probe::{Probed, Verdict};
use super::{DeployedVariant, Deployment, EndpointState, Share, advance};

/// After so many failed starts in a row a new deployment is given up.
const MAX_ATTEMPTS: u32 = 3;

/// An endpoint as the planner sees it.
pub(super) struct Wanted<'a> {
    pub(super) region: &'a Region,
    pub(super) name: &'a str,
    pub(super) deployment: &'a Deployment,
    pub(super) state: &'a EndpointState,
}

/// All else that it sees.
pub(super) struct Sight<'a> {
    pub(super) fleet: &'a FleetView,
    pub(super) probed: &'a Probed,
    pub(super) alarms: &'a dyn Alarms,
    pub(super) now: Timestamp,
    /// Before that nobody looked at alarms: a bake of then does not count.
    pub(super) watched_since: Timestamp,
}

/// The state to write, if it changes.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing to write until something changes.
    Stay,
    /// The same, or until then.
    StayUntil(Timestamp),
    Become(EndpointState),
    /// Nothing is left of it: the record goes.
    Remove,
}

pub(super) fn plan(wanted: &Wanted<'_>, seen: &Sight<'_>) -> Step {
    match wanted.state {
        EndpointState::Creating => creating(wanted, seen.fleet),
        EndpointState::Updating { serving, .. }
            if serving.revision == wanted.deployment.revision =>
        {
            resizing(wanted, serving, seen.fleet)
        }
        EndpointState::Updating { serving, rollout } => {
            advance::forward(wanted, serving, rollout, seen)
        }
        EndpointState::RollingBack { serving, rollback }
        | EndpointState::UpdateRollbackFailed { serving, rollback } => {
            advance::back(wanted, serving, rollback, seen.fleet, seen.now)
        }
        EndpointState::InService { .. } | EndpointState::Failed { .. } => Step::Stay,
        EndpointState::Deleting => deleting(wanted, seen.fleet),
    }
}

fn creating(wanted: &Wanted<'_>, seen: &FleetView) -> Step {
    match progress(&wanted.groups_of(wanted.deployment), seen, None) {
        Progress::Starting => Step::Stay,
        Progress::Ready => in_service(wanted.deployment, None),
        Progress::Failed(reason) => Step::Become(EndpointState::Failed { reason }),
    }
}

/// Other weights and counts of the same revision.
fn resizing(wanted: &Wanted<'_>, serving: &Deployment, seen: &FleetView) -> Step {
    match progress(&wanted.groups_of(wanted.deployment), seen, None) {
        Progress::Starting => Step::Stay,
        Progress::Ready => in_service(wanted.deployment, None),
        Progress::Failed(reason) => in_service(serving, Some(reason)),
    }
}

fn deleting(wanted: &Wanted<'_>, seen: &FleetView) -> Step {
    let is_ours = |key: &GroupKey| {
        key.owner == Owner::Endpoint && key.region == *wanted.region && key.name == wanted.name
    };
    if seen.keys().any(is_ours) { Step::Stay } else { Step::Remove }
}

pub(super) fn in_service(serving: &Deployment, note: Option<String>) -> Step {
    Step::Become(EndpointState::InService { serving: serving.clone(), note })
}

impl Wanted<'_> {
    /// The groups that must exist in the state that the endpoint has: those that serve, and those
    /// that are being launched.
    pub(super) fn groups(&self) -> Vec<GroupSpec> {
        let new = self.deployment;
        match self.state {
            EndpointState::Creating => self.groups_of(new),
            EndpointState::InService { serving, .. } => self.groups_of(serving),
            // One revision with other counts is the same groups: those that are wanted count.
            EndpointState::Updating { serving, .. } if serving.revision == new.revision => {
                self.groups_of(new)
            }
            EndpointState::Updating { serving, rollout } => {
                let (policy, step) = (&rollout.policy, rollout.step(new));
                let mut groups = self.sized(serving, |old| policy.old_count(step, new, old));
                groups.extend(self.sized(new, |variant| policy.new_count(step, variant)));
                groups
            }
            EndpointState::RollingBack { serving, rollback }
            | EndpointState::UpdateRollbackFailed { serving, rollback } => {
                let left = |back| rollback.policy.left(rollback.step, back, serving, new);
                let (now, next) = (left(rollback.back), left(rollback.back.saturating_add(1)));
                let mut groups = self.returning(serving, next);
                if now > Share::NONE {
                    groups.extend(self.sized(new, |new| now.at_least(new.first_count())));
                }
                groups
            }
            EndpointState::Failed { .. } | EndpointState::Deleting => Vec::new(),
        }
    }

    pub(super) fn groups_of(&self, deployment: &Deployment) -> Vec<GroupSpec> {
        deployment.groups(self.region, self.name)
    }

    /// The old fleet as large as it must be when the new one keeps `left` of the calls.
    pub(super) fn returning(&self, serving: &Deployment, left: Share) -> Vec<GroupSpec> {
        self.sized(serving, |old| left.rest().at_least(old.first_count()))
    }

    pub(super) fn sized(
        &self,
        deployment: &Deployment,
        count: impl Fn(&DeployedVariant) -> u32,
    ) -> Vec<GroupSpec> {
        let counts = deployment.variants.iter().map(count);
        let groups = self.groups_of(deployment).into_iter().zip(counts);
        groups.map(|(group, instance_count)| GroupSpec { instance_count, ..group }).collect()
    }
}

pub(super) enum Progress {
    Starting,
    Ready,
    Failed(String),
}

/// How far the groups are. With `probed`, only instances count that passed their probes.
pub(super) fn progress(
    groups: &[GroupSpec],
    seen: &FleetView,
    probed: Option<&Probed>,
) -> Progress {
    let mut all_ready = true;
    for group in groups {
        let instances = seen.get(&group.key).map_or(&[][..], Vec::as_slice);
        if let Some(reason) = instances.iter().find_map(given_up) {
            return Progress::Failed(reason);
        }
        let verdicts = instances
            .iter()
            .filter_map(InstanceState::ready)
            .map(|instance| probed.map_or(Verdict::Good, |probed| probed.verdict(&instance.id)));
        let mut n_good = 0;
        for verdict in verdicts {
            match verdict {
                Verdict::Good => n_good += 1,
                Verdict::Unknown => {}
                Verdict::Bad(reason) => return Progress::Failed(reason.to_owned()),
            }
        }
        all_ready &= n_good >= group.instance_count as usize;
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

/// Why nothing of a group answers, if something failed there and nothing is ready.
pub(super) fn lost(group: &GroupSpec, seen: &FleetView) -> Option<String> {
    let instances = seen.get(&group.key)?;
    if instances.iter().any(|instance| instance.ready().is_some()) {
        return None;
    }
    instances.iter().find_map(|instance| match instance {
        InstanceState::Failed { reason, .. } => Some(reason.clone()),
        InstanceState::Starting | InstanceState::Ready(_) | InstanceState::Draining => None,
    })
}
