//! A transform job as `DescribeTransformJob` and `ListTransformJobs` show it.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::{State, TransformJob};
use crate::endpoint::shortened;
use crate::list::to_wire;
use crate::resources::{arn, described};

pub(super) fn output(
    ctx: &Context,
    job: &Stored<TransformJob>,
) -> Result<wire::DescribeTransformJobResponse, ApiError> {
    let request: wire::CreateTransformJobRequest = described(&job.spec.request)?;
    Ok(wire::DescribeTransformJobResponse {
        transform_job_name: job.name.clone(),
        transform_job_arn: arn::<TransformJob>(ctx, &job.name),
        transform_job_status: status(&job.status.state),
        failure_reason: failure_reason(&job.status.state),
        model_name: request.model_name,
        max_concurrent_transforms: request.max_concurrent_transforms,
        model_client_config: request.model_client_config,
        max_payload_in_mb: request.max_payload_in_mb,
        batch_strategy: request.batch_strategy,
        environment: request.environment,
        transform_input: request.transform_input,
        transform_output: Some(request.transform_output),
        data_capture_config: request.data_capture_config,
        transform_resources: request.transform_resources,
        creation_time: to_wire(job.created_at),
        transform_start_time: job.status.started_at.map(to_wire),
        transform_end_time: job.status.ended_at.map(to_wire),
        labeling_job_arn: None,
        auto_ml_job_arn: None,
        data_processing: request.data_processing,
        experiment_config: request.experiment_config,
    })
}

pub(super) fn summary(ctx: &Context, job: &Stored<TransformJob>) -> wire::TransformJobSummary {
    wire::TransformJobSummary {
        transform_job_name: job.name.clone(),
        transform_job_arn: arn::<TransformJob>(ctx, &job.name),
        creation_time: to_wire(job.created_at),
        transform_end_time: job.status.ended_at.map(to_wire),
        last_modified_time: Some(to_wire(job.modified_at)),
        transform_job_status: status(&job.status.state),
        failure_reason: failure_reason(&job.status.state),
    }
}

fn status(state: &State) -> wire::TransformJobStatus {
    match state {
        State::InProgress => wire::TransformJobStatus::InProgress,
        State::Completed => wire::TransformJobStatus::Completed,
        State::Failed { .. } => wire::TransformJobStatus::Failed,
        State::Stopping => wire::TransformJobStatus::Stopping,
        State::Stopped => wire::TransformJobStatus::Stopped,
    }
}

pub(super) fn failure_reason(state: &State) -> Option<String> {
    match state {
        State::Failed { reason } => Some(shortened(reason)),
        State::InProgress | State::Completed | State::Stopping | State::Stopped => None,
    }
}
