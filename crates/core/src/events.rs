//! What happened, as EventBridge tells it.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::{Region, Timestamp};

/// Takes events. Never waits; drops and counts when it is behind.
pub trait EventSink: Send + Sync + 'static {
    fn emit(&self, event: Event);

    /// Whether anybody may want events of this source. Asked before one that costs something.
    fn wants(&self, source: &str) -> bool;
}

/// An event of EventBridge, but for its id and its account.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub region: Region,
    /// `aws.sagemaker`.
    pub source: &'static str,
    /// `SageMaker Endpoint State Change`.
    pub detail_type: &'static str,
    /// ARNs of what it happened to.
    pub resources: Vec<String>,
    pub detail: Value,
    pub at: Timestamp,
}

/// Keeps events in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryEvents(Mutex<Vec<Event>>);

impl MemoryEvents {
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for MemoryEvents {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn wants(&self, _source: &str) -> bool {
        true
    }
}
