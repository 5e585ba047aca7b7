//! The API of SNS: subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Uri;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Arn;
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, sns as wire};
use uuid::Uuid;

use super::page;
use crate::delivery::is_address;
use crate::topics::Topics;
use crate::topics::attributes::set_of_subscription;
use crate::topics::directory::{Subscription, SubscriptionId, is_confirmed};
use crate::topics::error::TopicError;
use crate::topics::record::{Protocol, SubscriptionSpec};

const PENDING: &str = "pending confirmation";
const PENDING_IN_LISTS: &str = "PendingConfirmation";

pub(super) fn operations(topics: Dispatch<Topics>) -> Dispatch<Topics> {
    topics
        .on::<wire::Subscribe, _, _>(subscribe)
        .on_open::<wire::ConfirmSubscription, _, _>(confirm_subscription)
        .on_open::<wire::Unsubscribe, _, _>(unsubscribe)
        .on::<wire::ListSubscriptions, _, _>(list_subscriptions)
        .on::<wire::ListSubscriptionsByTopic, _, _>(list_subscriptions_by_topic)
        .on::<wire::GetSubscriptionAttributes, _, _>(get_subscription_attributes)
        .on::<wire::SetSubscriptionAttributes, _, _>(set_subscription_attributes)
}

async fn subscribe(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::SubscribeInput,
) -> Result<wire::SubscribeResponse, ApiError> {
    state.directory.topic(&input.topic_arn)?;
    let endpoint = input.endpoint.unwrap_or_default();
    let protocol = protocol(&input.protocol, &endpoint, state.has_mail)?;
    let mut attributes = BTreeMap::new();
    for (name, value) in input.attributes.unwrap_or_default() {
        set_of_subscription(&mut attributes, &name, &value)?;
    }
    check_raw(protocol, &attributes)?;
    let host = ctx.host.as_deref().unwrap_or("localhost");
    let spec = SubscriptionSpec {
        topic_arn: input.topic_arn,
        protocol,
        endpoint,
        attributes,
        base_url: format!("http://{host}"),
        token: [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string()).concat(),
    };
    let (id, subscription) = state.directory.subscribe(spec).await?;
    let is_confirmed = is_confirmed(&subscription);
    if !is_confirmed {
        state.ask(&id, &subscription).await?;
    }
    let shows_arn = is_confirmed || input.return_subscription_arn == Some(true);
    let arn = if shows_arn { id.arn() } else { PENDING.to_owned() };
    Ok(wire::SubscribeResponse { subscription_arn: Some(arn) })
}

/// Checks that the endpoint is one of the protocol.
fn protocol(protocol: &str, endpoint: &str, has_mail: bool) -> Result<Protocol, TopicError> {
    let wrong = |reason: &str| Err(TopicError::invalid("Endpoint", reason));
    match protocol {
        "http" | "https" => {
            let uri: Option<Uri> = endpoint.parse().ok();
            let is_url = uri.is_some_and(|uri| {
                let has_host = uri.host().is_some_and(|host| !host.is_empty());
                uri.scheme_str() == Some(protocol) && has_host
            });
            match protocol {
                _ if !is_url => wrong(&format!("it must be a URL that begins with {protocol}://")),
                "http" => Ok(Protocol::Http),
                _ => Ok(Protocol::Https),
            }
        }
        "sqs" => {
            let arn: Option<Arn> = endpoint.parse().ok();
            let is_queue = arn.is_some_and(|arn| arn.service == "sqs" && !arn.resource.is_empty());
            if is_queue { Ok(Protocol::Sqs) } else { wrong("it must be the ARN of a queue") }
        }
        "email" | "email-json" if !has_mail => {
            let reason = "e-mail needs a mail server: start this server with smtp-host and \
                          smtp-from";
            Err(TopicError::invalid("Protocol", reason))
        }
        "email" | "email-json" if !is_address(endpoint) => wrong("it must be an e-mail address"),
        "email" => Ok(Protocol::Email),
        "email-json" => Ok(Protocol::EmailJson),
        other => {
            let reason =
                format!("{other} is not served here; http, https, sqs, email and email-json are");
            Err(TopicError::invalid("Protocol", &reason))
        }
    }
}

/// A mail has no other form.
fn check_raw(protocol: Protocol, attributes: &BTreeMap<String, String>) -> Result<(), TopicError> {
    let is_mail = matches!(protocol, Protocol::Email | Protocol::EmailJson);
    if is_mail && attributes.get("RawMessageDelivery").is_some_and(|raw| raw == "true") {
        let reason = format!("{} has no raw delivery", protocol.as_str());
        return Err(TopicError::invalid("RawMessageDelivery", &reason));
    }
    Ok(())
}

