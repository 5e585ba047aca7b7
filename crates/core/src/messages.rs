//! Messages to whoever subscribed to a topic.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::store::StoreError;

/// Takes messages for topics, and brings them to their subscribers.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Takes a message for every subscription that the topic has now. When this returns `Ok` the
    /// message survives `kill -9`, and is delivered at least once. A message whose id the topic
    /// has taken before is not taken again: whoever does not know whether it was may repeat it.
    async fn publish(&self, topic_arn: &str, message: Message) -> Result<(), PublishError>;
}

/// What subscribers get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Unique within its topic; subscribers see it as `MessageId`.
    pub id: String,
    pub subject: Option<String>,
    pub body: String,
    /// By name; text.
    pub attributes: BTreeMap<String, String>,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
