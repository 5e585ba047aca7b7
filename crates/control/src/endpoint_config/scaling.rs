//! How the instances of a variant come and go.

use sagebrush_core::demand::Terms;
use sagebrush_core::worker::{Concurrency, Resources};
use serde::{Deserialize, Serialize};

/// SageMaker: the payload of a serverless endpoint has at most 4 MB, each way.
const SERVERLESS_PAYLOAD: usize = 4 << 20;

/// What decides how many instances a variant has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scaling {
    /// `InitialInstanceCount`.
    #[default]
    Fixed,
    /// Its calls, within `ServerlessConfig`.
    Serverless(Serverless),
    /// Its calls, within `ManagedInstanceScaling`.
    Managed { min: u32, max: u32 },
}

/// SageMaker API: `ServerlessConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serverless {
    /// `MemorySizeInMB`.
    pub memory_mb: u32,
    /// `MaxConcurrency`.
    pub max_concurrency: u32,
    /// `ProvisionedConcurrency`, 0 without.
    pub provisioned: u32,
}

impl Scaling {
    /// What calls are held to; `None` if they are not counted.
    #[must_use]
    pub(crate) fn terms(&self) -> Option<Terms> {
        match self {
            Self::Fixed => None,
            Self::Managed { .. } => Some(Terms::default()),
            Self::Serverless(serverless) => Some(Terms {
                max_calls: Some(serverless.max_concurrency as usize),
                max_payload: Some(SERVERLESS_PAYLOAD),
                provisioned: serverless.provisioned as usize,
            }),
        }
    }
}

impl Serverless {
    /// What a worker gets. SageMaker gives cores in proportion to the memory, and does not say how
    /// many; one a gigabyte here.
    #[must_use]
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            cpus: (self.memory_mb as usize / 1024).max(1),
            memory_bytes: u64::from(self.memory_mb) << 20,
            concurrency: Some(Concurrency {
                warm: self.provisioned as usize,
                most: self.max_concurrency as usize,
            }),
        }
    }
}
