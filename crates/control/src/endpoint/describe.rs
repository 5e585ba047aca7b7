//! An endpoint as `DescribeEndpoint` and `ListEndpoints` show it.

mod reason;
mod stage;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Timestamp;
use sagebrush_core::fleet::{ContainerSpec, FleetView, GroupKey, InstanceState};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::plan::Wanted;
use super::{DeployedVariant, Deployment, Endpoint, EndpointSpec, EndpointState};
use crate::endpoint_config::{EndpointConfig, Scaling, asynchronous, capture};
use crate::list::to_wire;
use crate::resources::{arn, described};

pub(crate) use reason::shortened;

pub(super) fn output(
    ctx: &Context,
    endpoint: &Stored<Endpoint>,
    config: Option<&Stored<EndpointConfig>>,
    seen: &FleetView,
) -> Result<wire::DescribeEndpointOutput, ApiError> {
    let state = &endpoint.status;
    let deployed = state.serving().unwrap_or(&endpoint.spec.wanted);
    let has_variants = !matches!(state, EndpointState::Creating | EndpointState::Failed { .. });
    let request: Option<wire::CreateEndpointConfigInput> =
        config.map(|config| described(&config.spec.request)).transpose()?;
    Ok(wire::DescribeEndpointOutput {
        endpoint_name: endpoint.name.clone(),
        endpoint_arn: arn::<Endpoint>(ctx, &endpoint.name),
        endpoint_config_name: Some(deployed.config.clone()),
        production_variants: has_variants
            .then(|| variants(endpoint, |it| &it.variants, request.as_ref(), seen)),
        async_inference_config: request
            .as_ref()
            .and_then(|request| request.async_inference_config.clone())
            .or_else(|| deployed.asynchronous.as_deref().map(asynchronous::shown)),
        data_capture_config: (deployed.capture.as_deref())
            .map(|config| capture::shown(config, state.serving().is_some())),
        endpoint_status: status(state),
        failure_reason: state.failure().map(shortened),
        creation_time: to_wire(endpoint.created_at),
        last_modified_time: to_wire(endpoint.modified_at),
        last_deployment_config: last_deployment(&endpoint.spec)?,
        pending_deployment_summary: pending(endpoint, seen),
        explainer_config: None,
        shadow_production_variants: (has_variants && !deployed.shadows.is_empty())
            .then(|| variants(endpoint, |it| &it.shadows, None, seen)),
        metrics_config: request.as_ref().and_then(|request| request.metrics_config.clone()),
        cross_region_traffic_config: None,
    })
}

pub(super) fn summary(ctx: &Context, endpoint: &Stored<Endpoint>) -> wire::EndpointSummary {
    wire::EndpointSummary {
        endpoint_name: endpoint.name.clone(),
        endpoint_arn: arn::<Endpoint>(ctx, &endpoint.name),
        creation_time: to_wire(endpoint.created_at),
        last_modified_time: to_wire(endpoint.modified_at),
        endpoint_status: status(&endpoint.status),
    }
}

pub(crate) fn status(state: &EndpointState) -> wire::EndpointStatus {
    match state {
        EndpointState::Creating => wire::EndpointStatus::Creating,
        EndpointState::InService { .. } => wire::EndpointStatus::InService,
        EndpointState::Updating { .. } => wire::EndpointStatus::Updating,
        EndpointState::RollingBack { .. } => wire::EndpointStatus::RollingBack,
        EndpointState::UpdateRollbackFailed { .. } => wire::EndpointStatus::UpdateRollbackFailed,
        EndpointState::Failed { .. } => wire::EndpointStatus::Failed,
        EndpointState::Deleting => wire::EndpointStatus::Deleting,
    }
}

fn last_deployment(spec: &EndpointSpec) -> Result<Option<wire::DeploymentConfig>, ApiError> {
    spec.deployment_config.as_ref().map(described).transpose()
}

/// The variants as they answer, or as they did before the update that is under way.
pub(super) fn variants(
    endpoint: &Stored<Endpoint>,
    of: fn(&Deployment) -> &[DeployedVariant],
    config: Option<&wire::CreateEndpointConfigInput>,
    seen: &FleetView,
) -> Vec<wire::ProductionVariantSummary> {
    let (state, wanted) = (&endpoint.status, &endpoint.spec.wanted);
    let deployed = state.serving().unwrap_or(wanted);
    let share = state.share_of(wanted).rest();
    let ran = Ran { endpoint, deployed, seen };
    let summary = |variant: &DeployedVariant| {
        let given = config.and_then(|config| {
            config.production_variants.iter().find(|given| given.variant_name == variant.name)
        });
        // Of the same revision, it is on its way to what is wanted.
        let is_same = ran.is_changing() && deployed.revision == wanted.revision;
        let after = of(wanted).iter().find(|after| is_same && after.name == variant.name);
        let desired = after.unwrap_or(variant);
        wire::ProductionVariantSummary {
            variant_name: variant.name.clone(),
            deployed_images: Some(ran.images(variant)),
            current_weight: Some(share.of_weight(variant.weight)),
            desired_weight: Some(desired.weight),
            current_instance_count: ran.current_count(variant),
            desired_instance_count: ran.desired_count(variant),
            variant_status: stage::of_serving(&ran, variant),
            current_serverless_config: serverless(variant),
            desired_serverless_config: serverless(desired),
            managed_instance_scaling: given
                .and_then(|given| given.managed_instance_scaling.clone()),
            routing_config: given.and_then(|given| given.routing_config.clone()),
            ..wire::ProductionVariantSummary::default()
        }
    };
    of(deployed).iter().map(summary).collect()
}