/// Open to who follows the link in the message: the token is the proof.
async fn confirm_subscription(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::ConfirmSubscriptionInput,
) -> Result<wire::ConfirmSubscriptionResponse, ApiError> {
    state.directory.topic(&input.topic_arn)?;
    let all = state.directory.subscriptions_to(&input.topic_arn);
    let found = all.into_iter().find(|(_, it)| it.spec.token == input.token);
    let (id, _) = found.ok_or(TopicError::InvalidToken)?;
    let is_guarded = input.authenticate_on_unsubscribe.is_some_and(|it| it == "true");
    state
        .directory
        .change_subscription(&id, |Stored { status, .. }| {
            status.is_guarded |= is_guarded && !status.has_agreed;
            status.has_agreed = true;
        })
        .await?;
    Ok(wire::ConfirmSubscriptionResponse { subscription_arn: Some(id.arn()) })
}

/// Open to who follows the link in a message, unless that was ruled out with the confirmation.
async fn unsubscribe(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::UnsubscribeInput,
) -> Result<Empty, ApiError> {
    let invalid = || TopicError::invalid("SubscriptionArn", "");
    let id = SubscriptionId::of_arn(&input.subscription_arn).ok_or_else(invalid)?;
    let is_guarded = state.directory.subscription(&id).is_some_and(|it| it.status.is_guarded);
    if is_guarded && !ctx.is_signed() {
        return Err(TopicError::Guarded.into());
    }
    state.directory.unsubscribe(&id).await?;
    Ok(Empty {})
}

async fn list_subscriptions(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::ListSubscriptionsInput,
) -> Result<wire::ListSubscriptionsResponse, ApiError> {
    let all = state.directory.subscriptions_of(&ctx.region);
    let (all, next_token) = page(all, input.next_token, |(id, _)| id.arn());
    let subscriptions = Some(listed(&ctx, all));
    Ok(wire::ListSubscriptionsResponse { subscriptions, next_token })
}

async fn list_subscriptions_by_topic(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::ListSubscriptionsByTopicInput,
) -> Result<wire::ListSubscriptionsByTopicResponse, ApiError> {
    state.directory.topic(&input.topic_arn)?;
    let all = state.directory.subscriptions_to(&input.topic_arn);
    let (all, next_token) = page(all, input.next_token, |(id, _)| id.arn());
    let subscriptions = Some(listed(&ctx, all));
    Ok(wire::ListSubscriptionsByTopicResponse { subscriptions, next_token })
}

fn listed(ctx: &Context, all: Vec<(SubscriptionId, Subscription)>) -> Vec<wire::Subscription> {
    let one = |(id, it): (SubscriptionId, Subscription)| {
        let arn = if is_confirmed(&it) { id.arn() } else { PENDING_IN_LISTS.to_owned() };
        wire::Subscription {
            subscription_arn: Some(arn),
            owner: Some(ctx.account.to_string()),
            protocol: Some(it.spec.protocol.as_str().to_owned()),
            endpoint: Some(it.spec.endpoint.clone()),
            topic_arn: Some(id.topic_arn),
        }
    };
    all.into_iter().map(one).collect()
}

async fn get_subscription_attributes(
    state: Arc<Topics>,
    ctx: Context,
    input: wire::GetSubscriptionAttributesInput,
) -> Result<wire::GetSubscriptionAttributesResponse, ApiError> {
    let (id, it) = find(&state, &input.subscription_arn)?;
    let mut attributes = it.spec.attributes.clone();
    attributes.entry("RawMessageDelivery".to_owned()).or_insert_with(|| "false".to_owned());
    attributes.extend(
        [
            ("SubscriptionArn", id.arn()),
            ("TopicArn", id.topic_arn),
            ("Owner", ctx.account.to_string()),
            ("Protocol", it.spec.protocol.as_str().to_owned()),
            ("Endpoint", it.spec.endpoint.clone()),
            ("PendingConfirmation", (!is_confirmed(&it)).to_string()),
            ("ConfirmationWasAuthenticated", (it.spec.protocol == Protocol::Sqs).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(wire::GetSubscriptionAttributesResponse { attributes: Some(attributes) })
}

async fn set_subscription_attributes(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::SetSubscriptionAttributesInput,
) -> Result<Empty, ApiError> {
    let (id, it) = find(&state, &input.subscription_arn)?;
    let value = input.attribute_value.unwrap_or_default();
    let mut checked = it.spec.attributes.clone();
    set_of_subscription(&mut checked, &input.attribute_name, &value)?;
    check_raw(it.spec.protocol, &checked)?;
    state
        .directory
        .change_subscription(&id, |it| {
            match checked.remove(&input.attribute_name) {
                Some(value) => it.spec.attributes.insert(input.attribute_name, value),
                None => it.spec.attributes.remove(&input.attribute_name),
            };
        })
        .await?;
    Ok(Empty {})
}

fn find(state: &Topics, arn: &str) -> Result<(SubscriptionId, Subscription), TopicError> {
    let id = SubscriptionId::of_arn(arn).ok_or(TopicError::NoSubscription)?;
    let found = state.directory.subscription(&id).ok_or(TopicError::NoSubscription)?;
    Ok((id, found))
}
