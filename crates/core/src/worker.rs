//! What answers calls: the contract of a worker and of the runtime that launches it.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::Deserialize;
use tokio::time::Instant;

use crate::artifact::ArtifactLease;
use crate::logs::{LogSink, LogStream};

/// Starts workers of one kind.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Starts a worker and returns once it answered its first ping. On error nothing is left
    /// running.
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError>;

    /// Starts a host of many models, none of them loaded yet (`Mode: MultiModel`).
    /// `spec.model` is what its container has beside them, if anything.
    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        let reason = format!("The image {} cannot serve Mode MultiModel.", spec.image);
        Err(LaunchError::Permanent { reason })
    }

    /// Lets go what it kept of resting workers that log to `log_group` of `region`.
    async fn forget(&self, _region: &str, _log_group: &str) {}
}

/// Loads models one by one and unloads them, behind one multi-model container.
#[async_trait]
pub trait ModelHost: Send + Sync + 'static {
    /// Loads a model and returns what answers its calls; its `stop` unloads it, and returns its
    /// memory before it is done. Several loads may run at once, each of another model.
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError>;

    /// As [`Worker::ended`]; its models have ended with it.
    async fn ended(&self) -> String {
        std::future::pending().await
    }

    /// As [`Worker::image`].
    fn image(&self) -> Option<String> {
        None
    }

    /// What it and its models take of the machine; `None` where they are asked one by one.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// Ends the host and its models, at the latest at `deadline`.
    async fn stop(&self, deadline: Instant);
}

/// A loaded model that answers calls.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Answers each call of the batch, in its order: as many answers as calls. One bad call fails
    /// alone: what fails together is tried once more, one by one.
    ///
    /// Never keeps the thread it is polled on for longer than some tens of microseconds. Dropping
    /// the future gives the calls up.
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>>;

    /// Answers one call part by part, as the model makes them. The parts come no faster than they
    /// are taken, and dropping them gives the call up. A worker that cannot answer in parts answers
    /// in one.
    ///
    /// # Errors
    /// What went wrong before the first part; what goes wrong later ends the parts.
    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let answer = self.invoke(vec![call]).await.pop();
        let no_answer = || Err(WorkerError::Gone { reason: "it gave no answer".to_owned() });
        answer.unwrap_or_else(no_answer).map(StreamedReply::from)
    }

    /// `Ok` if the worker can take calls.
    async fn ping(&self) -> Result<(), WorkerError>;

    /// How many calls of `invoke` may usefully run at once.
    fn concurrency(&self) -> usize;

    /// How many calls one `invoke` may answer together, at most. Whether that is worth it is
    /// found by measuring; 1 where it cannot be.
    fn max_batch(&self) -> usize {
        1
    }

    /// How long a batch that is not full may wait for more calls after calls had to wait anyway.
    /// A lone call never waits, and none longer than a tenth of what the model takes.
    fn max_batch_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// How it wants to be called by transform jobs, where it says so.
    async fn execution_parameters(&self) -> Option<ExecutionParameters> {
        None
    }

    /// True if another instance of it on this machine would compute on the same threads: it answers
    /// as many calls as several would.
    fn is_enough(&self) -> bool {
        false
    }

    /// The bytes of memory that are its own, as far as it knows; 0 where it does not.
    fn memory(&self) -> u64 {
        0
    }

    /// What it takes of the machine; `None` where that cannot be told. Costs little.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// Returns once the worker can answer no call any more, though nobody stopped it; says why.
    /// A worker that mends itself (by replacing a dead process of its) has not ended.
    async fn ended(&self) -> String {
        std::future::pending().await
    }

    /// What really runs, for `DeployedImages.ResolvedImage`: a digest, an interpreter and how it
    /// is isolated. No white space, at most 255 characters. `None`: the image as it was given.
    fn image(&self) -> Option<String> {
        None
    }

    /// As [`Worker::image`], for each container of a worker that has several.
    fn images(&self) -> Vec<Option<String>> {
        vec![self.image()]
    }

    /// Ends the worker, at the latest at `deadline`; work under way is finished first.
    async fn stop(&self, deadline: Instant);

    /// As [`Worker::stop`], of one that is launched again when calls come: its runtime may keep what
    /// takes long to start.
    async fn rest(&self, deadline: Instant) {
        self.stop(deadline).await;
    }
}

/// What a worker takes of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// So far, of all cores together.
    pub cpu: Duration,
    pub memory_bytes: u64,
}

impl Usage {
    /// Of two together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }
}

/// SageMaker: what a container answers to `GET /execution-parameters`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecutionParameters {
    pub max_concurrent_transforms: Option<u32>,
    pub batch_strategy: Option<BatchStrategy>,
    #[serde(rename = "MaxPayloadInMB")]
    pub max_payload_mb: Option<u32>,
}

/// SageMaker: as containers write `BatchStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum BatchStrategy {
    #[serde(rename = "MULTI_RECORD", alias = "MultiRecord")]
    MultiRecord,
    #[serde(rename = "SINGLE_RECORD", alias = "SingleRecord")]
    SingleRecord,
}

