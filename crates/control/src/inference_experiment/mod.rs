//! An inference experiment: a shadow variant beside the production variant of an endpoint, for as
//! long as its schedule says; then it goes, or takes the production variant's place.
//!
//! ```text
//!            its time comes          both variants serve         EndTime, or StopInferenceExperiment
//! Creating -> Created ------> Starting ------------------> Running ---------------> Stopping
//!    |           |               |                         |     ^                     |
//!    |           |               | cannot start            v     |                     v
//!    +-----------+---------------+---------> Cancelled    Updating          Completed, Cancelled
//! ```
//!
//! An experiment is carried out by updates of its endpoint, each with an endpoint configuration of
//! the experiment's own ([`configs`]): blue/green and all at once, so that no call is lost. What
//! the endpoint was before is in the record, so that it comes back even if its configuration or
//! its models are deleted meanwhile.
//!
//! The endpoint stays the client's. Who deletes it, or updates it to something else, cancels the
//! experiment.
//!
//! Invariants: whether a step was taken is read off the endpoint, never remembered, so that it may
//! be taken again after `kill -9`. A configuration of ours goes when its experiment has ended and
//! no endpoint is made of it.

pub(crate) mod api;
mod configs;
mod describe;
mod plan;
mod reconcile;
mod request;
mod schedule;
mod stop;
mod update;

#[cfg(test)]
mod tests;

use sagebrush_core::Timestamp;
use sagebrush_core::resource::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::Deployment;

pub use reconcile::Reconciler;
use schedule::Schedule;

/// SageMaker API: `CreateInferenceExperiment`.
#[derive(Debug, Clone, Copy)]
pub struct InferenceExperiment;

impl Resource for InferenceExperiment {
    const KIND: &'static str = "inference-experiment";
    type Spec = InferenceExperimentSpec;
    type Status = InferenceExperimentStatus;

    fn status_word(status: &InferenceExperimentStatus) -> &str {
        status.state.word()
    }
}

/// The client's half of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InferenceExperimentSpec {
    /// Never used twice: an experiment of the same name would be another one.
    pub id: String,
    pub endpoint: String,
    pub role_arn: String,
    pub layout: Layout,
    pub schedule: Schedule,
    /// The request as it came, with what was updated since, for `DescribeInferenceExperiment`.
    pub request: Value,
}

/// What an endpoint is to consist of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    pub production: Variant,
    pub shadow: Option<Shadow>,
    /// The `DataCaptureConfig`, where it is not the endpoint's own.
    pub capture: Option<Value>,
}

/// SageMaker API: `ModelVariantConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub name: String,
    pub model: String,
    pub instance_type: String,
    pub instance_count: u32,
}

/// A shadow variant, and how many of a hundred calls it gets copies of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    pub variant: Variant,
    pub percentage: u8,
}

/// Our half of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InferenceExperimentStatus {
    pub state: State,
    /// What the endpoint was before; `None` if there was none.
    pub before: Option<Box<Before>>,
    /// When both variants were there.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// `StatusReason`.
    pub reason: Option<String>,
}

/// An endpoint before its experiment started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub deployment: Deployment,
    /// Its endpoint configuration as it was asked for, unless that was deleted.
    pub config: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// An endpoint that is not there comes up, with the production variant only.
    #[default]
    Creating,
    /// Nothing to do before the time comes.
    Created,
    /// The endpoint gets both variants.
    Starting,
    Running,
    /// The part of the calls that is copied changes.
    Updating,
    Stopping(Box<Stop>),
    Completed,
    Cancelled,
}

/// How an experiment ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    pub goal: Goal,
    pub outcome: Outcome,
}

/// SageMaker API: `InferenceExperimentStopDesiredState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Completed,
    Cancelled,
}

/// What an endpoint is brought to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is boxed where kept")]
pub enum Goal {
    /// It stays as it is.
    Kept,
    /// What it was before the experiment started.
    Before,
    /// A configuration of the experiment's own.
    Own(Purpose, Layout),
}

/// What the configurations of an experiment are for: one for each, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The production variant, until the experiment starts.
    Wait,
    /// Both variants.
    Run,
    /// What a client wants after it.
    After,
    /// The production variant, on an endpoint that was not there before.
    Revert,
}

impl State {
    /// The words of the states in which there is something to do.
    const UNFINISHED: [&'static str; 6] =
        ["Creating", "Created", "Starting", "Running", "Updating", "Stopping"];

    /// The word of `InferenceExperimentStatus`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Created => "Created",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Updating => "Updating",
            Self::Stopping(_) => "Stopping",
            Self::Completed => "Completed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// True when nothing changes any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Completed | Self::Cancelled => true,
            Self::Creating
            | Self::Created
            | Self::Starting
            | Self::Running
            | Self::Updating
            | Self::Stopping(_) => false,
        }
    }

    /// True while the endpoint is in the experiment's hands.
    #[must_use]
    pub fn holds_endpoint(&self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Updating | Self::Stopping(_) => true,
            Self::Creating | Self::Created | Self::Completed | Self::Cancelled => false,
        }
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl InferenceExperimentSpec {
    /// SageMaker tells endpoints apart without their case.
    fn is_on_endpoint_of(&self, other: &Self) -> bool {
        self.endpoint.eq_ignore_ascii_case(&other.endpoint)
    }
}

impl Layout {
    /// All variants that have instances.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        std::iter::once(&self.production).chain(self.shadow.iter().map(|shadow| &shadow.variant))
    }

    /// The production variant without a shadow, captured as the endpoint itself says.
    #[must_use]
    pub fn production_only(production: Variant) -> Self {
        Self { production, shadow: None, capture: None }
    }
}
