//! `VariantStatus`: what is going on with a variant, in SageMaker's words.

use sagebrush_core::Timestamp;
use sagebrush_core::fleet::InstanceState;
use sagebrush_wire::sagemaker as wire;

use super::Ran;
use crate::endpoint::rollout::{Rollout, Stage, Traffic, Way};
use crate::endpoint::{DeployedVariant, EndpointState, Share};
use crate::endpoint_config::Scaling;
use crate::list::to_wire;

type Statuses = Option<Vec<wire::ProductionVariantStatus>>;

/// Of the fleet that an update brings, or that a rollback takes away.
pub(super) fn of_pending(ran: &Ran<'_>, variant: &DeployedVariant) -> Statuses {
    match &ran.endpoint.status {
        EndpointState::Updating { rollout, .. } => {
            let (word, message) = pending(ran, variant, rollout);
            status(word, message, since(ran, rollout.since))
        }
        EndpointState::RollingBack { rollback, .. }
        | EndpointState::UpdateRollbackFailed { rollback, .. } => {
            let n = ran.instances(variant).count();
            let message = format!("Terminating {n} instance(s).");
            status(wire::VariantStatus::Deleting, message, rollback.since)
        }
        EndpointState::Creating
        | EndpointState::InService { .. }
        | EndpointState::Failed { .. }
        | EndpointState::Deleting => None,
    }
}

fn pending(
    ran: &Ran<'_>,
    variant: &DeployedVariant,
    rollout: &Rollout,
) -> (wire::VariantStatus, String) {
    let capacity = capacity(ran, variant, rollout);
    let bake = |seconds: std::time::Duration, member: &str| {
        let seconds = seconds.as_secs();
        let message =
            format!("Baking for {seconds} seconds ({member}) with traffic enabled on {capacity}.");
        (wire::VariantStatus::Baking, message)
    };
    match rollout.stage {
        Stage::Launching { .. } => {
            let is_ready = |state: &&InstanceState| state.ready().is_some();
            let n_ready = ran.instances(variant).filter(is_ready).count();
            let n_wanted = usize::try_from(ran.wanted_count(variant)).unwrap_or(usize::MAX);
            match n_wanted.saturating_sub(n_ready) {
                0 => {
                    let message = format!("Activating traffic on {capacity}.");
                    (wire::VariantStatus::ActivatingTraffic, message)
                }
                n => (wire::VariantStatus::Creating, format!("Launching {n} instance(s).")),
            }
        }
        Stage::Baking { .. } => bake(rollout.policy.bake, "WaitIntervalInSeconds"),
        Stage::Terminating => bake(rollout.policy.termination_wait(), "TerminationWaitInSeconds"),
    }
}

/// The part of the new fleet that has calls after the step that is under way.
fn capacity(ran: &Ran<'_>, variant: &DeployedVariant, rollout: &Rollout) -> String {
    let share = rollout.policy.share(rollout.step(ran.deployed), ran.deployed);
    let n = share.at_least(variant.first_count());
    let kind = match rollout.policy.way {
        _ if share == Share::ALL => "full",
        Way::BlueGreen { traffic: Traffic::Canary(_), .. } => "canary",
        Way::BlueGreen { traffic: Traffic::Linear(_) | Traffic::AllAtOnce, .. } => "linear step",
        Way::Rolling { .. } => "rolling batch",
    };
    match variant.scaling {
        Scaling::Fixed => format!("{kind} capacity of {n} instance(s)"),
        // How many instances that takes, the calls decide.
        Scaling::Serverless(_) | Scaling::Managed { .. } => {
            format!("{kind} capacity of {:.0} percent of the calls", share.as_f32() * 100.0)
        }
    }
}

/// Of the fleet that serves.
pub(super) fn of_serving(ran: &Ran<'_>, variant: &DeployedVariant) -> Statuses {
    if !ran.is_changing() {
        return None;
    }
    let now = ran.endpoint.modified_at;
    let (wanted, is_same) =
        (&ran.endpoint.spec.wanted, ran.deployed.revision == ran.endpoint.spec.wanted.revision);
    if is_same {
        let after = wanted.variants.iter().find(|wanted| wanted.name == variant.name)?;
        let count = after.instance_count;
        let message = match count.cmp(&variant.instance_count) {
            std::cmp::Ordering::Greater => {
                format!("Scaling out desired instance count to {count}.")
            }
            std::cmp::Ordering::Less => format!("Scaling in desired instance count to {count}."),
            std::cmp::Ordering::Equal => format!("Changing the weight to {}.", after.weight),
        };
        return status(wire::VariantStatus::Updating, message, now);
    }
    let n_leaving = ran.instances(variant).filter(is_leaving).count();
    if n_leaving > 0 {
        let message = format!("Terminating {n_leaving} instance(s).");
        return status(wire::VariantStatus::Deleting, message, now);
    }
    let n_coming = ran.instances(variant).filter(|state| is_coming(state)).count();
    if n_coming > 0 {
        let message = format!("Launching {n_coming} instance(s).");
        return status(wire::VariantStatus::Updating, message, now);
    }
    None
}

fn is_leaving(state: &&InstanceState) -> bool {
    matches!(state, InstanceState::Draining)
}

fn is_coming(state: &InstanceState) -> bool {
    match state {
        InstanceState::Starting | InstanceState::Failed { .. } => true,
        InstanceState::Ready(_) | InstanceState::Draining => false,
    }
}

fn since(ran: &Ran<'_>, since: Timestamp) -> Timestamp {
    if since == Timestamp::default() { ran.endpoint.modified_at } else { since }
}

fn status(word: wire::VariantStatus, message: String, since: Timestamp) -> Statuses {
    Some(vec![wire::ProductionVariantStatus {
        status: word,
        status_message: Some(message),
        start_time: Some(to_wire(since)),
    }])
}
