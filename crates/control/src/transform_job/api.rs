//! `CreateTransformJob`, `DescribeTransformJob`, `ListTransformJobs`, `StopTransformJob`.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{SortBy, StoreError};
use sagebrush_wire::Empty;
use sagebrush_wire::sagemaker as wire;

use super::{State, TransformJob, describe, events, request};
use crate::list;
use crate::resources::{already_existing, arn, create_error, found, tag_map};
use crate::{Control, model};

const WHAT: &str = "transform job";

/// How long a Describe waits for a job that is about to end.
///
/// boto3's waiters sleep for 60 s after a first look that is not final: small jobs end within this
/// time, so that the first look is.
const SETTLE_WAIT: Duration = Duration::from_secs(3);

/// How often a stop is tried again when the reconciler writes the same job.
const MAX_ATTEMPTS: usize = 16;

pub(crate) async fn create(
    control: Arc<Control>,
    ctx: Context,
    input: wire::CreateTransformJobRequest,
) -> Result<wire::CreateTransformJobResponse, ApiError> {
    let name = input.transform_job_name.clone();
    let tags = tag_map(input.tags.as_deref())?;
    let transform_job_arn = arn::<TransformJob>(&ctx, &name);
    if control.transform_jobs.get(&ctx.region, &name).await?.is_some() {
        return Err(already_existing(WHAT, &transform_job_arn));
    }
    let model = model::api::find(&control, &ctx, &input.model_name).await?;
    let spec = request::spec(&input, &model.spec)?;
    let created = control.transform_jobs.create(&ctx.region, &name, spec, tags).await;
    created.map_err(|error| create_error(error, WHAT, &transform_job_arn))?;
    control.transform_wake.notify_one();
    Ok(wire::CreateTransformJobResponse { transform_job_arn })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeTransformJobRequest,
) -> Result<wire::DescribeTransformJobResponse, ApiError> {
    let job = settled(&control, &ctx, &input.transform_job_name).await?;
    describe::output(&ctx, &job)
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListTransformJobsRequest,
) -> Result<wire::ListTransformJobsResponse, ApiError> {
    let token = input.next_token;
    let order = |order| match order {
        wire::SortOrder::Ascending => wire::OrderKey::Ascending,
        wire::SortOrder::Descending => wire::OrderKey::Descending,
    };
    let wanted = list::Wanted {
        sort_by: match input.sort_by {
            Some(wire::SortBy::Name) => SortBy::Name,
            Some(wire::SortBy::Status) => SortBy::Status,
            Some(wire::SortBy::CreationTime) | None => SortBy::CreationTime,
        },
        order: input.sort_order.map(order),
        max_results: input.max_results,
        name_contains: input.name_contains,
        created_before: input.creation_time_before,
        created_after: input.creation_time_after,
    };
    let changed = list::Changed {
        before: input.last_modified_time_before,
        after: input.last_modified_time_after,
        status: input.status_equals.map(|status| status.as_str()),
    };
    let query = wanted.changed(&ctx.region, changed);
    let query = list::after::<TransformJob>(query, token.as_deref())?;
    let (jobs, next) = control.transform_jobs.list(&query).await?;
    Ok(wire::ListTransformJobsResponse {
        transform_job_summaries: jobs.iter().map(|job| describe::summary(&ctx, job)).collect(),
        next_token: list::next_token::<TransformJob>(&query, next),
    })
}

pub(crate) async fn stop(
    control: Arc<Control>,
    ctx: Context,
    input: wire::StopTransformJobRequest,
) -> Result<Empty, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut job = find(&control, &ctx, &input.transform_job_name).await?;
        match job.status.state {
            State::InProgress => {}
            State::Stopping => return Ok(Empty {}),
            ref state @ (State::Completed | State::Failed { .. } | State::Stopped) => {
                return Err(ApiError::validation(format!(
                    "The request was rejected because the transform job is in status {}.",
                    state.word()
                )));
            }
        }
        job.status.state = State::Stopping;
        match control.transform_jobs.update(job).await {
            Ok(job) => {
                let event = events::state_change(&ctx.account, &job, control.clock.now());
                control.watched.events.emit(event);
                control.transform_wake.notify_one();
                return Ok(Empty {});
            }
            Err(StoreError::Conflict { .. }) => {} // The reconciler was quicker: look again.
            Err(error) => return Err(error.into()),
        }
    }
    let job_arn = arn::<TransformJob>(&ctx, &input.transform_job_name);
    Err(ApiError::resource_in_use(format!("{job_arn} is being changed. Try again.")))
}

async fn find(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<TransformJob>, ApiError> {
    let stored = control.transform_jobs.get(&ctx.region, name).await?;
    found(stored, WHAT, &arn::<TransformJob>(ctx, name))
}

/// The job once it has ended, or as it is when that takes long.
async fn settled(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<TransformJob>, ApiError> {
    let mut changes = control.transform_settled.subscribe();
    let deadline = tokio::time::Instant::now() + SETTLE_WAIT;
    loop {
        changes.borrow_and_update();
        let job = find(control, ctx, name).await?;
        let is_young = control.clock.now().since(job.created_at) < SETTLE_WAIT
            || job.status.state == State::Stopping;
        if job.status.state.is_final() || !is_young {
            return Ok(job);
        }
        if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
            return find(control, ctx, name).await;
        }
    }
}
