//! The API of SQS: the messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_wire::{Empty, sqs as wire};
use uuid::Uuid;

use super::queue_of;
use crate::attribute::{self, Attributes};
use crate::queues::receive::{Receipt, Received, Wish};
use crate::queues::{Letter, MAX_MESSAGE, Queue, QueueError, Queues, batch, checksum};

const MAX_RECEIVED: i32 = 10;
const MAX_WAIT: i32 = 20;
const MAX_VISIBILITY: i32 = 43_200;
const MAX_DELAY: i32 = 900;

pub(super) fn operations(queues: Dispatch<Queues>) -> Dispatch<Queues> {
    queues
        .on::<wire::SendMessage, _, _>(send_message)
        .on::<wire::SendMessageBatch, _, _>(send_message_batch)
        .on::<wire::ReceiveMessage, _, _>(receive_message)
        .on::<wire::DeleteMessage, _, _>(delete_message)
        .on::<wire::DeleteMessageBatch, _, _>(delete_message_batch)
        .on::<wire::ChangeMessageVisibility, _, _>(change_message_visibility)
        .on::<wire::ChangeMessageVisibilityBatch, _, _>(change_message_visibility_batch)
}

async fn send_message(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::SendMessageRequest,
) -> Result<wire::SendMessageResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    let entry = wire::SendMessageBatchRequestEntry {
        id: String::new(),
        message_body: input.message_body,
        delay_seconds: input.delay_seconds,
        message_attributes: input.message_attributes,
        message_system_attributes: input.message_system_attributes,
        message_deduplication_id: input.message_deduplication_id,
        message_group_id: input.message_group_id,
    };
    let sent = send(&state, &queue, letter(&ctx, entry)?, String::new()).await?;
    Ok(wire::SendMessageResult {
        md5_of_message_body: Some(sent.md5_of_message_body),
        md5_of_message_attributes: sent.md5_of_message_attributes,
        message_id: Some(sent.message_id),
        ..wire::SendMessageResult::default()
    })
}

async fn send_message_batch(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::SendMessageBatchRequest,
) -> Result<wire::SendMessageBatchResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let letters: Vec<_> =
        input.entries.into_iter().map(|entry| (entry.id.clone(), letter(&ctx, entry))).collect();
    let n_bytes: usize = letters.iter().flat_map(|(_, letter)| letter).map(Letter::len).sum();
    if u32::try_from(n_bytes).is_ok_and(|n_bytes| n_bytes > MAX_MESSAGE) {
        return Err(QueueError::BatchTooLong(MAX_MESSAGE).into());
    }
    let work = letters.into_iter().map(|(id, letter)| {
        let (state, queue, entry) = (&state, &queue, id.clone());
        (id, async move { send(state, queue, letter?, entry).await })
    });
    let (successful, failed) = batch::run(work).await;
    Ok(wire::SendMessageBatchResult { successful, failed })
}

fn letter(ctx: &Context, entry: wire::SendMessageBatchRequestEntry) -> Result<Letter, QueueError> {
    if entry.message_deduplication_id.is_some() {
        return Err(QueueError::Fifo);
    }
    let mut system = entry.message_system_attributes.unwrap_or_default();
    let delay = entry.delay_seconds.map(|delay| within("DelaySeconds", delay, 0, MAX_DELAY));
    Ok(Letter {
        body: entry.message_body,
        attributes: attribute::of_sqs(entry.message_attributes)?,
        trace_header: system.remove("AWSTraceHeader").and_then(|header| header.string_value),
        sender: ctx.account.to_string(),
        delay: delay.transpose()?,
    })
}

async fn send(
    state: &Queues,
    queue: &Queue,
    letter: Letter,
    entry: String,
) -> Result<wire::SendMessageBatchResultEntry, QueueError> {
    letter.check(queue)?;
    let id = Uuid::new_v4();
    let sent = wire::SendMessageBatchResultEntry {
        id: entry,
        message_id: id.to_string(),
        md5_of_message_body: checksum::of_body(&letter.body),
        md5_of_message_attributes: checksum::of_attributes(&letter.attributes),
        ..wire::SendMessageBatchResultEntry::default()
    };
    state.send(queue, id, letter).await?;
    Ok(sent)
}

async fn receive_message(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ReceiveMessageRequest,
) -> Result<wire::ReceiveMessageResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    let most = input.max_number_of_messages.unwrap_or(1);
    let most = within("MaxNumberOfMessages", most, 1, MAX_RECEIVED)?;
    let seconds = |name, value: Option<i32>, high| {
        let value = value.map(|value| within(name, value, 0, high)).transpose()?;
        Ok::<_, QueueError>(value.map(|value| Duration::from_secs(value.into())))
    };
    let wish = Wish {
        most: usize::try_from(most).unwrap_or(1),
        visibility_timeout: seconds("VisibilityTimeout", input.visibility_timeout, MAX_VISIBILITY)?,
        wait: seconds("WaitTimeSeconds", input.wait_time_seconds, MAX_WAIT)?,
    };
    // The older list of names is of queue attributes; both may be used.
    let older = input.attribute_names.unwrap_or_default();
    let newer = input.message_system_attribute_names.unwrap_or_default();
    let names = Names {
        system: older
            .into_iter()
            .chain(newer.into_iter().map(|name| name.as_str().to_owned()))
            .collect(),
        own: input.message_attribute_names.unwrap_or_default(),
    };
    let received = state.receive(&queue, wish, ctx.caller.left()).await?;
    let messages: Vec<_> = received.into_iter().map(|one| message(one, &names)).collect();
    let messages = Some(messages).filter(|messages| !messages.is_empty());
    Ok(wire::ReceiveMessageResult { messages })
}

