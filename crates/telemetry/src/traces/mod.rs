//! Traces, told to a collector by OTLP over HTTP.
//!
//! 1. [`Traces`] takes the spans of calls that are over into a channel, and drops what finds it
//!    full: no call waits.
//! 2. [`batch`]: one task makes requests of them, by number or by age, and sends them one by one.
//! 3. [`otlp`] writes a request; [`crate::otlp`] brings it there.

mod batch;
mod otlp;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::metrics::{Counter, Registry};
use sagebrush_core::task;
use sagebrush_core::trace::{Span, SpanSink};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::otlp::{Collector, Destination, HttpCollector, Sender, Words, finish};
use batch::Sending;

/// The spans of so many calls may wait to be taken.
const ROOM: usize = 4096;

const WORDS: Words = Words {
    what: "traces",
    told: ("sagebrush_exported_spans_total", "Spans that the collector has taken."),
    dropped: (
        "sagebrush_dropped_spans_total",
        "Spans that were not told to the collector, by why.",
    ),
};

/// Tells spans to a collector.
pub struct Traces {
    sender: Mutex<Option<mpsc::Sender<Vec<Span>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    dropped: Arc<Counter>,
}

impl Traces {
    /// Begins to tell spans. Each waits for others for `delay` at most.
    #[must_use]
    pub fn start(destination: Destination, delay: Duration, registry: &Registry) -> Arc<Self> {
        let collector = HttpCollector::new(&destination);
        Self::to(Arc::new(collector), (destination, delay), registry)
    }

    fn to(
        collector: Arc<dyn Collector>,
        (destination, delay): (Destination, Duration),
        registry: &Registry,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(ROOM);
        let dropped = WORDS.dropped(registry, "full");
        let sending =
            Sending { destination, delay, sender: Sender::new(collector, &WORDS, registry) };
        let task = task::spawn("traces", sending.run(receiver));
        Arc::new(Self { sender: Mutex::new(Some(sender)), task: Mutex::new(Some(task)), dropped })
    }

    /// Tells what there is, in this time at most, and nothing after it.
    pub async fn stop(&self, within: Duration) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            finish(task, within, WORDS.what).await;
        }
    }
}

impl SpanSink for Traces {
    fn record(&self, spans: Vec<Span>) {
        let n_spans = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sender.as_ref().is_some_and(|sender| sender.try_send(spans).is_ok());
        if !sent {
            self.dropped.add(n_spans);
        }
    }
}
