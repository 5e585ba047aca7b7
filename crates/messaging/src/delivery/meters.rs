//! What is counted.

use std::sync::Arc;

use sagebrush_core::metrics::{Counter, Gauge, Registry};

pub(super) struct Meters {
    pub(super) published: Arc<Counter>,
    pub(super) delivered: Arc<Counter>,
    pub(super) failed: Arc<Counter>,
    pub(super) retried: Arc<Counter>,
    pub(super) dead_lettered: Arc<Counter>,
    pub(super) dropped: Arc<Counter>,
    pub(super) waiting: Arc<Gauge>,
}

impl Meters {
    pub(super) fn new(metrics: &Registry) -> Self {
        let counter = |name, help| metrics.counter(name, help, Vec::new());
        Self {
            published: counter("sagebrush_messages_published_total", "Messages taken for topics."),
            delivered: counter(
                "sagebrush_messages_delivered_total",
                "Messages that came to a subscription.",
            ),
            failed: counter(
                "sagebrush_messages_failed_attempts_total",
                "Attempts to deliver a message that failed.",
            ),
            retried: counter(
                "sagebrush_messages_retried_total",
                "Attempts to deliver a message that were not the first.",
            ),
            dead_lettered: counter(
                "sagebrush_messages_dead_lettered_total",
                "Messages that went to a subscription's dead-letter queue.",
            ),
            dropped: counter(
                "sagebrush_messages_dropped_total",
                "Messages that could not be delivered and had no dead-letter queue.",
            ),
            waiting: metrics.gauge(
                "sagebrush_messages_waiting",
                "Messages that are on their way to a subscription.",
                Vec::new(),
            ),
        }
    }
}