/// Which attributes a receiver wants to see.
struct Names {
    system: Vec<String>,
    own: Vec<String>,
}

impl Names {
    fn wants_system(&self, name: &str) -> bool {
        self.system.iter().any(|wanted| wanted == "All" || wanted == name)
    }

    /// `All`, `.*`, `prefix.*` or the name itself.
    fn wants(&self, name: &str) -> bool {
        self.own.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => wanted == "All" || wanted == name,
        })
    }
}

fn message(received: Received, names: &Names) -> wire::Message {
    let Received { id, receipt, message } = received;
    let (spec, status) = (message.spec, message.status);
    let mut system: BTreeMap<&str, String> = BTreeMap::from([
        ("SenderId", spec.sender),
        ("SentTimestamp", spec.sent_at.0.to_string()),
        ("ApproximateReceiveCount", status.n_received.to_string()),
    ]);
    let first = status.first_received.map(|at| at.0.to_string());
    let others = [
        ("ApproximateFirstReceiveTimestamp", first),
        ("AWSTraceHeader", spec.trace_header),
        ("DeadLetterQueueSourceArn", spec.came_from),
    ];
    system.extend(others.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let system = system.into_iter().filter(|(name, _)| names.wants_system(name));
    let system: BTreeMap<String, String> =
        system.map(|(name, value)| (name.to_owned(), value)).collect();
    let mut own: Attributes = spec.attributes;
    own.retain(|name, _| names.wants(name));
    wire::Message {
        message_id: Some(id.to_string()),
        receipt_handle: Some(receipt.handle()),
        md5_of_body: Some(checksum::of_body(&spec.body)),
        body: Some(spec.body),
        attributes: Some(system).filter(|system| !system.is_empty()),
        md5_of_message_attributes: checksum::of_attributes(&own),
        message_attributes: Some(attribute::to_sqs(own)).filter(|own| !own.is_empty()),
    }
}

async fn delete_message(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::DeleteMessageRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    state.delete_message(&queue, Receipt::read(&input.receipt_handle)?).await?;
    Ok(Empty {})
}

async fn delete_message_batch(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::DeleteMessageBatchRequest,
) -> Result<wire::DeleteMessageBatchResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let work = input.entries.into_iter().map(|entry| {
        let id = entry.id.clone();
        let (state, queue) = (&state, &queue);
        let work = async move {
            state.delete_message(queue, Receipt::read(&entry.receipt_handle)?).await?;
            Ok(wire::DeleteMessageBatchResultEntry { id: entry.id })
        };
        (id, work)
    });
    let (successful, failed) = batch::run(work).await;
    Ok(wire::DeleteMessageBatchResult { successful, failed })
}

async fn change_message_visibility(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ChangeMessageVisibilityRequest,
) -> Result<Empty, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    hide(&state, &queue, &input.receipt_handle, input.visibility_timeout).await?;
    Ok(Empty {})
}

async fn change_message_visibility_batch(
    state: Arc<Queues>,
    ctx: Context,
    input: wire::ChangeMessageVisibilityBatchRequest,
) -> Result<wire::ChangeMessageVisibilityBatchResult, ApiError> {
    let queue = queue_of(&state, &ctx, &input.queue_url)?;
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()))?;
    let work = input.entries.into_iter().map(|entry| {
        let id = entry.id.clone();
        let (state, queue) = (&state, &queue);
        let work = async move {
            let timeout = entry.visibility_timeout.unwrap_or_default();
            hide(state, queue, &entry.receipt_handle, timeout).await?;
            Ok(wire::ChangeMessageVisibilityBatchResultEntry { id: entry.id })
        };
        (id, work)
    });
    let (successful, failed) = batch::run(work).await;
    Ok(wire::ChangeMessageVisibilityBatchResult { successful, failed })
}

async fn hide(state: &Queues, queue: &Queue, handle: &str, timeout: i32) -> Result<(), QueueError> {
    let receipt = Receipt::read(handle)?;
    let timeout = within("VisibilityTimeout", timeout, 0, MAX_VISIBILITY)?;
    state.change_visibility(queue, receipt, Duration::from_secs(timeout.into())).await
}

fn within(name: &'static str, value: i32, low: i32, high: i32) -> Result<u32, QueueError> {
    let is_within = (low..=high).contains(&value);
    let reason = || format!("{value} is not between {low} and {high}.");
    let value = u32::try_from(value).ok().filter(|_| is_within);
    value.ok_or_else(|| QueueError::InvalidParameter(name, reason()))
}
