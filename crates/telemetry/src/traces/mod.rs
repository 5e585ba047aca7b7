//! Traces, told to a collector by OTLP over HTTP.
//!
//! 1. [`Traces`] takes the spans of calls that are over into a channel, and drops what finds it
//!    full: no call waits.
//! 2. [`batch`]: one task makes requests of them, by number or by age, and sends them one by one.
//! 3. [`otlp`] writes a request; [`collector`] brings it there.

mod batch;
mod collector;
mod otlp;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use sagebrush_core::metrics::{Counter, Registry};
use sagebrush_core::task;
use sagebrush_core::trace::{Span, SpanSink};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use batch::Sending;
use collector::{Collector, HttpCollector};

/// The spans of so many calls may wait to be taken.
const ROOM: usize = 4096;

/// Where spans are told, and as whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// With its path: `http://127.0.0.1:4318/v1/traces`.
    pub url: Uri,
    /// Sent with each request.
    pub headers: HeaderMap,
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: &'static str,
    /// How long a span waits for others at most.
    pub delay: Duration,
}

/// Tells spans to a collector.
pub struct Traces {
    sender: Mutex<Option<Sender<Vec<Span>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    dropped: Arc<Counter>,
}

impl Traces {
    /// Begins to tell spans.
    #[must_use]
    pub fn start(destination: Destination, registry: &Registry) -> Arc<Self> {
        let collector = HttpCollector::new(&destination);
        Self::to(Arc::new(collector), destination, registry)
    }

    fn to(
        collector: Arc<dyn Collector>,
        destination: Destination,
        registry: &Registry,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(ROOM);
        let dropped = dropped(registry, "full");
        let sending = Sending::new(collector, destination, registry);
        let task = task::spawn("traces", sending.run(receiver));
        Arc::new(Self { sender: Mutex::new(Some(sender)), task: Mutex::new(Some(task)), dropped })
    }

    /// Tells what there is, in this time at most, and nothing after it.
    pub async fn stop(&self, within: Duration) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        let abort = task.abort_handle();
        if tokio::time::timeout(within, task).await.is_err() {
            tracing::warn!("some traces were not told");
            abort.abort();
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

fn dropped(registry: &Registry, reason: &str) -> Arc<Counter> {
    let help = "Spans that were not told to the collector, by why.";
    registry.counter("sagebrush_dropped_spans_total", help, vec![("reason", reason.to_owned())])
}
