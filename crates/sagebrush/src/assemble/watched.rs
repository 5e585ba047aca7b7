//! What is measured, watched and told, for all that need it.

use std::sync::Arc;

use sagebrush_control::Watched;
use sagebrush_core::alarms::SetAlarms;
use sagebrush_core::cloudwatch::MemoryMetrics;
use sagebrush_core::events::MemoryEvents;

use super::ground::Ground;

pub(super) fn open(_ground: &Ground) -> Watched {
    Watched {
        metrics: Arc::new(MemoryMetrics::default()),
        alarms: Arc::new(SetAlarms::default()),
        events: Arc::new(MemoryEvents::default()),
    }
}
