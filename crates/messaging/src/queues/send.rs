//! Sending: a record first, then the index.

use sagebrush_core::Timestamp;
use sagebrush_core::store::StoreError;
use uuid::Uuid;

use super::record::{MessageSpec, Place};
use super::{Queue, QueueError, Queues, entry};
use crate::attribute::{Attributes, total_len};

/// What is sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    pub(crate) body: String,
    pub(crate) attributes: Attributes,
    pub(crate) trace_header: Option<String>,
    pub(crate) sender: String,
    /// In seconds; what the queue says, where it is left out.
    pub(crate) delay: Option<u32>,
}

impl Letter {
    /// The bytes that it counts.
    pub(super) fn len(&self) -> usize {
        self.body.len() + total_len(&self.attributes)
    }

    /// Holds it against what `queue` takes. What comes from a topic has been held against the
    /// topic's limits, and grows by its envelope.
    pub(crate) fn check(&self, queue: &Queue) -> Result<(), QueueError> {
        let longest = queue.stored().spec.settings.maximum_message_size;
        self.check_within(longest)
    }

    fn check_within(&self, longest: u32) -> Result<(), QueueError> {
        if self.body.is_empty() {
            return Err(QueueError::NoBody);
        }
        // What XML can say, which the service once spoke.
        let is_control = |letter: char| {
            matches!(letter, '\0'..='\x1f' if !matches!(letter, '\t' | '\n' | '\r'))
                || matches!(letter, '\u{fffe}' | '\u{ffff}')
        };
        if self.body.contains(is_control) {
            return Err(QueueError::InvalidContents);
        }
        let is_short = u32::try_from(self.len()).is_ok_and(|len| len <= longest);
        if is_short { Ok(()) } else { Err(QueueError::TooLong(longest)) }
    }
}

impl Queues {
    /// Takes a message, which is durable when this returns. One that the queue has under this
    /// `id` already is not taken again.
    pub(crate) async fn send(
        &self,
        queue: &Queue,
        id: Uuid,
        letter: Letter,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let delay = letter.delay.unwrap_or_else(|| queue.stored().spec.settings.delay);
        let spec = MessageSpec {
            body: letter.body,
            attributes: letter.attributes,
            trace_header: letter.trace_header,
            sender: letter.sender,
            sent_at: now,
            delayed_until: Timestamp(now.0 + i64::from(delay) * 1000),
            came_from: None,
        };
        self.add(queue, id, spec).await
    }

    pub(super) async fn add(
        &self,
        queue: &Queue,
        id: Uuid,
        spec: MessageSpec,
    ) -> Result<(), StoreError> {
        let owner = queue.stored();
        let place = Place { region: owner.region, queue: owner.spec.id, message: id };
        let tags = std::collections::BTreeMap::new();
        match self.messages.create(&place.region, &place.key(), spec, tags).await {
            Ok(stored) => queue.shelf().put(id, entry(&stored)),
            Err(StoreError::Conflict { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        queue.arrived.notify_one();
        Ok(())
    }
}
