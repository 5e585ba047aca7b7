//! What the data plane reads: an immutable table of endpoints, made anew with each change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use arc_swap::{ArcSwap, Guard};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::capture::CaptureConfig;
use crate::demand::Demand;
use crate::instance::Instance;
use crate::sample::Sample;
use crate::shards::Shards;
use crate::{Region, ResourceName};

/// Makes what a table is published by, and what it is read by.
#[must_use]
pub fn channel(first: impl Into<Arc<RouteTable>>) -> (RoutesSender, Routes) {
    let newest = Arc::new(ArcSwap::new(first.into()));
    let (news, changes) = watch::channel(());
    (RoutesSender { newest: newest.clone(), news }, Routes { newest, changes })
}

/// Control makes a new table with each change.
#[derive(Debug)]
pub struct RoutesSender {
    newest: Arc<ArcSwap<RouteTable>>,
    news: watch::Sender<()>,
}

impl RoutesSender {
    /// Replaces the table.
    pub fn publish(&self, table: impl Into<Arc<RouteTable>>) {
        self.newest.store(table.into());
        self.news.send_replace(());
    }
}

/// Serving only reads the newest table, and writes nothing to do so: all threads can at once.
#[derive(Debug, Clone)]
pub struct Routes {
    newest: Arc<ArcSwap<RouteTable>>,
    changes: watch::Receiver<()>,
}

/// There will be no other table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMoreRoutes;

impl Routes {
    /// The newest table, for a look at it.
    #[must_use]
    pub fn look(&self) -> Guard<Arc<RouteTable>> {
        self.newest.load()
    }

    /// The newest table, to keep.
    #[must_use]
    pub fn newest(&self) -> Arc<RouteTable> {
        self.newest.load_full()
    }

    /// Counts the newest table as seen, so that [`Self::changed`] waits for another one.
    pub fn mark_seen(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Whether there is a table that was not seen.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changes.has_changed().unwrap_or(true)
    }

    /// Returns when there is a table that was not seen, and counts it as seen.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn changed(&mut self) -> Result<(), NoMoreRoutes> {
        self.changes.changed().await.map_err(|_| NoMoreRoutes)
    }

    /// Returns when a table is as it is wanted.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn wait_for(
        &mut self,
        is_wanted: impl Fn(&RouteTable) -> bool,
    ) -> Result<(), NoMoreRoutes> {
        loop {
            self.mark_seen(); // Before the look: no change is missed.
            if is_wanted(&self.look()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

/// All endpoints that take calls.
#[derive(Default)]
pub struct RouteTable {
    /// By region, then by name.
    regions: HashMap<Region, HashMap<ResourceName, Arc<EndpointRoute>>>,
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|route| &route.name)).finish()
    }
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
    /// Its names once more for each thread: calls count who refers to them.
    pub ids: VariantIds,
}

/// A variant's names, for each thread that asked for them.
#[derive(Debug, Default)]
pub struct VariantIds(Shards<VariantId>);

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
            ids: VariantIds::default(),
        }
    }

    /// What it weighs among all fleets of the endpoint.
    #[must_use]
    pub fn traffic(&self) -> f32 {
        self.weight * self.share
    }

    #[must_use]
    pub fn id(&self) -> VariantId {
        let copy = || VariantId { name: Arc::from(&*self.name), config: Arc::from(&*self.config) };
        self.ids.0.mine(copy).clone()
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

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    fn table(names: &[&str]) -> RouteTable {
        let mut table = RouteTable::default();
        for name in names {
            table.insert(Arc::new(EndpointRoute {
                region: Region::new("eu-west-1"),
                name: name.parse().unwrap(),
                closed: None,
                asynchronous: None,
                variants: Vec::new(),
            }));
        }
        table
    }

    fn has(table: &RouteTable, name: &str) -> bool {
        table.find(&Region::new("eu-west-1"), &name.parse().unwrap()).is_some()
    }

    #[tokio::test]
    async fn who_looks_sees_the_newest_table_and_who_waits_hears_of_it() {
        let (sender, mut routes) = channel(table(&["a"]));
        assert!(!routes.has_changed() && has(&routes.look(), "a"));
        sender.publish(table(&["b"]));
        assert!(routes.has_changed() && !has(&routes.newest(), "a"));
        assert_eq!(routes.changed().await, Ok(()), "at once");
        {
            let mut waits = pin!(routes.changed());
            let looks = poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending()));
            assert!(looks.await, "it was seen");
            sender.publish(table(&["c"]));
            assert_eq!(waits.await, Ok(()));
        }
        drop(sender);
        assert_eq!(routes.changed().await, Err(NoMoreRoutes));
        assert!(has(&routes.look(), "c"), "the last one stays");
    }

    #[tokio::test]
    async fn a_table_that_was_there_before_is_not_waited_for() {
        let (sender, mut routes) = channel(table(&["a"]));
        sender.publish(table(&["b"]));
        assert_eq!(routes.wait_for(|table| has(table, "b")).await, Ok(()));
        let late = async {
            sender.publish(table(&["c"]));
            sender.publish(table(&["d"]));
            pending::<()>().await;
        };
        tokio::select! {
            found = routes.wait_for(|table| has(table, "d")) => assert_eq!(found, Ok(())),
            () = late => {}
        }
    }

    #[test]
    fn each_thread_counts_by_names_of_its_own() {
        let route = VariantRoute::new("v", "c".into(), Vec::new());
        let here = route.id();
        assert_eq!((&*here.name, &*here.config), ("v", "c"));
        assert!(Arc::ptr_eq(&here.name, &route.id().name));
        let there = std::thread::scope(|scope| {
            let all = (0..200).map(|_| scope.spawn(|| route.id()));
            all.collect::<Vec<_>>().into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(there.iter().all(|id| *id == here));
    }
}