/// What a worker is launched from.
#[derive(Clone)]
pub struct LaunchSpec {
    /// `<variant>/<instance-id>`, for logs.
    pub name: String,
    pub image: String,
    /// The model's files; `None` when the model names none.
    pub model: Option<Arc<dyn ArtifactLease>>,
    /// What `SAGEMAKER_SUBMIT_DIRECTORY` names in the object store, unpacked.
    pub code: Option<Arc<dyn ArtifactLease>>,
    pub environment: BTreeMap<String, String>,
    /// `ContainerHostname`; the container's name in errors when it has none.
    pub hostname: String,
    pub network_isolation: bool,
    /// What the instance type gives.
    pub resources: Resources,
    /// How long it may take to answer its first ping.
    pub startup_timeout: Duration,
    pub log: Arc<dyn LogSink>,
    pub log_stream: LogStream,
}

/// The cores and the memory of an instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub cpus: usize,
    pub memory_bytes: u64,
    /// Of a serverless variant. `memory_bytes` is then for each call.
    pub concurrency: Option<Concurrency>,
}

/// How many calls at once a serverless variant answers. A worker that grows by itself does so in
/// one instance; others get more instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// `ProvisionedConcurrency`: calls that find all ready.
    pub warm: usize,
    /// `MaxConcurrency`.
    pub most: usize,
}

/// A model that a host is to load.
#[derive(Clone)]
pub struct ModelSpec {
    /// Opaque, fit for a path and unlike that of any other model or version: the hash that
    /// containers get as `model_name`.
    pub name: String,
    /// `TargetModel`, for logs and messages.
    pub target: String,
    pub files: Arc<dyn ArtifactLease>,
    /// It must be loaded until then.
    pub deadline: Instant,
}

/// Why a host did not load a model.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// No memory for one more (a container's 507): unload others and try again.
    #[error("there is no memory for another model")]
    NoRoom,
    #[error(transparent)]
    Launch(#[from] LaunchError),
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
    /// `X-Amzn-SageMaker-Target-Model`.
    pub target_model: Option<String>,
    /// `X-Amzn-SageMaker-Target-Container-Hostname`.
    pub target_container: Option<String>,
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
    pub session: Option<Session>,
    pub timings: Timings,
}

/// The answer to one call, in parts.
pub struct StreamedReply {
    pub content_type: Option<String>,
    /// `X-Amzn-SageMaker-Custom-Attributes`, set by the model.
    pub custom_attributes: Option<String>,
    pub session: Option<Session>,
    pub parts: ReplyParts,
}

/// What a model says of the session of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// `X-Amzn-SageMaker-New-Session-Id`: its id, and when it expires.
    New(String),
    /// `X-Amzn-SageMaker-Closed-Session-Id`.
    Closed(String),
}

impl Session {
    /// By the values of these headers, where they are there.
    #[must_use]
    pub fn said(new: Option<String>, closed: Option<String>) -> Option<Self> {
        new.map(Self::New).or_else(|| closed.map(Self::Closed))
    }
}

/// Parts as the model makes them; an error ends them.
pub type ReplyParts = BoxStream<'static, Result<Bytes, WorkerError>>;

impl StreamedReply {
    /// Keeps `guard` until the parts have ended or are dropped.
    #[must_use]
    pub fn holding(self, guard: impl Send + 'static) -> Self {
        let end = stream::once(async move { drop(guard) });
        let parts = self.parts.chain(end.filter_map(|()| ready(None))).boxed();
        Self { parts, ..self }
    }
}

impl From<Reply> for StreamedReply {
    fn from(reply: Reply) -> Self {
        let Payload { content_type, body } = reply.payload;
        let parts = stream::iter([Ok(body)]).boxed();
        let Reply { custom_attributes, session, .. } = reply;
        Self { content_type, custom_attributes, session, parts }
    }
}

/// Bytes with a content type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    pub content_type: Option<String>,
    pub body: Bytes,
}

/// Where a worker spent its time on a call; for a batch, `model` is that of all its calls.
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
    /// The worker ended while it had the call, perhaps because of it: that is the model's own
    /// error, but for callers who may ask more than once.
    #[error("{message}")]
    Died {
        message: String,
        /// Its process is known to have ended, and it was the first that ended with the call: one
        /// more try may be worth it.
        once_more: bool,
    },
    #[error("the model did not answer in time")]
    TimedOut,
    /// The call asks for what the container does not have: `ValidationError`.
    #[error("{message}")]
    Invalid { message: String },
    /// Its model is still being loaded: `ModelNotReadyException`.
    #[error("{message}")]
    NotReady { message: String },
    /// What one of several containers said.
    #[error("{container}: {error}")]
    At { container: Arc<str>, error: Box<WorkerError> },
    /// The worker is gone; another one may answer. Only if the call did not reach the model's
    /// code: else it is the model's own error, lest one bad call ends all workers.
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
