//! What the data plane reads: an immutable table of endpoints, made anew with each change.

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::capture::CaptureConfig;
use crate::demand::Demand;
use crate::instance::Instance;
use crate::sample::Sample;
use crate::{Region, ResourceName};

/// Control makes a new table with each change; serving only reads the newest.
pub type Routes = watch::Receiver<Arc<RouteTable>>;

/// All endpoints that take calls.
#[derive(Default)]
pub struct RouteTable {
    /// By region, then by name.
    regions: HashMap<Region, HashMap<ResourceName, Arc<EndpointRoute>>>,
}

impl RouteTable {
    /// The route of an endpoint; the name's case counts, as in `InvokeEndpoint`.
    #[must_use]
    pub fn find(&self, region: &Region, name: &ResourceName) -> Option<&Arc<EndpointRoute>> {
        self.regions.get(region)?.get(name)
    }

    pub fn insert(&mut self, route: Arc<EndpointRoute>) {
        let region = self.regions.entry(route.region.clone()).or_default();
        region.insert(route.name.clone(), route);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<EndpointRoute>> {
        self.regions.values().flat_map(HashMap::values)
    }
}

/// What serving knows of an endpoint.
pub struct EndpointRoute {
    pub region: Region,
    pub name: ResourceName,
    /// `None` while calls are taken; else the status that says why not: `Creating`.
    pub closed: Option<&'static str>,
    /// With it the endpoint takes asynchronous calls and no others.
    pub asynchronous: Option<Arc<AsyncConfig>>,
    /// In a deployment that goes step by step, a variant is here once for each of its fleets.
    pub variants: Vec<VariantRoute>,
}

impl EndpointRoute {
    /// Its variants, each followed by its shadow.
    pub fn all_variants(&self) -> impl Iterator<Item = &VariantRoute> {
        self.variants.iter().flat_map(|variant| {
            let shadow = variant.shadow.as_deref().map(|shadow| &shadow.variant);
            iter::once(variant).chain(shadow)
        })
    }
}

/// SageMaker API: `MetricsConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsConfig {
    /// `EnableEnhancedMetrics`: metrics by instance as well.
    pub is_enhanced: bool,
    /// `MetricPublishFrequencyInSeconds`: how often it is told what instances take.
    pub publish_each: Duration,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { is_enhanced: false, publish_each: Duration::from_secs(10) }
    }
}

/// SageMaker API: `AsyncInferenceConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncConfig {
    /// `S3OutputPath`.
    pub output_path: String,
    /// `S3FailurePath`.
    pub failure_path: Option<String>,
    /// `MaxConcurrentInvocationsPerInstance`.
    pub max_concurrent_per_instance: Option<u32>,
    /// `SuccessTopic`, an ARN.
    pub success_topic: Option<String>,
    /// `ErrorTopic`, an ARN.
    pub error_topic: Option<String>,
    /// `IncludeInferenceResponseIn`, for either topic.
    pub success_has_response: bool,
    pub error_has_response: bool,
    /// `ExecutionRoleArn` of the model, once it is deployed: what inputs are read by.
    #[serde(default)]
    pub role_arn: Option<String>,
}

/// A share of an endpoint's traffic with its instances.
pub struct VariantRoute {
    pub name: Arc<str>,
    /// The name of the configuration that it is deployed by.
    pub config: Arc<str>,
    pub weight: f32,
    /// The part of the variant's calls that this fleet of it takes, `0.0..=1.0`.
    pub share: f32,
    pub targets: Targets,
    pub routing: Routing,
    /// Whether a call that a worker had when it died may be tried once more.
    pub retries_after_death: bool,
    /// Of a variant that scales with its calls: where they are counted.
    pub demand: Option<Arc<Demand>>,
    /// Of a variant whose calls are captured: how.
    pub capture: Option<Arc<CaptureConfig>>,
    /// Of a production variant whose calls are copied: to what.
    pub shadow: Option<Arc<ShadowRoute>>,
    /// Of a variant whose successor is tried with what it answered: where that is kept.
    pub sample: Option<Arc<Sample>>,
    /// It is to have no instance, and none is on its way: no call waits for one.
    pub is_resting: bool,
    pub metrics: MetricsConfig,
    pub instances: Vec<Arc<Instance>>,
}

impl VariantRoute {
    /// A variant that takes its calls by one fleet, in the ordinary way.
    #[must_use]
    pub fn new(name: &str, config: Arc<str>, instances: Vec<Arc<Instance>>) -> Self {
        Self {
            name: name.into(),
            config,
            weight: 1.0,
            share: 1.0,
            targets: Targets::default(),
            routing: Routing::default(),
            retries_after_death: true,
            demand: None,
            capture: None,
            shadow: None,
            sample: None,
            is_resting: false,
            metrics: MetricsConfig::default(),
            instances,
        }
    }

    /// What it weighs among all fleets of the endpoint.
    #[must_use]
    pub fn traffic(&self) -> f32 {
        self.weight * self.share
    }

    #[must_use]
    pub fn id(&self) -> VariantId {
        VariantId { name: self.name.clone(), config: self.config.clone() }
    }
}

/// What calls are counted by: a variant, as one configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariantId {
    pub name: Arc<str>,
    pub config: Arc<str>,
}

/// A variant that gets copies of calls, and whose answers nobody gets.
pub struct ShadowRoute {
    /// The part of the calls that is copied, `0.0..=1.0`.
    pub share: f32,
    pub variant: VariantRoute,
}

/// How a call gets to one of a variant's instances. SageMaker API: `RoutingStrategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routing {
    /// To the one with the fewest calls under way.
    #[default]
    LeastOutstandingRequests,
    Random,
}

/// What a call must name beside its endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Targets {
    /// `TargetModel`: the variant has a multi-model container.
    pub model: bool,
    /// `TargetContainerHostname`: its containers are called directly.
    pub container: bool,
}
