//! What answers calls: the contract of a worker and of the runtime that launches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::artifact::ArtifactLease;
use crate::logs::{LogSink, LogStream};

/// Starts workers of one kind.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Starts a worker and returns once it answered its first ping. On error nothing is left
    /// running.
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError>;
}

/// A loaded model that answers calls.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Answers each call of the batch, in its order; one bad call fails alone.
    ///
    /// Never keeps the thread it is polled on for longer than some tens of microseconds. Dropping
    /// the future gives the calls up.
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>>;

    /// `Ok` if the worker can take calls.
    async fn ping(&self) -> Result<(), WorkerError>;

    /// How many calls of `invoke` may usefully run at once.
    fn concurrency(&self) -> usize;

    /// Ends the worker, at the latest at `deadline`; work under way is finished first.
    async fn stop(&self, deadline: Instant);
}

/// What a worker is launched from.
#[derive(Clone)]
pub struct LaunchSpec {
    /// `<variant>/<instance-id>`, for logs.
    pub name: String,
    pub image: String,
    /// The model's files; `None` when the model names none.
    pub model: Option<Arc<dyn ArtifactLease>>,
    pub environment: BTreeMap<String, String>,
    pub network_isolation: bool,
    /// How long it may take to answer its first ping.
    pub startup_timeout: Duration,
    pub log: Arc<dyn LogSink>,
    pub log_stream: LogStream,
}

/// Why a worker did not start. Display is fit for a `FailureReason`: it says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LaunchError {
    /// The model or its configuration is at fault; trying again does not help.
    #[error("{reason}")]
    Permanent { reason: String },
    /// This machine is at fault; trying again may help.
    #[error("{reason}")]
    Transient { reason: String },
}

/// One invocation, on its way to a worker.
#[derive(Debug, Clone)]
pub struct Call {
    pub payload: Payload,
    /// The `Accept` header; `None` when absent or `*/*`.
    pub accept: Option<String>,
    /// The other headers of the API, by their lower-case name; never credentials.
    pub headers: Vec<(&'static str, String)>,
    pub request_id: Arc<str>,
    /// The reply is of no use after this.
    pub deadline: Instant,
}

/// The answer to one call.
#[derive(Debug, Clone)]
pub struct Reply {
    pub payload: Payload,
    /// `X-Amzn-SageMaker-Custom-Attributes`, set by the model.
    pub custom_attributes: Option<String>,
    pub timings: Timings,
}

/// Bytes with a content type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    pub content_type: Option<String>,
    pub body: Bytes,
}

/// Where a worker spent its time on a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the payload to the model's input.
    pub pre: Duration,
    pub model: Duration,
    /// From the model's output to the payload.
    pub post: Duration,
}

/// Why a worker did not answer a call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkerError {
    /// The model's own answer was an error: 4xx for a bad payload, 5xx for a fault of its own.
    #[error("the model answered {status}: {message}")]
    Model { status: u16, message: String, content_type: Option<String> },
    #[error("the model did not answer in time")]
    TimedOut,
    /// The worker is gone; another one may answer.
    #[error("the worker is gone: {reason}")]
    Gone { reason: String },
}

impl WorkerError {
    /// A payload that the model cannot take; `message` says why, with the input's name.
    #[must_use]
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::Model { status: 400, message: message.into(), content_type: None }
    }
}
