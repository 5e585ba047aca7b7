//! What is measured, watched and told, for all that need it.

use std::sync::Arc;

use sagebrush_control::Watched;
use sagebrush_core::alarms::SetAlarms;
use sagebrush_core::cloudwatch::MemoryMetrics;
use sagebrush_core::events::EventSink;

use super::ground::Ground;

pub(super) fn open(_ground: &Ground, events: Arc<dyn EventSink>) -> Watched {
    Watched {
        metrics: Arc::new(MemoryMetrics::default()),
        alarms: Arc::new(SetAlarms::default()),
        events,
    }
}
