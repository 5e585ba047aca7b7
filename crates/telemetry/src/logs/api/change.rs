//! What clients make, write and delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::logs::LogStream;
use sagebrush_wire::{Empty, logs as wire};

use crate::logs::LogStore;
use crate::logs::batch::{self, Sorted};
use crate::logs::error::LogError;

/// What `retentionInDays` may be.
const RETENTIONS: &[u32] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// Clients hand it back with the next batch, and nobody has looked at it for years.
const SEQUENCE_TOKEN: &str = "49590302686420350138470850690000000000000000000000000001";

pub(super) fn operations(reading: Dispatch<LogStore>) -> Dispatch<LogStore> {
    reading
        .on::<wire::CreateLogGroup, _, _>(create_log_group)
        .on::<wire::DeleteLogGroup, _, _>(delete_log_group)
        .on::<wire::CreateLogStream, _, _>(create_log_stream)
        .on::<wire::DeleteLogStream, _, _>(delete_log_stream)
        .on::<wire::PutLogEvents, _, _>(put_log_events)
        .on::<wire::PutRetentionPolicy, _, _>(put_retention_policy)
        .on::<wire::DeleteRetentionPolicy, _, _>(delete_retention_policy)
        .on::<wire::TagResource, _, _>(tag_resource)
        .on::<wire::UntagResource, _, _>(untag_resource)
        .on::<wire::ListTagsForResource, _, _>(list_tags_for_resource)
        .on::<wire::TagLogGroup, _, _>(tag_log_group)
        .on::<wire::UntagLogGroup, _, _>(untag_log_group)
        .on::<wire::ListTagsLogGroup, _, _>(list_tags_log_group)
}

async fn create_log_group(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::CreateLogGroupRequest,
) -> Result<Empty, ApiError> {
    let is_usual = matches!(input.log_group_class, None | Some(wire::LogGroupClass::Standard));
    let refused = [
        ("kmsKeyId", input.kms_key_id.is_some()),
        ("a logGroupClass other than STANDARD", !is_usual),
        ("deletionProtectionEnabled", input.deletion_protection_enabled == Some(true)),
    ];
    if let Some((member, _)) = refused.iter().find(|(_, is_given)| *is_given) {
        return Err(LogError::invalid(format!("{member} is not served here")).into());
    }
    let (region, name) = (ctx.region.0, input.log_group_name.into());
    let tags = input.tags.unwrap_or_default();
    state.change(move |writer| writer.create_group(&region, &name, tags)).await?;
    Ok(Empty {})
}

async fn delete_log_group(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::DeleteLogGroupRequest,
) -> Result<Empty, ApiError> {
    let name = input.log_group_name;
    state.change(move |writer| writer.delete_group(ctx.region.as_str(), &name)).await?;
    Ok(Empty {})
}

async fn create_log_stream(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::CreateLogStreamRequest,
) -> Result<Empty, ApiError> {
    let at = stream_name(&ctx, input.log_group_name, input.log_stream_name);
    state.change(move |writer| writer.create_stream(&at)).await?;
    Ok(Empty {})
}

async fn delete_log_stream(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::DeleteLogStreamRequest,
) -> Result<Empty, ApiError> {
    let at = stream_name(&ctx, input.log_group_name, input.log_stream_name);
    state.change(move |writer| writer.delete_stream(&at)).await?;
    Ok(Empty {})
}

fn stream_name(ctx: &Context, group: String, stream: String) -> LogStream {
    LogStream { region: ctx.region.0.clone(), group: group.into(), stream: stream.into() }
}

async fn put_log_events(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::PutLogEventsRequest,
) -> Result<wire::PutLogEventsResponse, ApiError> {
    let at = stream_name(&ctx, input.log_group_name, input.log_stream_name);
    let events: Vec<_> =
        input.log_events.into_iter().map(|event| (event.timestamp, event.message)).collect();
    let bytes = events.iter().map(|(_, message)| message.len()).sum::<usize>();
    let sorted = if bytes > batch::MAX_BATCH_BYTES {
        // Too long for the writer's queue too; this says so.
        let sizes: Vec<_> = events.iter().map(|(time, message)| (*time, message.len())).collect();
        batch::sort(&sizes, state.clock.now(), None)?
    } else {
        state.change_with(bytes, move |writer| writer.put(&at, events)).await?
    };
    Ok(wire::PutLogEventsResponse {
        next_sequence_token: Some(SEQUENCE_TOKEN.to_owned()),
        rejected_log_events_info: rejected(&sorted),
        rejected_entity_info: input.entity.map(|_| wire::RejectedEntityInfo {
            error_type: wire::EntityRejectionErrorType::UnsupportedLogGroupType,
        }),
    })
}

