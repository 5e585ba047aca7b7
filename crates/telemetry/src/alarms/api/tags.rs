//! The tags of alarms.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::{Arn, Region};
use sagebrush_wire::cloudwatch as wire;

use super::invalid;
use crate::alarms::record::Alarm;
use crate::alarms::{AlarmId, Alarms};

const MAX_TAGS: usize = 50;

type Tags = BTreeMap<String, String>;

/// `tags` with more of them.
pub(super) fn checked(mut tags: Tags, more: Vec<wire::Tag>) -> Result<Tags, ApiError> {
    tags.extend(more.into_iter().map(|tag| (tag.key, tag.value)));
    if tags.len() > MAX_TAGS {
        return Err(invalid(format!("An alarm has at most {MAX_TAGS} tags")));
    }
    if tags.keys().any(|key| key.starts_with("aws:")) {
        return Err(invalid("Keys of tags do not begin with aws:"));
    }
    Ok(tags)
}

pub(super) async fn tag_resource(
    state: Arc<Alarms>,
    _ctx: Context,
    input: wire::TagResourceInput,
) -> Result<wire::TagResourceOutput, ApiError> {
    let id = find(&state, &input.resource_arn)?;
    let tags = state.find(&id).map(|known| known.stored.tags.clone()).unwrap_or_default();
    checked(tags, input.tags.clone())?;
    let change = |stored: &mut Alarm| {
        stored.tags.extend(input.tags.into_iter().map(|tag| (tag.key, tag.value)));
        true
    };
    state.change(&id, change).await?;
    Ok(wire::TagResourceOutput {})
}

pub(super) async fn untag_resource(
    state: Arc<Alarms>,
    _ctx: Context,
    input: wire::UntagResourceInput,
) -> Result<wire::UntagResourceOutput, ApiError> {
    let id = find(&state, &input.resource_arn)?;
    let change = |stored: &mut Alarm| {
        stored.tags.retain(|key, _| !input.tag_keys.contains(key));
        true
    };
    state.change(&id, change).await?;
    Ok(wire::UntagResourceOutput {})
}

pub(super) async fn list_tags_for_resource(
    state: Arc<Alarms>,
    _ctx: Context,
    input: wire::ListTagsForResourceInput,
) -> Result<wire::ListTagsForResourceOutput, ApiError> {
    let id = find(&state, &input.resource_arn)?;
    let tags = state.find(&id).map(|known| known.stored.tags.clone()).unwrap_or_default();
    let tags = tags.into_iter().map(|(key, value)| wire::Tag { key, value }).collect();
    Ok(wire::ListTagsForResourceOutput { tags: Some(tags) })
}

fn find(state: &Alarms, arn: &str) -> Result<AlarmId, ApiError> {
    let parsed: Option<Arn> = arn.parse().ok();
    let named = parsed.as_ref().and_then(|arn| Some((arn, arn.resource.strip_prefix("alarm:")?)));
    let Some((arn, name)) = named.filter(|(arn, _)| arn.service == "cloudwatch") else {
        let message = format!("{arn} is not the ARN of an alarm; others have no tags here");
        let error =
            ApiError::new("InvalidParameterValueException", StatusCode::BAD_REQUEST, message);
        return Err(error.once_called("InvalidParameterValue"));
    };
    let id = AlarmId { region: Region::new(&arn.region), name: name.to_owned() };
    let none = || {
        let message = format!("There is no alarm {name}");
        let error = ApiError::new("ResourceNotFoundException", StatusCode::NOT_FOUND, message);
        error.once_called("ResourceNotFoundException")
    };
    state.find(&id).map(|_| id).ok_or_else(none)
}
