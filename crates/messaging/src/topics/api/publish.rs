//! `Publish`, `PublishBatch`.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_wire::sns as wire;
use serde_json::Value;
use uuid::Uuid;

use crate::attribute::{self, total_len};
use crate::delivery::Notice;
use crate::topics::Topics;
use crate::topics::error::TopicError;

/// The most bytes of a message, attributes included; also of all of a batch.
const MAX_MESSAGE: usize = 262_144;
const MAX_BATCH: usize = 10;
const MAX_SUBJECT: usize = 100;

pub(super) fn operations(topics: Dispatch<Topics>) -> Dispatch<Topics> {
    topics.on::<wire::Publish, _, _>(publish).on::<wire::PublishBatch, _, _>(publish_batch)
}

async fn publish(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::PublishInput,
) -> Result<wire::PublishResponse, ApiError> {
    if input.phone_number.is_some() {
        return Err(TopicError::invalid("PhoneNumber", "it is not served here").into());
    }
    let topic_arn = input.topic_arn.or(input.target_arn);
    let topic_arn = topic_arn.ok_or_else(|| TopicError::invalid("TopicArn", "no value"))?;
    let entry = wire::PublishBatchRequestEntry {
        id: String::new(),
        message: input.message,
        subject: input.subject,
        message_structure: input.message_structure,
        message_attributes: input.message_attributes,
        message_deduplication_id: input.message_deduplication_id,
        message_group_id: input.message_group_id,
    };
    let notice = notice(&topic_arn, entry)?;
    let message_id = notice.message_id.clone();
    state.take(notice).await?;
    Ok(wire::PublishResponse { message_id: Some(message_id), ..wire::PublishResponse::default() })
}

async fn publish_batch(
    state: Arc<Topics>,
    _ctx: Context,
    input: wire::PublishBatchInput,
) -> Result<wire::PublishBatchResponse, ApiError> {
    let entries = input.publish_batch_request_entries;
    state.directory.topic(&input.topic_arn)?;
    check_batch(&entries)?;
    let (state, topic_arn) = (&state, &input.topic_arn);
    let work = entries.into_iter().map(|entry| async move {
        let id = entry.id.clone();
        let taken = async {
            let notice = notice(topic_arn, entry)?;
            let message_id = notice.message_id.clone();
            state.take(notice).await.map(|()| message_id)
        };
        (id, taken.await)
    });
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, outcome) in join_all(work).await {
        match outcome {
            Ok(message_id) => successful.push(wire::PublishBatchResultEntry {
                id: Some(id),
                message_id: Some(message_id),
                sequence_number: None,
            }),
            Err(error) => failed.push(refused(id, &error)),
        }
    }
    Ok(wire::PublishBatchResponse { successful: Some(successful), failed: Some(failed) })
}

fn check_batch(entries: &[wire::PublishBatchRequestEntry]) -> Result<(), TopicError> {
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let n_bytes: usize = entries.iter().map(|entry| entry.message.len()).sum();
    match entries.len() {
        0 => Err(TopicError::EmptyBatch),
        n if n > MAX_BATCH => Err(TopicError::TooManyEntries(n)),
        n if ids.len() < n => Err(TopicError::RepeatedId),
        _ if n_bytes > MAX_MESSAGE => Err(TopicError::BatchTooLong),
        _ => Ok(()),
    }
}

fn refused(id: String, error: &TopicError) -> wire::BatchResultErrorEntry {
    let (code, status) = error.code();
    wire::BatchResultErrorEntry {
        id,
        code: code.to_owned(),
        message: Some(error.to_string()),
        sender_fault: status.is_client_error(),
    }
}

/// What the entry says, checked.
fn notice(topic_arn: &str, entry: wire::PublishBatchRequestEntry) -> Result<Notice, TopicError> {
    if entry.message_deduplication_id.is_some() {
        let reason = "FIFO topics are not served here";
        return Err(TopicError::invalid("MessageDeduplicationId", reason));
    }
    if entry.message.is_empty() {
        return Err(TopicError::invalid("Empty message", ""));
    }
    let is_subject = |subject: &String| {
        let len = subject.chars().count();
        (1..=MAX_SUBJECT).contains(&len) && !subject.contains(char::is_control)
    };
    if entry.subject.as_ref().is_some_and(|subject| !is_subject(subject)) {
        return Err(TopicError::invalid("Subject", ""));
    }
    let attributes = attribute::of_sns(entry.message_attributes)?;
    if entry.message.len() + total_len(&attributes) > MAX_MESSAGE {
        return Err(TopicError::invalid("Message too long", ""));
    }
    let mut notice = Notice {
        topic_arn: topic_arn.to_owned(),
        message_id: Uuid::new_v4().to_string(),
        subject: entry.subject,
        body: entry.message,
        attributes,
        ..Notice::default()
    };
    match entry.message_structure.as_deref() {
        None | Some("") => Ok(notice),
        Some("json") => {
            structure(&mut notice)?;
            Ok(notice)
        }
        Some(_) => Err(TopicError::invalid("MessageStructure", "")),
    }
}

/// Tells the texts of a message apart: one for each protocol, and one for all others.
fn structure(notice: &mut Notice) -> Result<(), TopicError> {
    let invalid = |reason| TopicError::invalid("Message Structure", reason);
    let parsed: Option<Value> = serde_json::from_str(&notice.body).ok();
    let Some(Value::Object(texts)) = parsed else {
        return Err(invalid("JSON message body failed to parse"));
    };
    for (protocol, text) in texts {
        let Value::String(text) = text else { continue };
        notice.by_protocol.insert(protocol, text);
    }
    let body = notice.by_protocol.remove("default");
    notice.body = body.ok_or_else(|| invalid("No default entry in JSON message body"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::Protocol;

    fn entry(message: &str) -> wire::PublishBatchRequestEntry {
        let message = message.to_owned();
        wire::PublishBatchRequestEntry { message, ..wire::PublishBatchRequestEntry::default() }
    }

    fn refuse(entry: wire::PublishBatchRequestEntry, expected: &str) {
        assert_eq!(notice("arn", entry).unwrap_err().to_string(), expected);
    }

    #[test]
    fn messages_keep_their_bounds() {
        assert!(notice("arn", entry(&"a".repeat(MAX_MESSAGE))).is_ok());
        refuse(entry(&"a".repeat(MAX_MESSAGE + 1)), "Invalid parameter: Message too long");
        refuse(entry(""), "Invalid parameter: Empty message");
        for subject in ["", "two\nlines", &"a".repeat(101)] {
            let entry =
                wire::PublishBatchRequestEntry { subject: Some(subject.to_owned()), ..entry("m") };
            refuse(entry, "Invalid parameter: Subject");
        }
    }

    #[test]
    fn a_message_may_have_a_text_for_each_protocol() {
        let structured = |message| wire::PublishBatchRequestEntry {
            message_structure: Some("json".to_owned()),
            ..entry(message)
        };
        let taken = structured(r#"{"default":"d","sqs":"s","email":1}"#);
        let taken = notice("arn", taken).unwrap();
        assert_eq!(taken.text(Protocol::Sqs), "s");
        assert_eq!(taken.text(Protocol::Http), "d");
        let prefix = "Invalid parameter: Message Structure Reason: ";
        refuse(structured("{"), &format!("{prefix}JSON message body failed to parse"));
        refuse(structured("{}"), &format!("{prefix}No default entry in JSON message body"));
    }
}
