//! Where workers run. A runtime knows how to start one; a fleet knows on which instance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Region;
use crate::artifact::ModelData;
use crate::instance::Instance;
use crate::worker::Resources;

/// Holds groups of instances. Declarative and idempotent; no method waits until one is ready.
#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// Creates the group, or converges it to `spec`. A revision's containers never change in
    /// place: another revision is another group.
    async fn apply_group(&self, spec: &GroupSpec) -> Result<(), FleetError>;

    /// Removes the group: its instances finish what they have, at most for `drain`.
    async fn delete_group(&self, group: &GroupKey, drain: Duration) -> Result<(), FleetError>;

    /// What is there now; a new snapshot with each change.
    fn watch(&self) -> watch::Receiver<Arc<FleetView>>;
}

/// All groups of a fleet with their instances.
pub type FleetView = BTreeMap<GroupKey, Vec<InstanceState>>;

/// The name of a group: one revision of one variant of an endpoint, or the workers of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    pub owner: Owner,
    pub region: Region,
    /// The owner's name.
    pub name: String,
    /// Of a job, `AllTraffic`.
    pub variant: String,
    /// Changes with each deployment of the endpoint, and with each attempt of a job.
    pub revision: String,
}

/// Whose instances a group has. Each kind of owner settles its own groups and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Endpoint,
    TransformJob,
}

impl GroupKey {
    /// The log group of its instances.
    #[must_use]
    pub fn log_group(&self) -> String {
        match self.owner {
            Owner::Endpoint => format!("/aws/sagemaker/Endpoints/{}", self.name),
            Owner::TransformJob => "/aws/sagemaker/TransformJobs".to_owned(),
        }
    }

    /// The log stream of its instance `id`.
    #[must_use]
    pub fn log_stream(&self, id: &str) -> String {
        match self.owner {
            Owner::Endpoint => format!("{}/{id}", self.variant),
            Owner::TransformJob => format!("{}/{id}", self.name),
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner: _, region, name, variant, revision } = self;
        write!(f, "{region}/{name}/{variant}@{revision}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    pub key: GroupKey,
    pub instance_count: u32,
    /// One, or 2 to 15.
    pub containers: Vec<ContainerSpec>,
    /// `ContainerStartupHealthCheckTimeoutInSeconds`.
    pub startup_timeout: Duration,
    /// `ModelDataDownloadTimeoutInSeconds`.
    pub download_timeout: Duration,
    pub network_isolation: bool,
    /// How its containers answer together.
    pub execution: Execution,
    pub resources: Resources,
}

/// SageMaker API: `InferenceExecutionConfig.Mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Execution {
    /// Each container gets what the one before answered.
    #[default]
    Serial,
    /// The call names its container.
    Direct,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub hostname: Option<String>,
    pub image: String,
    /// With `multi_model`, the prefix below which models are.
    pub model_data: Option<ModelData>,
    pub environment: BTreeMap<String, String>,
    /// `Mode: MultiModel`.
    #[serde(default)]
    pub multi_model: Option<MultiModel>,
    /// `ExecutionRoleArn` of the model: it says what its code and its data may be read by.
    #[serde(default)]
    pub role_arn: Option<String>,
}

/// What in a container's environment keeps its code from getting a call twice.
pub const RETRY_AFTER_DEATH: &str = "SAGEBRUSH_RETRY_AFTER_DEATH";

/// Whether a call that a worker had when it died may be tried once more, by what the environment
/// of its container says.
///
/// # Errors
/// What is wrong with the value.
pub fn retries_after_death(environment: &BTreeMap<String, String>) -> Result<bool, String> {
    match environment.get(RETRY_AFTER_DEATH).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("" | "true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!(
            "The container's environment has {RETRY_AFTER_DEATH}={other}; it must be true or false."
        )),
    }
}

/// SageMaker API: `MultiModelConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiModel {
    /// `ModelCacheSetting`: false unloads a model right after each call.
    pub keeps_models: bool,
}

/// What became of one instance of a group.
#[derive(Clone)]
pub enum InstanceState {
    Starting,
    Ready(Arc<Instance>),
    /// It did not start, `attempts` times in a row; the fleet tries again by itself.
    Failed {
        reason: String,
        permanent: bool,
        attempts: u32,
    },
    Draining,
}

impl InstanceState {
    /// The instance, if it takes calls.
    #[must_use]
    pub fn ready(&self) -> Option<&Arc<Instance>> {
        match self {
            Self::Ready(instance) => Some(instance),
            Self::Starting | Self::Failed { .. } | Self::Draining => None,
        }
    }
}

impl fmt::Debug for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("Starting"),
            Self::Ready(instance) => write!(f, "Ready({})", instance.id),
            Self::Failed { reason, permanent, attempts } => {
                write!(f, "Failed({reason:?}, permanent: {permanent}, attempts: {attempts})")
            }
            Self::Draining => f.write_str("Draining"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("the fleet is shutting down")]
    ShuttingDown,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{RETRY_AFTER_DEATH, retries_after_death};

    fn check(value: Option<&str>, wanted: Option<bool>) {
        let pair = value.map(|value| (RETRY_AFTER_DEATH.to_owned(), value.to_owned()));
        let environment: BTreeMap<_, _> = pair.into_iter().collect();
        assert_eq!(retries_after_death(&environment).ok(), wanted, "{value:?}");
    }

    #[test]
    fn a_container_may_rule_out_second_tries() {
        for value in [None, Some(""), Some("true"), Some("True"), Some("1")] {
            check(value, Some(true));
        }
        for value in [Some("false"), Some("FALSE"), Some("0")] {
            check(value, Some(false));
        }
        for value in [Some("no"), Some("flase"), Some("2")] {
            check(value, None);
        }
    }
}
