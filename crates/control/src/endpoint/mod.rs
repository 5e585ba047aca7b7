//! An endpoint: a name under which variants of models answer calls.
//!
//! ```text
//!            all ready                UpdateEndpoint
//! Creating ------------> InService ------------------> Updating
//!    |                     ^   ^                        |   |
//!    | cannot start        |   |  all steps done, or    |   | an alarm, after calls
//!    v                     |   |  none could be made    |   v went to the new fleet
//! Failed                   |   +------------------------+ RollingBack <--> UpdateRollbackFailed
//!                          |     the new fleet is gone    |
//!                          +------------------------------+
//!
//! DeleteEndpoint leads from every settled state to Deleting, and from there to nothing.
//! ```
//!
//! An update goes in steps ([`rollout`]); which one is under way, and since when, is in the record.
//!
//! A variant that scales with its calls has instances once before the endpoint is InService, and
//! then as many as `scaling` says; none is a state as good as any.
//!
//! Invariants: a deployment carries all that its fleet needs, so that deleting its model or its
//! configuration does not harm it, nor does a restart. The old fleet is drained only after the
//! routes name the new one.

mod advance;
pub(crate) mod api;
pub(crate) mod capacity;
mod deploy;
mod describe;
mod events;
mod plan;
mod probe;
mod reconcile;
mod replay;
mod retain;
pub(crate) mod rollout;
mod routes;
mod scaler;
mod scaling;
mod shadow;
mod trace;

#[cfg(test)]
mod tests;

use std::time::Duration;

use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::fleet::{
    ContainerSpec, Execution, GroupKey, GroupSpec, Owner, retries_after_death,
};
use sagebrush_core::resource::Resource;
use sagebrush_core::route::{AsyncConfig, MetricsConfig, Routing, Targets};
use sagebrush_core::worker::Resources;
use sagebrush_core::{Region, Timestamp};
use serde::{Deserialize, Serialize};

use crate::endpoint_config::Scaling;
use crate::instance_type;

pub(crate) use deploy::{redeploy, resolve, resolve_spec};
pub(crate) use describe::{shortened, status};
pub(crate) use plan::given_up;
pub use reconcile::Reconciler;
use rollout::{Rollback, Rollout, Share, Stage};
pub use scaler::IdleAfter;

/// SageMaker API: `CreateEndpoint`.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint;

impl Resource for Endpoint {
    const KIND: &'static str = "endpoint";
    type Spec = EndpointSpec;
    type Status = EndpointState;

    /// SageMaker tells endpoints apart without their case.
    fn key(name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn status_word(status: &EndpointState) -> &str {
        status.word()
    }
}

/// What the client asked for last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// What is to be deployed.
    pub wanted: Deployment,
    /// The `DeploymentConfig` that was given last, as it came.
    #[serde(default)]
    pub deployment_config: Option<serde_json::Value>,
}

/// Where an endpoint stands. Each state holds what is deployed in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum EndpointState {
    /// The first fleet is being launched; nothing answers yet.
    #[default]
    Creating,
    /// `note` says why the last update did not come about.
    InService { serving: Deployment, note: Option<String> },
    /// `serving` answers until the wanted deployment takes over, all at once or in steps.
    Updating {
        serving: Deployment,
        #[serde(default)]
        rollout: Box<Rollout>,
    },
    /// Calls go back to `serving`, and the wanted deployment's fleet goes.
    RollingBack { serving: Deployment, rollback: Box<Rollback> },
    /// The old fleet does not come back: both answer until it does.
    UpdateRollbackFailed { serving: Deployment, rollback: Box<Rollback> },
    /// Only `DeleteEndpoint` leads out of it.
    Failed { reason: String },
    /// Calls are refused; the fleet finishes what it has.
    Deleting,
}

