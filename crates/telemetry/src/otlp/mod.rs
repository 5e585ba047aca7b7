//! What is told to a collector by OTLP over HTTP, in JSON.
//!
//! [`collector`] brings a request there; [`sender`] brings it there again where that may help, and
//! counts what was told and what was not. Spans are told by [`crate::traces`], the server's own
//! metrics by [`MetricExporter`], which writes them as [`points`].

mod collector;
mod exporter;
pub(crate) mod json;
mod points;
mod sender;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{HeaderMap, Uri};
use tokio::task::JoinHandle;

pub use exporter::{MetricExporter, Parts};

#[cfg(test)]
pub(crate) use collector::Untold;
pub(crate) use collector::{Collector, HttpCollector};
pub(crate) use sender::{Sender, Words};

/// Where something is told, and as whose.
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
}

/// Waits until `task` has told the rest of `what`, but no longer than this.
pub(crate) async fn finish(task: JoinHandle<()>, within: Duration, what: &'static str) {
    let abort = task.abort_handle();
    if tokio::time::timeout(within, task).await.is_err() {
        tracing::warn!("some {what} were not told");
        abort.abort();
    }
}
