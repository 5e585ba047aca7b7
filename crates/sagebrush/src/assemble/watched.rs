//! What is measured, watched and told, for all that need it.

use std::sync::Arc;

use sagebrush_control::Watched;
use sagebrush_core::alarms::SetAlarms;
use sagebrush_core::events::MemoryEvents;

use super::ground::Ground;

pub(super) fn open(ground: &Ground) -> Watched {
    Watched {
        metrics: ground.measured.clone(),
        alarms: Arc::new(SetAlarms::default()),
        events: Arc::new(MemoryEvents::default()),
    }
}
