//! The API of SQS: the queues. The messages are in [`messages`].

mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_wire::{Empty, sqs as wire};

use super::{Queue, QueueError, Queues};

/// How many queues a list has, unless its caller says.
const LISTED: usize = 1000;

/// The attributes that a queue may be asked for, be they set or not.
const NAMES: &[&str] = &[
    "All",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication",
    "CreatedTimestamp",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "LastModifiedTimestamp",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "QueueArn",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

/// The operations of SQS that are served.
pub(crate) fn operations() -> Dispatch<Queues> {
    let queues = Dispatch::new()
        .on::<wire::CreateQueue, _, _>(create_queue)
        .on::<wire::DeleteQueue, _, _>(delete_queue)
        .on::<wire::GetQueueUrl, _, _>(get_queue_url)
        .on::<wire::ListQueues, _, _>(list_queues)
        .on::<wire::ListDeadLetterSourceQueues, _, _>(list_dead_letter_source_queues)
        .on::<wire::GetQueueAttributes, _, _>(get_queue_attributes)
        .on::<wire::SetQueueAttributes, _, _>(set_queue_attributes)
        .on::<wire::PurgeQueue, _, _>(purge_queue)
        .on::<wire::TagQueue, _, _>(tag_queue)
        .on::<wire::UntagQueue, _, _>(untag_queue)
        .on::<wire::ListQueueTags, _, _>(list_queue_tags);
    messages::operations(queues)
}

/// The queue of a URL: its path ends with account and name. The host does not count, for clients
/// come by different names.
fn queue_of(queues: &Queues, ctx: &Context, url: &str) -> Result<Arc<Queue>, QueueError> {
    let mut parts = url.rsplit('/');
    let (name, account) = (parts.next().unwrap_or_default(), parts.next());
    if account.is_some_and(|account| *account != *ctx.account.0) {
        return Err(QueueError::NoQueue);
    }
    queues.get(&ctx.region, name)
}

fn url(ctx: &Context, name: &str) -> String {
    let host = ctx.host.as_deref().unwrap_or("localhost");
    format!("http://{host}/{}/{name}", ctx.account)
}

async fn create_queue(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::CreateQueueRequest,
) -> Result<wire::CreateQueueResult, ApiError> {
    let attributes = input.attributes.unwrap_or_default();
    let tags = input.tags.unwrap_or_default();
    state.create(&ctx.region, &input.queue_name, &attributes, tags).await?;
    Ok(wire::CreateQueueResult { queue_url: Some(url(&ctx, &input.queue_name)) })
}

async fn delete_queue(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::DeleteQueueRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state.delete(&queue).await?;
    Ok(Empty {})
}

async fn get_queue_url(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::GetQueueUrlRequest,
) -> Result<wire::GetQueueUrlResult, ApiError> {
    let owner = input.queue_owner_aws_account_id;
    if owner.is_some_and(|owner| *owner != *ctx.account.0) {
        return Err(QueueError::NoQueue.into());
    }
    state.get(&ctx.region, &input.queue_name)?;
    Ok(wire::GetQueueUrlResult { queue_url: Some(url(&ctx, &input.queue_name)) })
}

async fn list_queues(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ListQueuesRequest,
) -> Result<wire::ListQueuesResult, ApiError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let names = state.named(&ctx.region, &prefix).into_iter().map(|queue| queue.stored().name);
    let has_size = input.max_results.is_some();
    let (names, next) = page(names, input.next_token, input.max_results)?;
    let urls: Vec<String> = names.iter().map(|name| url(&ctx, name)).collect();
    Ok(wire::ListQueuesResult {
        queue_urls: Some(urls).filter(|urls| !urls.is_empty()),
        // Who names no size gets the first thousand, and no token.
        next_token: next.filter(|_| has_size),
    })
}

async fn list_dead_letter_source_queues(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ListDeadLetterSourceQueuesRequest,
) -> Result<wire::ListDeadLetterSourceQueuesResult, ApiError> {
    let target = state.arn(&queue_of(&state, &ctx, &input.queue_url)?.stored());
    let gives_up_to = |queue: &Queue| {
        let redrive = queue.stored().spec.settings.redrive;
        redrive.is_some_and(|redrive| redrive.dead_letter_target_arn == target)
    };
    let sources = state.named(&ctx.region, "").into_iter().filter(|queue| gives_up_to(queue));
    let names = sources.map(|queue| queue.stored().name);
    let (names, next_token) = page(names, input.next_token, input.max_results)?;
    let queue_urls = names.iter().map(|name| url(&ctx, name)).collect();
    Ok(wire::ListDeadLetterSourceQueuesResult { queue_urls, next_token })
}

/// The names after that of the token, and the token of the next page. The names are sorted.
fn page(
    names: impl Iterator<Item = String>,
    token: Option<String>,
    size: Option<i32>,
) -> Result<(Vec<String>, Option<String>), QueueError> {
    let size = match size {
        None => LISTED,
        Some(size) => {
            let wanted = usize::try_from(size).ok().filter(|size| (1..=LISTED).contains(size));
            let reason = || format!("{size} is not between 1 and {LISTED}");
            wanted.ok_or_else(|| QueueError::InvalidParameter("MaxResults", reason()))?
        }
    };
    let names = names.filter(|name| token.as_ref().is_none_or(|token| name > token));
    let mut names: Vec<String> = names.take(size + 1).collect();
    let has_more = names.len() > size;
    names.truncate(size);
    let next = names.last().filter(|_| has_more).cloned();
    Ok((names, next))
}

async fn get_queue_attributes(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::GetQueueAttributesRequest,
) -> Result<wire::GetQueueAttributesResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    let names = input.attribute_names.unwrap_or_default();
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(QueueError::UnknownAttribute(unknown.clone()).into());
    }
    let wants_all = names.iter().any(|name| name == "All");
    let mut attributes = all_attributes(&state, &queue);
    let is_named = |name: &str| names.iter().any(|wanted| wanted == name);
    attributes.retain(|name, _| wants_all || is_named(name));
    Ok(wire::GetQueueAttributesResult {
        attributes: Some(attributes).filter(|attributes| !attributes.is_empty()),
    })
}

fn all_attributes(state: &Queues, queue: &Queue) -> BTreeMap<String, String> {
    let stored = queue.stored();
    let counts = queue.shelf().counts(state.clock.now());
    let mut all = stored.spec.settings.attributes();
    all.extend(
        [
            ("QueueArn", state.arn(&stored)),
            ("CreatedTimestamp", (stored.created_at.0 / 1000).to_string()),
            ("LastModifiedTimestamp", (stored.modified_at.0 / 1000).to_string()),
            ("ApproximateNumberOfMessages", counts.visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all
}

async fn set_queue_attributes(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::SetQueueAttributesRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state
        .change(&queue, |stored| {
            stored.spec.settings = stored.spec.settings.clone().with(&input.attributes)?;
            Ok(())
        })
        .await?;
    Ok(Empty {})
}

async fn purge_queue(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::PurgeQueueRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state.purge(&queue).await?;
    Ok(Empty {})
}

async fn tag_queue(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::TagQueueRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state
        .change(&queue, |stored| {
            stored.tags.extend(input.tags);
            Ok(())
        })
        .await?;
    Ok(Empty {})
}

async fn untag_queue(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::UntagQueueRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state
        .change(&queue, |stored| {
            stored.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        })
        .await?;
    Ok(Empty {})
}

async fn list_queue_tags(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ListQueueTagsRequest,
) -> Result<wire::ListQueueTagsResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    Ok(wire::ListQueueTagsResult { tags: Some(queue.stored().tags) })
}