fn rejected(sorted: &Sorted) -> Option<wire::RejectedLogEventsInfo> {
    let index = |index: Option<usize>| index.and_then(|index| i32::try_from(index).ok());
    let Sorted { kept: _, expired_end, too_old_end, too_new_start } = sorted;
    let is_all_kept = expired_end.or(*too_old_end).or(*too_new_start).is_none();
    (!is_all_kept).then(|| wire::RejectedLogEventsInfo {
        too_new_log_event_start_index: index(*too_new_start),
        too_old_log_event_end_index: index(*too_old_end),
        expired_log_event_end_index: index(*expired_end),
    })
}

async fn put_retention_policy(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::PutRetentionPolicyRequest,
) -> Result<Empty, ApiError> {
    let days = u32::try_from(input.retention_in_days).ok();
    let days = days.filter(|days| RETENTIONS.contains(days)).ok_or_else(|| {
        let valid: Vec<_> = RETENTIONS.iter().map(u32::to_string).collect();
        LogError::invalid(format!(
            "1 validation error detected: Value '{}' at 'retentionInDays' failed to satisfy \
             constraint: Member must satisfy enum value set: [{}]",
            input.retention_in_days,
            valid.join(", ")
        ))
    })?;
    set_retention(&state, &ctx, input.log_group_name, Some(days)).await
}

async fn delete_retention_policy(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::DeleteRetentionPolicyRequest,
) -> Result<Empty, ApiError> {
    set_retention(&state, &ctx, input.log_group_name, None).await
}

async fn set_retention(
    state: &LogStore,
    ctx: &Context,
    name: String,
    days: Option<u32>,
) -> Result<Empty, ApiError> {
    let region = ctx.region.clone();
    state.change(move |writer| writer.set_retention(region.as_str(), &name, days)).await?;
    Ok(Empty {})
}

async fn tag_resource(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::TagResourceRequest,
) -> Result<Empty, ApiError> {
    tag(&state, &ctx, super::group_of(&input.resource_arn), input.tags).await
}

async fn tag_log_group(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::TagLogGroupRequest,
) -> Result<Empty, ApiError> {
    tag(&state, &ctx, input.log_group_name, input.tags).await
}

async fn tag(
    state: &LogStore,
    ctx: &Context,
    name: String,
    tags: BTreeMap<String, String>,
) -> Result<Empty, ApiError> {
    let region = ctx.region.clone();
    state.change(move |writer| writer.tag(region.as_str(), &name, tags)).await?;
    Ok(Empty {})
}

async fn untag_resource(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::UntagResourceRequest,
) -> Result<Empty, ApiError> {
    untag(&state, &ctx, super::group_of(&input.resource_arn), input.tag_keys).await
}

async fn untag_log_group(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::UntagLogGroupRequest,
) -> Result<Empty, ApiError> {
    untag(&state, &ctx, input.log_group_name, input.tags).await
}

async fn untag(
    state: &LogStore,
    ctx: &Context,
    name: String,
    keys: Vec<String>,
) -> Result<Empty, ApiError> {
    let region = ctx.region.clone();
    state.change(move |writer| writer.untag(region.as_str(), &name, &keys)).await?;
    Ok(Empty {})
}

async fn list_tags_for_resource(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::ListTagsForResourceRequest,
) -> Result<wire::ListTagsForResourceResponse, ApiError> {
    let (group, _) = state.of_group(&ctx, &super::group_of(&input.resource_arn))?;
    Ok(wire::ListTagsForResourceResponse { tags: Some(group.tags) })
}

async fn list_tags_log_group(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::ListTagsLogGroupRequest,
) -> Result<wire::ListTagsLogGroupResponse, ApiError> {
    let (group, _) = state.of_group(&ctx, &input.log_group_name)?;
    Ok(wire::ListTagsLogGroupResponse { tags: Some(group.tags) })
}
