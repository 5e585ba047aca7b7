//! An endpoint as `DescribeEndpoint` and `ListEndpoints` show it.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::fleet::{ContainerSpec, FleetView, InstanceState};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::{DeployedVariant, Deployment, Endpoint, EndpointState};
use crate::endpoint_config::{EndpointConfig, Scaling, asynchronous, capture};
use crate::list::to_wire;
use crate::resources::{arn, described};

pub(super) fn output(
    ctx: &Context,
    endpoint: &Stored<Endpoint>,
    config: Option<&Stored<EndpointConfig>>,
    seen: &FleetView,
) -> Result<wire::DescribeEndpointOutput, ApiError> {
    let state = &endpoint.status;
    let deployed = state.serving().unwrap_or(&endpoint.spec.wanted);
    let has_variants = !matches!(state, EndpointState::Creating | EndpointState::Failed { .. });
    let shadows = deployed.of_shadows();
    let request: Option<wire::CreateEndpointConfigInput> =
        config.map(|config| described(&config.spec.request)).transpose()?;
    Ok(wire::DescribeEndpointOutput {
        endpoint_name: endpoint.name.clone(),
        endpoint_arn: arn::<Endpoint>(ctx, &endpoint.name),
        endpoint_config_name: Some(deployed.config.clone()),
        production_variants: has_variants
            .then(|| variants(deployed, request.as_ref(), &Ran { endpoint, deployed, seen })),
        async_inference_config: request
            .as_ref()
            .and_then(|request| request.async_inference_config.clone())
            .or_else(|| deployed.asynchronous.as_deref().map(asynchronous::shown)),
        data_capture_config: (deployed.capture.as_deref())
            .map(|config| capture::shown(config, state.serving().is_some())),
        endpoint_status: status(state),
        failure_reason: failure_reason(state),
        creation_time: to_wire(endpoint.created_at),
        last_modified_time: to_wire(endpoint.modified_at),
        last_deployment_config: None,
        pending_deployment_summary: pending(endpoint, seen),
        explainer_config: None,
        shadow_production_variants: (has_variants && !shadows.variants.is_empty())
            .then(|| variants(&shadows, None, &Ran { endpoint, deployed: &shadows, seen })),
        metrics_config: None,
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

fn status(state: &EndpointState) -> wire::EndpointStatus {
    match state {
        EndpointState::Creating => wire::EndpointStatus::Creating,
        EndpointState::InService { .. } => wire::EndpointStatus::InService,
        EndpointState::Updating { .. } => wire::EndpointStatus::Updating,
        EndpointState::Failed { .. } => wire::EndpointStatus::Failed,
        EndpointState::Deleting => wire::EndpointStatus::Deleting,
    }
}

fn failure_reason(state: &EndpointState) -> Option<String> {
    match state {
        EndpointState::Failed { reason } => Some(shortened(reason)),
        EndpointState::InService { note, .. } => note.as_deref().map(shortened),
        EndpointState::Creating | EndpointState::Updating { .. } | EndpointState::Deleting => None,
    }
}

/// SageMaker API: a `FailureReason` has at most 1024 characters.
const LONGEST_REASON: usize = 1024;

/// How much of its beginning a reason keeps that is too long; the rest is its end, for what a
/// log says last says most.
const REASON_HEAD: usize = 320;

/// A reason as it fits into a `FailureReason`.
pub(crate) fn shortened(reason: &str) -> String {
    const GAP: &str = "\n[..]\n";
    let n_chars = reason.chars().count();
    if n_chars <= LONGEST_REASON {
        return reason.to_owned();
    }
    let head: String = reason.chars().take(REASON_HEAD).collect();
    let n_tail = LONGEST_REASON - REASON_HEAD - GAP.len();
    let tail: String = reason.chars().skip(n_chars - n_tail).collect();
    // Whole lines, where they are not too long for that.
    let begin = tail.find('\n').filter(|at| *at < n_tail / 2).map_or(0, |at| at + 1);
    format!("{}{GAP}{}", head.trim_end(), tail.get(begin..).unwrap_or_default())
}

fn variants(
    deployed: &Deployment,
    config: Option<&wire::CreateEndpointConfigInput>,
    ran: &Ran<'_>,
) -> Vec<wire::ProductionVariantSummary> {
    let summary = |variant: &DeployedVariant| {
        let given = config.and_then(|config| {
            config.production_variants.iter().find(|given| given.variant_name == variant.name)
        });
        let serverless = serverless(variant);
        wire::ProductionVariantSummary {
            variant_name: variant.name.clone(),
            deployed_images: Some(ran.images(variant)),
            current_weight: Some(variant.weight),
            desired_weight: Some(variant.weight),
            current_instance_count: ran.count(variant, |state| state.ready().is_some()),
            desired_instance_count: ran
                .count(variant, |state| !matches!(state, InstanceState::Draining)),
            current_serverless_config: serverless.clone(),
            desired_serverless_config: serverless,
            managed_instance_scaling: given
                .and_then(|given| given.managed_instance_scaling.clone()),
            routing_config: given.and_then(|given| given.routing_config.clone()),
            ..wire::ProductionVariantSummary::default()
        }
    };
    deployed.variants.iter().map(summary).collect()
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
struct Ran<'a> {
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

    /// How many instances are `so`; of a variant that does not scale, as many as it is to have.
    fn count(&self, variant: &DeployedVariant, so: impl Fn(&InstanceState) -> bool) -> Option<i32> {
        let count = match variant.scaling {
            Scaling::Fixed => return i32::try_from(variant.instance_count).ok(),
            Scaling::Serverless(_) | Scaling::Managed { .. } => {
                self.instances(variant).filter(|state| so(state)).count()
            }
        };
        i32::try_from(count).ok()
    }

    fn instances(&self, variant: &DeployedVariant) -> impl Iterator<Item = &InstanceState> {
        let (region, endpoint) = (&self.endpoint.region, &self.endpoint.name);
        let group = self.seen.get(&self.deployed.key(region, endpoint, &variant.name));
        group.into_iter().flatten()
    }

    fn resolved(&self, variant: &DeployedVariant) -> Vec<Option<String>> {
        let mut ready = self.instances(variant).filter_map(InstanceState::ready);
        ready.next().map(|instance| instance.worker.images()).unwrap_or_default()
    }
}

/// The fleet that is being launched by an update.
fn pending(
    endpoint: &Stored<Endpoint>,
    seen: &FleetView,
) -> Option<wire::PendingDeploymentSummary> {
    let is_updating = matches!(endpoint.status, EndpointState::Updating { .. });
    let wanted = &endpoint.spec.wanted;
    let ran = Ran { endpoint, deployed: wanted, seen };
    let summary = |variant: &DeployedVariant| wire::PendingProductionVariantSummary {
        variant_name: variant.name.clone(),
        deployed_images: Some(ran.images(variant)),
        current_weight: Some(0.0),
        desired_weight: Some(variant.weight),
        current_instance_count: Some(0),
        desired_instance_count: i32::try_from(variant.first_count()).ok(),
        desired_serverless_config: serverless(variant),
        ..wire::PendingProductionVariantSummary::default()
    };
    is_updating.then(|| wire::PendingDeploymentSummary {
        endpoint_config_name: wanted.config.clone(),
        production_variants: Some(wanted.variants.iter().map(summary).collect()),
        start_time: Some(to_wire(endpoint.modified_at)),
        shadow_production_variants: None,
    })
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_reason_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("no room"), "no room");
        let exact = "ä".repeat(1024);
        assert_eq!(shortened(&exact), exact);
        let log: String = (0..200).map(|n| format!("line {n} of the log\n")).collect();
        let short = shortened(&format!("The worker did not start:\n{log}ImportError: no x"));
        assert!(short.chars().count() <= 1024);
        assert!(short.starts_with("The worker did not start:\nline 0 of the log\n"), "{short}");
        assert!(short.contains("\n[..]\nline "), "{short}");
        assert!(short.ends_with("line 199 of the log\nImportError: no x"), "{short}");
        assert_eq!(shortened(&"ä".repeat(5000)).chars().count(), 1024);
    }
}
