//! A transform job: a model asked with every record of a set of objects, and the answers written
//! beside them.
//!
//! ```text
//!                 all objects written
//! InProgress --------------------------> Completed
//!    |    |  an object or the model failed
//!    |    +----------------------------> Failed
//!    | StopTransformJob
//!    v
//! Stopping ----------------------------> Stopped
//! ```
//!
//! A job has a group of instances of its own while it is in progress, and a task that goes through
//! the objects ([`run`]). An object whose output is written is noted in the store ([`done`]), so
//! that after `kill -9` the job goes on with the others. Outputs are assembled in the order of the
//! records, whatever the order of the answers: they are the same however often a job was cut off.
//!
//! Invariants: a job carries all that its fleet needs, so that deleting its model does not harm
//! it. An output is visible only when it is whole, and noted as done only after that.

pub(crate) mod api;
mod calls;
mod capture;
mod describe;
mod done;
mod events;
mod inputs;
mod object;
mod owned;
mod plan;
mod progress;
mod reconcile;
mod request;
mod run;
mod tee;

#[cfg(test)]
mod tests;

use std::time::Duration;

use sagebrush_core::fleet::{ContainerSpec, Execution, GroupKey, GroupSpec, Owner};
use sagebrush_core::resource::Resource;
use sagebrush_core::{Region, Timestamp};
use sagebrush_records::{Assemble, SplitType, Strategy};
use serde::{Deserialize, Serialize};

use crate::instance_type;

pub(crate) use done::WrittenOutput;
pub use reconcile::Reconciler;

/// SageMaker: a container must pass its health check within 4 minutes.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(240);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3600);

/// SageMaker API: `CreateTransformJob`.
#[derive(Debug, Clone, Copy)]
pub struct TransformJob;

impl Resource for TransformJob {
    const KIND: &'static str = "transform-job";
    type Spec = TransformJobSpec;
    type Status = TransformJobStatus;

    fn status_word(status: &TransformJobStatus) -> &str {
        status.state.word()
    }
}

/// The client's half of a job, with its model resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformJobSpec {
    /// Never used twice: a job of the same name would be another one.
    pub revision: String,
    pub containers: Vec<ContainerSpec>,
    pub network_isolation: bool,
    pub instance_count: u32,
    pub instance_type: String,
    pub work: Work,
    /// The request as it came, for `DescribeTransformJob`.
    pub request: serde_json::Value,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    pub source: Source,
    pub content_type: Option<String>,
    pub gzip: bool,
    pub split: SplitType,
    pub output_path: String,
    pub accept: Option<String>,
    pub assemble: Assemble,
    pub input_filter: String,
    pub output_filter: String,
    /// `JoinSource: Input`.
    pub joins: bool,
    /// What the request leaves to the container.
    pub strategy: Option<Strategy>,
    pub max_payload_mb: Option<u32>,
    pub max_concurrent: Option<u32>,
    pub timeout: Duration,
    pub max_retries: u32,
    pub capture: Option<Capture>,
}

/// SageMaker API: `BatchDataCaptureConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    pub destination: String,
    /// `GenerateInferenceId`.
    pub has_inference_id: bool,
}

/// SageMaker API: `S3DataType`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    Prefix(String),
    Manifest(String),
}

/// Our half of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformJobStatus {
    pub state: State,
    /// When its instances were ready.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    #[default]
    InProgress,
    Completed,
    Failed {
        reason: String,
    },
    Stopping,
    Stopped,
}

impl State {
    /// The word of `TransformJobStatus`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::Failed { .. } => "Failed",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
        }
    }

    /// True when nothing changes any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::InProgress | Self::Stopping => false,
            Self::Completed | Self::Failed { .. } | Self::Stopped => true,
        }
    }
}

impl TransformJobSpec {
    /// The instances of the job `name`.
    #[must_use]
    pub fn group(&self, region: &Region, name: &str) -> GroupSpec {
        GroupSpec {
            key: GroupKey {
                owner: Owner::TransformJob,
                region: region.clone(),
                name: name.to_owned(),
                variant: "AllTraffic".to_owned(),
                revision: self.revision.clone(),
            },
            instance_count: self.instance_count,
            containers: self.containers.clone(),
            startup_timeout: STARTUP_TIMEOUT,
            download_timeout: DOWNLOAD_TIMEOUT,
            network_isolation: self.network_isolation,
            execution: Execution::Serial,
            resources: instance_type::resources(Some(&self.instance_type)),
        }
    }
}
