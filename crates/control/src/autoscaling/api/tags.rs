//! `TagResource`, `UntagResource`, `ListTagsForResource`: tags of scalable targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::store::StoreError;
use sagebrush_wire::application_autoscaling as wire;

use super::targets::{arn, checked_tags};
use super::{MAX_ATTEMPTS, Refusal, done, of_region};
use crate::Control;

type Tags = BTreeMap<String, String>;

pub(crate) async fn tag(
    control: Arc<Control>,
    ctx: Context,
    input: wire::TagResourceRequest,
) -> Result<wire::TagResourceResponse, ApiError> {
    let add = |tags: &mut Tags| tags.extend(input.tags.clone());
    done(change(&control, &ctx, &input.resource_arn, add).await)?;
    Ok(wire::TagResourceResponse {})
}

pub(crate) async fn untag(
    control: Arc<Control>,
    ctx: Context,
    input: wire::UntagResourceRequest,
) -> Result<wire::UntagResourceResponse, ApiError> {
    let remove = |tags: &mut Tags| tags.retain(|key, _| !input.tag_keys.contains(key));
    done(change(&control, &ctx, &input.resource_arn, remove).await)?;
    Ok(wire::UntagResourceResponse {})
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListTagsForResourceRequest,
) -> Result<wire::ListTagsForResourceResponse, ApiError> {
    let tags = done(change(&control, &ctx, &input.resource_arn, |_| {}).await)?;
    Ok(wire::ListTagsForResourceResponse { tags: Some(tags) })
}

/// Changes the tags of the target `wanted` and returns them as they are then.
async fn change(
    control: &Control,
    ctx: &Context,
    wanted: &str,
    change: impl Fn(&mut Tags),
) -> Result<Tags, Refusal> {
    let targets = &control.autoscaling.targets;
    for _ in 0..MAX_ATTEMPTS {
        let (all, _) = targets.list(&of_region(ctx)).await?;
        let target = all.into_iter().find(|target| arn(ctx, &target.spec.id) == wanted);
        let mut target = target.ok_or_else(|| Refusal::NoResource(wanted.to_owned()))?;
        let before = target.tags.clone();
        change(&mut target.tags);
        if target.tags == before {
            return Ok(before);
        }
        target.tags = checked_tags(target.tags)?;
        match targets.retag(target).await {
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            outcome => return Ok(outcome?.tags),
        }
    }
    Err(Refusal::Busy)
}
