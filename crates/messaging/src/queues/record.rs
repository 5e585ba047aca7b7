//! What the store keeps of queues and of their messages.

use std::sync::Arc;

use sagebrush_core::resource::Resource;
use sagebrush_core::{Region, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::settings::QueueSettings;
use crate::attribute::Attributes;

#[derive(Debug, Clone)]
pub(super) struct QueueKind;

impl Resource for QueueKind {
    const KIND: &'static str = "sqs-queue";
    type Spec = QueueSpec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

/// Not its name, which it may share with one that was there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct QueueId(pub(super) Arc<str>);

impl QueueId {
    pub(super) fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct QueueSpec {
    /// Tells a queue from one that had its name before, or from what it was before a purge.
    pub(super) id: QueueId,
    pub(super) settings: QueueSettings,
}

#[derive(Debug, Clone)]
pub(super) struct MessageKind;

impl Resource for MessageKind {
    const KIND: &'static str = "sqs-message";
    type Spec = MessageSpec;
    type Status = MessageStatus;

    fn status_word(_: &MessageStatus) -> &'static str {
        ""
    }
}

/// What was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MessageSpec {
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) trace_header: Option<String>,
    pub(super) sender: String,
    pub(super) sent_at: Timestamp,
    pub(super) delayed_until: Timestamp,
    /// The queue that gave it up as a dead letter.
    pub(super) came_from: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct MessageStatus {
    pub(super) n_received: u32,
    pub(super) first_received: Option<Timestamp>,
    /// Set since it was first received.
    pub(super) visible_at: Option<Timestamp>,
}

/// Where the record of a message lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) region: Region,
    pub(super) queue: QueueId,
    pub(super) message: Uuid,
}

impl Place {
    pub(super) fn key(&self) -> String {
        format!("{}.{}", self.queue.0, self.message.simple())
    }

    pub(super) fn of_key(region: &Region, key: &str) -> Option<Self> {
        let (queue, message) = key.split_once('.')?;
        let (queue, message) = (QueueId(queue.into()), message.parse().ok()?);
        Some(Self { region: region.clone(), queue, message })
    }
}