impl EndpointState {
    /// The word of `EndpointStatus`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::InService { .. } => "InService",
            Self::Updating { .. } => "Updating",
            Self::RollingBack { .. } => "RollingBack",
            Self::UpdateRollbackFailed { .. } => "UpdateRollbackFailed",
            Self::Failed { .. } => "Failed",
            Self::Deleting => "Deleting",
        }
    }

    /// True when nothing changes just now: without a new request, or before some time is over.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self {
            Self::InService { .. } | Self::Failed { .. } | Self::UpdateRollbackFailed { .. } => {
                true
            }
            Self::Updating { rollout, .. } => !matches!(rollout.stage, Stage::Launching { .. }),
            Self::Creating | Self::RollingBack { .. } | Self::Deleting => false,
        }
    }

    /// The deployment that answers calls, or that did before the update that is under way.
    #[must_use]
    pub fn serving(&self) -> Option<&Deployment> {
        match self {
            Self::InService { serving, .. }
            | Self::Updating { serving, .. }
            | Self::RollingBack { serving, .. }
            | Self::UpdateRollbackFailed { serving, .. } => Some(serving),
            Self::Creating | Self::Failed { .. } | Self::Deleting => None,
        }
    }

    /// Why what was asked for did not come about.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            Self::InService { note, .. } => note.as_deref(),
            Self::RollingBack { rollback, .. } | Self::UpdateRollbackFailed { rollback, .. } => {
                Some(&rollback.reason)
            }
            Self::Creating | Self::Updating { .. } | Self::Deleting => None,
        }
    }

    /// The part of the calls that the fleet of `wanted` takes, while it is not the only one.
    fn share_of(&self, wanted: &Deployment) -> Share {
        match self {
            Self::Updating { serving, rollout } if serving.revision != wanted.revision => {
                rollout.share(wanted)
            }
            Self::RollingBack { serving, rollback }
            | Self::UpdateRollbackFailed { serving, rollback } => {
                rollback.policy.left(rollback.step, rollback.back, serving, wanted)
            }
            Self::Updating { .. }
            | Self::InService { .. }
            | Self::Creating
            | Self::Failed { .. }
            | Self::Deleting => Share::NONE,
        }
    }
}

/// One revision of an endpoint's fleet, resolved from its configuration and models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Never used twice by one endpoint.
    pub revision: String,
    pub config: String,
    #[serde(default)]
    pub asynchronous: Option<Box<AsyncConfig>>,
    #[serde(default)]
    pub capture: Option<Box<CaptureConfig>>,
    #[serde(default)]
    pub metrics: MetricsConfig,
    pub variants: Vec<DeployedVariant>,
    /// They get copies of calls, and answer nobody.
    #[serde(default)]
    pub shadows: Vec<DeployedVariant>,
}

/// A production variant with its model resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedVariant {
    pub name: String,
    pub weight: f32,
    /// How many instances it has that does not scale.
    pub instance_count: u32,
    #[serde(default)]
    pub scaling: Scaling,
    #[serde(default)]
    pub instance_type: Option<String>,
    pub containers: Vec<ContainerSpec>,
    /// How the containers answer together.
    #[serde(default)]
    pub execution: Execution,
    #[serde(default)]
    pub routing: Routing,
    pub network_isolation: bool,
    pub startup_timeout: Duration,
    pub download_timeout: Duration,
    pub resolved_at: Timestamp,
}

impl DeployedVariant {
    /// What a call of this variant must name.
    #[must_use]
    pub fn targets(&self) -> Targets {
        Targets {
            model: self.containers.iter().any(|container| container.multi_model.is_some()),
            container: self.execution == Execution::Direct,
        }
    }

    /// Whether a call that a worker had when it died may be tried once more. In a series it goes
    /// through all containers again, so each must allow it. A value that cannot be read never
    /// gets as far as here: its container is not launched.
    #[must_use]
    pub fn retries_after_death(&self) -> bool {
        let mut environments = self.containers.iter().map(|container| &container.environment);
        environments.all(|environment| retries_after_death(environment).unwrap_or(false))
    }

    /// How many instances must be ready before it takes calls. One at least: a model that does not
    /// start is to be found out then, even if there are to be none afterwards.
    #[must_use]
    pub fn first_count(&self) -> u32 {
        match self.scaling {
            Scaling::Fixed => self.instance_count,
            Scaling::Serverless(_) => 1,
            Scaling::Managed { min, .. } => min.max(1),
        }
    }

    fn resources(&self) -> Resources {
        match self.scaling {
            Scaling::Serverless(serverless) => serverless.resources(),
            Scaling::Fixed | Scaling::Managed { .. } => {
                instance_type::resources(self.instance_type.as_deref())
            }
        }
    }
}

impl Deployment {
    /// The groups of instances that make up this deployment of `endpoint`, each as large as it is
    /// first.
    #[must_use]
    pub fn groups(&self, region: &Region, endpoint: &str) -> Vec<GroupSpec> {
        let group = |variant: &DeployedVariant| GroupSpec {
            key: self.key(region, endpoint, &variant.name),
            instance_count: variant.first_count(),
            containers: variant.containers.clone(),
            startup_timeout: variant.startup_timeout,
            download_timeout: variant.download_timeout,
            network_isolation: variant.network_isolation,
            execution: variant.execution,
            resources: variant.resources(),
        };
        self.all_variants().map(group).collect()
    }

    #[must_use]
    pub fn key(&self, region: &Region, endpoint: &str, variant: &str) -> GroupKey {
        GroupKey {
            owner: Owner::Endpoint,
            region: region.clone(),
            name: endpoint.to_owned(),
            variant: variant.to_owned(),
            revision: self.revision.clone(),
        }
    }
}
