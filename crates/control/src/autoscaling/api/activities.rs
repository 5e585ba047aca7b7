//! `DescribeScalingActivities`.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_wire::application_autoscaling as wire;

use super::super::history::{Code, ScalingActivity};
use super::{Order, Wanted, described_target, done, of_region, to_wire};
use crate::Control;
use crate::list;

/// Newest first: their ids sort by time.
pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeScalingActivitiesRequest,
) -> Result<wire::DescribeScalingActivitiesResponse, ApiError> {
    let wanted = Wanted {
        namespace: input.service_namespace,
        resource_ids: input.resource_id.as_ref().map(std::slice::from_ref),
        dimension: input.scalable_dimension,
        names: None,
        max_results: input.max_results,
        next_token: input.next_token.as_deref(),
    };
    done(wanted.check())?;
    let (mut activities, _) = control.autoscaling.activities.list(&of_region(&ctx)).await?;
    let with_not_scaled = input.include_not_scaled_activities.unwrap_or_default();
    activities.retain(|activity| {
        wanted.has(&activity.spec.target, "")
            && (with_not_scaled || activity.spec.not_scaled.is_none())
    });
    let kind = (ScalingActivity::KIND, &ctx.region);
    let (page, next_token) =
        done(wanted.page(kind, activities, Order::Descending, |activity| &activity.spec.id))?;
    let described = page.into_iter().map(described).collect();
    Ok(wire::DescribeScalingActivitiesResponse { scaling_activities: Some(described), next_token })
}

fn described(activity: Stored<ScalingActivity>) -> wire::ScalingActivity {
    let (spec, status) = (activity.spec, activity.status);
    let (resource_id, scalable_dimension) = described_target(&spec.target);
    let reasons = spec.not_scaled.map(|reason| {
        vec![wire::NotScaledReason {
            code: reason.code,
            max_capacity: Some(to_wire(reason.max)),
            min_capacity: Some(to_wire(reason.min)),
            current_capacity: Some(to_wire(reason.current)),
        }]
    });
    wire::ScalingActivity {
        activity_id: spec.id,
        service_namespace: wire::ServiceNamespace::Sagemaker,
        resource_id,
        scalable_dimension,
        description: spec.description,
        cause: spec.cause,
        start_time: list::to_wire(activity.created_at),
        end_time: status.ended.map(list::to_wire),
        status_code: match status.code {
            Code::Pending => wire::ScalingActivityStatusCode::Pending,
            Code::InProgress => wire::ScalingActivityStatusCode::InProgress,
            Code::Successful => wire::ScalingActivityStatusCode::Successful,
            Code::Failed => wire::ScalingActivityStatusCode::Failed,
        },
        status_message: status.message,
        details: None,
        not_scaled_reasons: reasons,
    }
}
