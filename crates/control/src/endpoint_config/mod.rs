//! An endpoint configuration: which variants an endpoint is made of. It never changes.

pub(crate) mod api;
pub(crate) mod asynchronous;
pub(crate) mod capture;
mod metrics;
mod scaling;
mod shadow;

use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::resource::Resource;
use sagebrush_core::route::{AsyncConfig, MetricsConfig, Routing};
use serde::{Deserialize, Serialize};

pub use scaling::{Scaling, Serverless};

/// SageMaker API: `CreateEndpointConfig`.
#[derive(Debug, Clone, Copy)]
pub struct EndpointConfig;

impl Resource for EndpointConfig {
    const KIND: &'static str = "endpoint-config";
    type Spec = EndpointConfigSpec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

/// The client's half of an endpoint configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointConfigSpec {
    pub variants: Vec<ProductionVariant>,
    /// Its shadow variants: one, or none.
    #[serde(default)]
    pub shadows: Vec<ProductionVariant>,
    pub network_isolation: bool,
    #[serde(default)]
    pub asynchronous: Option<Box<AsyncConfig>>,
    #[serde(default)]
    pub capture: Option<Box<CaptureConfig>>,
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// What the configuration asks for that no endpoint here can do yet, by member name.
    pub unserved: Vec<String>,
    /// The request as it came, for `DescribeEndpointConfig`.
    pub request: serde_json::Value,
}

/// What we act on of a `ProductionVariant`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductionVariant {
    pub name: String,
    /// `None` for endpoints of inference components.
    pub model: Option<String>,
    pub instance_count: u32,
    #[serde(default)]
    pub instance_type: Option<String>,
    /// What decides how many instances there are.
    #[serde(default)]
    pub scaling: Scaling,
    pub weight: f32,
    #[serde(default)]
    pub routing: Routing,
    /// `ContainerStartupHealthCheckTimeoutInSeconds`.
    pub startup_timeout_s: Option<u64>,
    /// `ModelDataDownloadTimeoutInSeconds`.
    pub download_timeout_s: Option<u64>,
}
