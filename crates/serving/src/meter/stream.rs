//! Counts and times of replies in parts.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use tokio::time::Instant;

use crate::reply::Spent;

/// The metrics of the replies in parts of one variant, made when it has the first.
pub(super) struct StreamMetrics {
    first_chunk: Arc<Histogram>,
    first_chunk_model: Arc<Histogram>,
    first_chunk_overhead: Arc<Histogram>,
    duration: Arc<Histogram>,
    parts: Arc<Counter>,
    broken: Arc<Counter>,
    abandoned: Arc<Counter>,
}

/// Counts one reply.
pub(crate) struct StreamMeter {
    metrics: Arc<StreamMetrics>,
    began: Instant,
}

impl StreamMetrics {
    pub(super) fn new(registry: &Registry, labels: &Labels) -> Arc<Self> {
        let counter = |name, help| registry.counter(name, help, labels.clone());
        let histogram = |name, help| registry.histogram(name, help, labels.clone());
        let recorded =
            |name, help| registry.recorded((name, help), labels.clone(), Duration::from_micros(1));
        Arc::new(Self {
            first_chunk: recorded(
                "sagebrush_first_chunk_latency_seconds",
                "From the request to the first part of a streamed reply.",
            ),
            first_chunk_model: recorded(
                "sagebrush_first_chunk_model_latency_seconds",
                "How long the model took over the first part of a streamed reply.",
            ),
            first_chunk_overhead: recorded(
                "sagebrush_first_chunk_overhead_latency_seconds",
                "The time to the first part of a streamed reply that is not the model's.",
            ),
            duration: histogram(
                "sagebrush_stream_seconds",
                "From the first part of a streamed reply to its end.",
            ),
            parts: counter("sagebrush_stream_parts_total", "Parts of streamed replies."),
            broken: counter(
                "sagebrush_mid_stream_errors_total",
                "Streamed replies that ended in an error.",
            ),
            abandoned: counter(
                "sagebrush_abandoned_streams_total",
                "Streamed replies whose client left before their end.",
            ),
        })
    }

    pub(super) fn begin(self: &Arc<Self>, spent: &Spent) -> StreamMeter {
        self.first_chunk.observe(spent.total);
        self.first_chunk_model.observe(spent.model_latency);
        self.first_chunk_overhead.observe(spent.overhead());
        StreamMeter { metrics: self.clone(), began: Instant::now() }
    }
}

impl StreamMeter {
    pub(crate) fn part(&self) {
        self.metrics.parts.add(1);
    }

    pub(crate) fn broken(&self) {
        self.metrics.broken.add(1);
    }

    /// `is_over`: nothing of it was left.
    pub(crate) fn ended(&self, is_over: bool) {
        self.metrics.duration.observe(self.began.elapsed());
        if !is_over {
            self.metrics.abandoned.add(1);
        }
    }
}
