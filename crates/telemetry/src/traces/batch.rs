//! Spans, put together into requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::metrics::{Counter, Registry};
use sagebrush_core::trace::Span;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::collector::{Collector, Untold};
use super::{Destination, dropped, otlp};

/// A request has no more calls' spans than fit into so many spans, but one call's at least.
const MOST: usize = 512;

/// How long is waited before each further attempt, unless the collector names a time.
const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// A collector that wants to be left alone for longer is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often it is said that traces get lost.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Sends requests, one after the other.
pub(super) struct Sending {
    collector: Arc<dyn Collector>,
    destination: Destination,
    told: Arc<Counter>,
    refused: Arc<Counter>,
    unreachable: Arc<Counter>,
    last_warning: Option<Instant>,
}

impl Sending {
    pub(super) fn new(
        collector: Arc<dyn Collector>,
        destination: Destination,
        registry: &Registry,
    ) -> Self {
        let help = "Spans that the collector has taken.";
        Self {
            collector,
            destination,
            told: registry.counter("sagebrush_exported_spans_total", help, Vec::new()),
            refused: dropped(registry, "refused"),
            unreachable: dropped(registry, "unreachable"),
            last_warning: None,
        }
    }

    /// Takes spans until nobody sends any more, and tells them all.
    pub(super) async fn run(mut self, mut spans: Receiver<Vec<Span>>) {
        while let Some(first) = spans.recv().await {
            let until = Instant::now() + self.destination.delay;
            let mut batch = first;
            while batch.len() < MOST {
                match timeout_at(until, spans.recv()).await {
                    Ok(Some(more)) => batch.extend(more),
                    Ok(None) | Err(_) => break,
                }
            }
            self.tell(&batch).await;
        }
    }

    async fn tell(&mut self, batch: &[Span]) {
        let n_spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match self.send(otlp::request(&self.destination, batch)).await {
            Ok(()) => self.told.add(n_spans),
            Err(untold) => {
                let counter = match &untold {
                    Untold::ForGood(_) => &self.refused,
                    Untold::ForNow { .. } => &self.unreachable,
                };
                counter.add(n_spans);
                if self.last_warning.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                    self.last_warning = Some(Instant::now());
                    tracing::warn!(error = %untold, n_spans, "traces were not told");
                }
            }
        }
    }

    async fn send(&self, request: Bytes) -> Result<(), Untold> {
        let mut waits = WAITS.iter();
        loop {
            let (error, wished) = match self.collector.post(request.clone()).await {
                Err(Untold::ForNow { reason, after }) => (reason, after),
                told @ (Ok(()) | Err(Untold::ForGood(_))) => return told,
            };
            let wait = waits.next().map(|wait| wished.unwrap_or(*wait));
            match wait.filter(|wait| *wait <= LONGEST_WAIT) {
                Some(wait) => sleep(wait).await,
                None => return Err(Untold::ForNow { reason: error, after: None }),
            }
        }
    }
}