fn serverless(variant: &DeployedVariant) -> Option<wire::ProductionVariantServerlessConfig> {
    let Scaling::Serverless(serverless) = variant.scaling else { return None };
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Some(wire::ProductionVariantServerlessConfig {
        memory_size_in_mb: number(serverless.memory_mb),
        max_concurrency: number(serverless.max_concurrency),
        provisioned_concurrency: (serverless.provisioned > 0)
            .then(|| number(serverless.provisioned)),
    })
}

/// A deployment and what runs of it.
pub(super) struct Ran<'a> {
    endpoint: &'a Stored<Endpoint>,
    deployed: &'a Deployment,
    seen: &'a FleetView,
}

impl Ran<'_> {
    /// An image for each container: as it was given, and what a ready instance made of it.
    fn images(&self, variant: &DeployedVariant) -> Vec<wire::DeployedImage> {
        let resolved = self.resolved(variant);
        let image = |(at, container): (usize, &ContainerSpec)| wire::DeployedImage {
            specified_image: Some(container.image.clone()),
            resolved_image: Some(
                resolved.get(at).cloned().flatten().unwrap_or_else(|| container.image.clone()),
            ),
            resolution_time: Some(to_wire(variant.resolved_at)),
        };
        variant.containers.iter().enumerate().map(image).collect()
    }

    /// How many instances take calls; of one that does not scale, as many as it is to have while
    /// nothing changes.
    fn current_count(&self, variant: &DeployedVariant) -> Option<i32> {
        let is_fixed = variant.scaling == Scaling::Fixed;
        if is_fixed && !self.is_changing() {
            return i32::try_from(variant.instance_count).ok();
        }
        i32::try_from(self.instances(variant).filter(|state| state.ready().is_some()).count()).ok()
    }

    fn desired_count(&self, variant: &DeployedVariant) -> Option<i32> {
        let count = match variant.scaling {
            Scaling::Fixed if self.is_changing() => self.wanted_count(variant),
            Scaling::Fixed => variant.instance_count,
            Scaling::Serverless(_) | Scaling::Managed { .. } => {
                let stays = |state: &&InstanceState| !matches!(state, InstanceState::Draining);
                u32::try_from(self.instances(variant).filter(stays).count()).unwrap_or(u32::MAX)
            }
        };
        i32::try_from(count).ok()
    }

    /// How many instances the state of the endpoint asks for.
    fn wanted_count(&self, variant: &DeployedVariant) -> u32 {
        let key = self.key(variant);
        let groups = Wanted::of(self.endpoint).groups();
        groups.iter().find(|group| group.key == key).map_or(0, |group| group.instance_count)
    }

    /// Whether counts and weights are on their way to others.
    fn is_changing(&self) -> bool {
        match self.endpoint.status {
            EndpointState::Updating { .. }
            | EndpointState::RollingBack { .. }
            | EndpointState::UpdateRollbackFailed { .. } => true,
            EndpointState::Creating
            | EndpointState::InService { .. }
            | EndpointState::Failed { .. }
            | EndpointState::Deleting => false,
        }
    }

    fn key(&self, variant: &DeployedVariant) -> GroupKey {
        self.deployed.key(&self.endpoint.region, &self.endpoint.name, &variant.name)
    }

    fn instances(&self, variant: &DeployedVariant) -> impl Iterator<Item = &InstanceState> {
        let group = self.seen.get(&self.key(variant));
        group.into_iter().flatten()
    }

    fn resolved(&self, variant: &DeployedVariant) -> Vec<Option<String>> {
        let mut ready = self.instances(variant).filter_map(InstanceState::ready);
        ready.next().map(|instance| instance.worker.images()).unwrap_or_default()
    }
}

/// The fleet that an update brings, or that a rollback takes away.
pub(super) fn pending(
    endpoint: &Stored<Endpoint>,
    seen: &FleetView,
) -> Option<wire::PendingDeploymentSummary> {
    let wanted = &endpoint.spec.wanted;
    let began = match &endpoint.status {
        EndpointState::Updating { serving, rollout } if serving.revision != wanted.revision => {
            rollout.began
        }
        EndpointState::RollingBack { rollback, .. }
        | EndpointState::UpdateRollbackFailed { rollback, .. } => rollback.began,
        EndpointState::Updating { .. }
        | EndpointState::Creating
        | EndpointState::InService { .. }
        | EndpointState::Failed { .. }
        | EndpointState::Deleting => return None,
    };
    let share = endpoint.status.share_of(wanted);
    let ran = Ran { endpoint, deployed: wanted, seen };
    let summary = |variant: &DeployedVariant| wire::PendingProductionVariantSummary {
        variant_name: variant.name.clone(),
        deployed_images: Some(ran.images(variant)),
        current_weight: Some(share.of_weight(variant.weight)),
        desired_weight: Some(variant.weight),
        current_instance_count: ran.current_count(variant),
        desired_instance_count: match variant.scaling {
            Scaling::Fixed => i32::try_from(variant.first_count()).ok(),
            Scaling::Serverless(_) | Scaling::Managed { .. } => ran.desired_count(variant),
        },
        variant_status: stage::of_pending(&ran, variant),
        desired_serverless_config: serverless(variant),
        ..wire::PendingProductionVariantSummary::default()
    };
    let began = if began == Timestamp::default() { endpoint.modified_at } else { began };
    Some(wire::PendingDeploymentSummary {
        endpoint_config_name: wanted.config.clone(),
        production_variants: Some(wanted.variants.iter().map(summary).collect()),
        start_time: Some(to_wire(began)),
        shadow_production_variants: (!wanted.shadows.is_empty())
            .then(|| wanted.shadows.iter().map(summary).collect()),
    })
}
