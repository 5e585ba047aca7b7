//! Spans, put together into requests.

use std::time::Duration;

use sagebrush_core::trace::Span;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::otlp;
use crate::otlp::{Destination, Sender};

/// A request has no more calls' spans than fit into so many spans, but one call's at least.
const MOST: usize = 512;

/// Sends requests, one after the other.
pub(super) struct Sending {
    pub(super) destination: Destination,
    /// How long a span waits for others at most.
    pub(super) delay: Duration,
    pub(super) sender: Sender,
}

impl Sending {
    /// Takes spans until nobody sends any more, and tells them all.
    pub(super) async fn run(mut self, mut spans: Receiver<Vec<Span>>) {
        while let Some(first) = spans.recv().await {
            let until = Instant::now() + self.delay;
            let mut batch = first;
            while batch.len() < MOST {
                match timeout_at(until, spans.recv()).await {
                    Ok(Some(more)) => batch.extend(more),
                    Ok(None) | Err(_) => break,
                }
            }
            self.sender.tell(otlp::request(&self.destination, &batch), batch.len()).await;
        }
    }
}
