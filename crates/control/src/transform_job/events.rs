//! What becomes of transform jobs, as EventBridge tells it.

use sagebrush_core::events::Event;
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_core::{AccountId, Arn, Timestamp};
use serde_json::json;

use super::TransformJob;
use super::describe::failure_reason;

/// The event of a job whose state was written.
pub(super) fn state_change(
    account: &AccountId,
    job: &Stored<TransformJob>,
    at: Timestamp,
) -> Event {
    let arn = Arn::sagemaker(&job.region, account, TransformJob::KIND, &job.name).to_string();
    let request = &job.spec.request;
    let mut detail = json!({
        "TransformJobName": job.name,
        "TransformJobArn": arn,
        "TransformJobStatus": job.status.state.word(),
        "ModelName": request["ModelName"],
        "TransformInput": request["TransformInput"],
        "TransformOutput": request["TransformOutput"],
        "TransformResources": request["TransformResources"],
        "CreationTime": job.created_at,
        "Tags": job.tags,
    });
    if let Some(reason) = failure_reason(&job.status.state) {
        detail["FailureReason"] = reason.into();
    }
    for (name, time) in
        [("TransformStartTime", job.status.started_at), ("TransformEndTime", job.status.ended_at)]
    {
        if let Some(time) = time {
            detail[name] = time.0.into();
        }
    }
    Event {
        region: job.region.clone(),
        source: "aws.sagemaker",
        detail_type: "SageMaker Transform Job State Change",
        resources: vec![arn],
        detail,
        at,
    }
}
