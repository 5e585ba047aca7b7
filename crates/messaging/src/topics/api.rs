//! The API of SNS: the topics. Subscriptions and messages have files of their own.

mod publish;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_wire::{Empty, sns as wire};

use super::Topics;
use super::attributes::set_of_topic;
use super::directory::{Directory, is_confirmed};
use super::error::TopicError;
use super::record::TopicSpec;

/// How many topics or subscriptions a list has.
const LISTED: usize = 100;
const MAX_TAGS: usize = 50;

/// The operations of SNS that are served.
pub(crate) fn operations() -> Dispatch<Topics> {
    let topics = Dispatch::new()
        .on::<wire::CreateTopic, _, _>(create_topic)
        .on::<wire::DeleteTopic, _, _>(delete_topic)
        .on::<wire::ListTopics, _, _>(list_topics)
        .on::<wire::GetTopicAttributes, _, _>(get_topic_attributes)
        .on::<wire::SetTopicAttributes, _, _>(set_topic_attributes)
        .on::<wire::TagResource, _, _>(tag_resource)
        .on::<wire::UntagResource, _, _>(untag_resource)
        .on::<wire::ListTagsForResource, _, _>(list_tags_for_resource);
    publish::operations(subscriptions::operations(topics))
}

async fn create_topic(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::CreateTopicInput,
) -> Result<wire::CreateTopicResponse, ApiError> {
    check_name(&input.name)?;
    if input.data_protection_policy.is_some() {
        return Err(TopicError::invalid("DataProtectionPolicy", "it is not served here").into());
    }
    let mut spec = TopicSpec::default();
    for (name, value) in input.attributes.unwrap_or_default() {
        set_of_topic(&mut spec.attributes, &name, &value)?;
    }
    let tags = tags(input.tags.unwrap_or_default());
    check_tags(&tags)?;
    let arn = state.directory.create(&ctx.region, &input.name, spec, tags).await?;
    Ok(wire::CreateTopicResponse { topic_arn: Some(arn) })
}

fn check_name(name: &str) -> Result<(), TopicError> {
    if name.ends_with(".fifo") {
        return Err(TopicError::invalid("Topic Name", "FIFO topics are not served here"));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_valid = (1..=256).contains(&name.len()) && name.bytes().all(is_plain);
    if is_valid { Ok(()) } else { Err(TopicError::invalid("Topic Name", "")) }
}

async fn delete_topic(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::DeleteTopicInput,
) -> Result<Empty, ApiError> {
    state.directory.delete(&input.topic_arn).await?;
    Ok(Empty {})
}

async fn list_topics(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::ListTopicsInput,
) -> Result<wire::ListTopicsResponse, ApiError> {
    let arns = state.directory.topics_of(&ctx.region);
    let (arns, next_token) = page(arns, input.next_token, Clone::clone);
    let topics = arns.into_iter().map(|arn| wire::Topic { topic_arn: Some(arn) }).collect();
    Ok(wire::ListTopicsResponse { topics: Some(topics), next_token })
}

/// The items after that of the token, and the token of the next page. They are sorted by it.
fn page<T>(
    items: Vec<T>,
    token: Option<String>,
    token_of: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let token = token.filter(|token| !token.is_empty());
    let is_behind = |item: &T| token.as_ref().is_none_or(|token| token_of(item) > *token);
    let mut items: Vec<T> = items.into_iter().filter(is_behind).take(LISTED + 1).collect();
    let has_more = items.len() > LISTED;
    items.truncate(LISTED);
    let next = items.last().filter(|_| has_more).map(token_of);
    (items, next)
}

async fn get_topic_attributes(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::GetTopicAttributesInput,
) -> Result<wire::GetTopicAttributesResponse, ApiError> {
    let arn = input.topic_arn;
    let topic = state.directory.topic(&arn)?;
    let subscriptions = state.directory.subscriptions_to(&arn);
    let n_confirmed = subscriptions.iter().filter(|(_, it)| is_confirmed(it)).count();
    let n_pending = subscriptions.len() - n_confirmed;
    let mut attributes = topic.spec.attributes.clone();
    attributes.entry("DisplayName".to_owned()).or_default();
    attributes.extend(
        [
            ("SagebrushSigningSecret", state.signer.secret_of(&arn)),
            ("TopicArn", arn),
            ("Owner", ctx.account.to_string()),
            ("SubscriptionsConfirmed", n_confirmed.to_string()),
            ("SubscriptionsPending", n_pending.to_string()),
            ("SubscriptionsDeleted", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(wire::GetTopicAttributesResponse { attributes: Some(attributes) })
}

async fn set_topic_attributes(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::SetTopicAttributesInput,
) -> Result<Empty, ApiError> {
    let value = input.attribute_value.unwrap_or_default();
    let mut checked = state.directory.topic(&input.topic_arn)?.spec.attributes.clone();
    set_of_topic(&mut checked, &input.attribute_name, &value)?;
    state
        .directory
        .change_topic(&input.topic_arn, |topic| {
            match checked.remove(&input.attribute_name) {
                Some(value) => topic.spec.attributes.insert(input.attribute_name, value),
                None => topic.spec.attributes.remove(&input.attribute_name),
            };
        })
        .await?;
    Ok(Empty {})
}

async fn tag_resource(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::TagResourceRequest,
) -> Result<wire::TagResourceResponse, ApiError> {
    let new = tags(input.tags);
    let mut all = topic_tags(&state.directory, &input.resource_arn)?;
    all.extend(new.clone());
    check_tags(&all)?;
    state.directory.change_topic(&input.resource_arn, |topic| topic.tags.extend(new)).await?;
    Ok(wire::TagResourceResponse {})
}

async fn untag_resource(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::UntagResourceRequest,
) -> Result<wire::UntagResourceResponse, ApiError> {
    let keys = input.tag_keys;
    let untag = |key: &String| !keys.contains(key);
    let directory = &state.directory;
    directory.change_topic(&input.resource_arn, |it| it.tags.retain(|key, _| untag(key))).await?;
    Ok(wire::UntagResourceResponse {})
}

async fn list_tags_for_resource(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::ListTagsForResourceRequest,
) -> Result<wire::ListTagsForResourceResponse, ApiError> {
    let tags = topic_tags(&state.directory, &input.resource_arn)?;
    let tags = tags.into_iter().map(|(key, value)| wire::Tag { key, value }).collect();
    Ok(wire::ListTagsForResourceResponse { tags: Some(tags) })
}

fn topic_tags(directory: &Directory, arn: &str) -> Result<BTreeMap<String, String>, TopicError> {
    Ok(directory.topic(arn)?.tags.clone())
}

fn tags(tags: Vec<wire::Tag>) -> BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), TopicError> {
    if tags.len() > MAX_TAGS { Err(TopicError::TooManyTags) } else { Ok(()) }
}
