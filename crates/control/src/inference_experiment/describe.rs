//! An experiment as `DescribeInferenceExperiment` and `ListInferenceExperiments` show it.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::{InferenceExperiment, State};
use crate::endpoint::{self, Deployment, Endpoint, EndpointState, shortened};
use crate::list::to_wire;
use crate::resources::{arn, described};

pub(super) fn output(
    ctx: &Context,
    experiment: &Stored<InferenceExperiment>,
    endpoint: Option<&Stored<Endpoint>>,
) -> Result<wire::DescribeInferenceExperimentResponse, ApiError> {
    let request: wire::CreateInferenceExperimentRequest = described(&experiment.spec.request)?;
    let status = &experiment.status;
    Ok(wire::DescribeInferenceExperimentResponse {
        arn: arn::<InferenceExperiment>(ctx, &experiment.name),
        name: experiment.name.clone(),
        r#type: request.r#type,
        schedule: Some(schedule(experiment)),
        status: state(&status.state),
        status_reason: status.reason.clone(),
        description: request.description,
        creation_time: Some(to_wire(experiment.created_at)),
        completion_time: status.ended_at.map(to_wire),
        last_modified_time: Some(to_wire(experiment.modified_at)),
        role_arn: Some(request.role_arn),
        endpoint_metadata: metadata(experiment, endpoint),
        model_variants: variants(experiment, endpoint)?,
        data_storage_config: request.data_storage_config,
        shadow_mode_config: Some(request.shadow_mode_config),
        kms_key: request.kms_key,
    })
}

pub(super) fn summary(
    experiment: &Stored<InferenceExperiment>,
) -> Result<wire::InferenceExperimentSummary, ApiError> {
    let request: wire::CreateInferenceExperimentRequest = described(&experiment.spec.request)?;
    Ok(wire::InferenceExperimentSummary {
        name: experiment.name.clone(),
        r#type: request.r#type,
        schedule: Some(schedule(experiment)),
        status: state(&experiment.status.state),
        status_reason: experiment.status.reason.clone(),
        description: request.description,
        creation_time: to_wire(experiment.created_at),
        completion_time: experiment.status.ended_at.map(to_wire),
        last_modified_time: to_wire(experiment.modified_at),
        role_arn: Some(request.role_arn),
    })
}

/// When it "started or will start", and when it "ended or will end".
fn schedule(experiment: &Stored<InferenceExperiment>) -> wire::InferenceExperimentSchedule {
    let (planned, status) = (experiment.spec.schedule, &experiment.status);
    wire::InferenceExperimentSchedule {
        start_time: Some(to_wire(status.started_at.unwrap_or(planned.starts_at))),
        end_time: Some(to_wire(status.ended_at.unwrap_or_else(|| planned.end()))),
    }
}

fn state(state: &State) -> wire::InferenceExperimentStatus {
    match state {
        State::Creating => wire::InferenceExperimentStatus::Creating,
        State::Created => wire::InferenceExperimentStatus::Created,
        State::Starting => wire::InferenceExperimentStatus::Starting,
        State::Running => wire::InferenceExperimentStatus::Running,
        State::Updating => wire::InferenceExperimentStatus::Updating,
        State::Stopping(_) => wire::InferenceExperimentStatus::Stopping,
        State::Completed => wire::InferenceExperimentStatus::Completed,
        State::Cancelled => wire::InferenceExperimentStatus::Cancelled,
    }
}

fn metadata(
    experiment: &Stored<InferenceExperiment>,
    endpoint: Option<&Stored<Endpoint>>,
) -> wire::EndpointMetadata {
    let endpoint_name = experiment.spec.endpoint.clone();
    let Some(endpoint) = endpoint else {
        return wire::EndpointMetadata { endpoint_name, ..wire::EndpointMetadata::default() };
    };
    let deployed = endpoint.status.serving().unwrap_or(&endpoint.spec.wanted);
    wire::EndpointMetadata {
        endpoint_name,
        endpoint_config_name: Some(deployed.config.clone()),
        endpoint_status: Some(endpoint::status(&endpoint.status)),
        failure_reason: endpoint.status.failure().map(shortened),
    }
}

fn variants(
    experiment: &Stored<InferenceExperiment>,
    endpoint: Option<&Stored<Endpoint>>,
) -> Result<Vec<wire::ModelVariantConfigSummary>, ApiError> {
    let summary = |variant: &super::Variant| {
        let instance_type = serde_json::Value::from(variant.instance_type.as_str());
        Ok(wire::ModelVariantConfigSummary {
            model_name: variant.model.clone(),
            variant_name: variant.name.clone(),
            infrastructure_config: wire::ModelInfrastructureConfig {
                infrastructure_type: wire::ModelInfrastructureType::RealTimeInference,
                real_time_inference_config: wire::RealTimeInferenceConfig {
                    instance_type: described(&instance_type)?,
                    instance_count: i32::try_from(variant.instance_count).unwrap_or(i32::MAX),
                },
            },
            status: variant_status(&variant.name, &experiment.status.state, endpoint),
        })
    };
    experiment.spec.layout.variants().map(summary).collect()
}

/// What the endpoint has of a variant, and is asked to have.
fn variant_status(
    name: &str,
    experiment: &State,
    endpoint: Option<&Stored<Endpoint>>,
) -> wire::ModelVariantStatus {
    let has = |deployment: &Deployment| deployment.all_variants().any(|it| it.name == name);
    let is_served = endpoint.is_some_and(|endpoint| endpoint.status.serving().is_some_and(&has));
    let is_wanted = endpoint.is_some_and(|endpoint| has(&endpoint.spec.wanted));
    let is_settled =
        endpoint.is_some_and(|endpoint| matches!(endpoint.status, EndpointState::InService { .. }));
    match (is_served, is_wanted) {
        (true, _) if is_settled => wire::ModelVariantStatus::InService,
        (true, true) => wire::ModelVariantStatus::Updating,
        (true, false) => wire::ModelVariantStatus::Deleting,
        (false, _) if experiment.is_final() => wire::ModelVariantStatus::Deleted,
        (false, _) => wire::ModelVariantStatus::Creating,
    }
}
