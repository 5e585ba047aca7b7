//! An endpoint as `DescribeEndpoint` and `ListEndpoints` show it.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::{DeployedVariant, Deployment, Endpoint, EndpointState};
use crate::endpoint_config::EndpointConfig;
use crate::list::to_wire;
use crate::resources::{arn, described};

pub(super) fn output(
    ctx: &Context,
    endpoint: &Stored<Endpoint>,
    config: Option<&Stored<EndpointConfig>>,
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
        production_variants: has_variants.then(|| variants(deployed, request.as_ref())),
        data_capture_config: request.and_then(|request| capture(request.data_capture_config)),
        endpoint_status: status(state),
        failure_reason: failure_reason(state),
        creation_time: to_wire(endpoint.created_at),
        last_modified_time: to_wire(endpoint.modified_at),
        last_deployment_config: None,
        async_inference_config: None,
        pending_deployment_summary: pending(endpoint),
        explainer_config: None,
        shadow_production_variants: None,
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
        EndpointState::Failed { reason } => Some(reason.clone()),
        EndpointState::InService { note, .. } => note.clone(),
        EndpointState::Creating | EndpointState::Updating { .. } | EndpointState::Deleting => None,
    }
}

fn variants(
    deployed: &Deployment,
    config: Option<&wire::CreateEndpointConfigInput>,
) -> Vec<wire::ProductionVariantSummary> {
    let summary = |variant: &DeployedVariant| {
        let given = config.and_then(|config| {
            config.production_variants.iter().find(|given| given.variant_name == variant.name)
        });
        let count = i32::try_from(variant.instance_count).ok();
        wire::ProductionVariantSummary {
            variant_name: variant.name.clone(),
            deployed_images: Some(images(variant)),
            current_weight: Some(variant.weight),
            desired_weight: Some(variant.weight),
            current_instance_count: count,
            desired_instance_count: count,
            managed_instance_scaling: given
                .and_then(|given| given.managed_instance_scaling.clone()),
            routing_config: given.and_then(|given| given.routing_config.clone()),
            ..wire::ProductionVariantSummary::default()
        }
    };
    deployed.variants.iter().map(summary).collect()
}

fn images(variant: &DeployedVariant) -> Vec<wire::DeployedImage> {
    let image = |image: &String| wire::DeployedImage {
        specified_image: Some(image.clone()),
        resolved_image: Some(image.clone()),
        resolution_time: Some(to_wire(variant.resolved_at)),
    };
    variant.containers.iter().map(|container| image(&container.image)).collect()
}

/// Capture is not done here, and the answer says so: its status is `Stopped`.
fn capture(config: Option<wire::DataCaptureConfig>) -> Option<wire::DataCaptureConfigSummary> {
    config.map(|config| wire::DataCaptureConfigSummary {
        enable_capture: config.enable_capture.unwrap_or(false),
        capture_status: wire::CaptureStatus::Stopped,
        current_sampling_percentage: config.initial_sampling_percentage,
        destination_s3_uri: config.destination_s3_uri,
        kms_key_id: config.kms_key_id.unwrap_or_default(),
    })
}

/// The fleet that is being launched by an update.
fn pending(endpoint: &Stored<Endpoint>) -> Option<wire::PendingDeploymentSummary> {
    let is_updating = matches!(endpoint.status, EndpointState::Updating { .. });
    let wanted = &endpoint.spec.wanted;
    let summary = |variant: &DeployedVariant| wire::PendingProductionVariantSummary {
        variant_name: variant.name.clone(),
        deployed_images: Some(images(variant)),
        current_weight: Some(0.0),
        desired_weight: Some(variant.weight),
        current_instance_count: Some(0),
        desired_instance_count: i32::try_from(variant.instance_count).ok(),
        ..wire::PendingProductionVariantSummary::default()
    };
    is_updating.then(|| wire::PendingDeploymentSummary {
        endpoint_config_name: wanted.config.clone(),
        production_variants: Some(wanted.variants.iter().map(summary).collect()),
        start_time: Some(to_wire(endpoint.modified_at)),
        shadow_production_variants: None,
    })
}
