//! Counts and times of calls, by variant. SageMaker's own metric names, in Prometheus' form.
//!
//! The handles of a variant are resolved once; a call costs some atomic adds then.

mod instances;
mod serverless;
mod stream;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use sagebrush_core::instance::{Batch, Instance, Left};
use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use sagebrush_core::route::{EndpointRoute, RouteTable, Routes, VariantId, VariantRoute};
use sagebrush_core::{Region, ResourceName};

use crate::error::InvokeError;
use crate::invoke::{Invoked, Target};
use crate::reply::Spent;
use instances::{InstanceMeter, InstanceMeters};
pub(crate) use stream::StreamMeter;
use stream::StreamMetrics;
use usage::Usages;

/// By region and endpoint, then for each variant; there is one without a name for calls that
/// reached none. Nested, so that a look-up needs no key of its own.
type Tree = HashMap<Region, HashMap<ResourceName, Vec<(VariantId, Arc<Meter>)>>>;

/// How many variants of an endpoint are remembered that it does not have any more.
const MOST_GONE: usize = 8;

/// What is summed up over the instances of a variant: name, help, and the number of each.
type Summed = (&'static str, &'static str, fn(&Instance) -> usize);

const GAUGES: [Summed; 4] = [
    ("sagebrush_instances", "Instances that take calls.", |_| 1),
    (
        "sagebrush_outstanding_calls",
        "Calls under way, waiting ones included.",
        Instance::outstanding,
    ),
    ("sagebrush_waiting_calls", "Calls that wait for a free worker.", Instance::waiting),
    (
        "sagebrush_open_breakers",
        "Instances that are passed over, for call after call failed.",
        |instance| usize::from(instance.breaker.is_open()),
    ),
];

/// The meters of all variants.
pub struct Meters {
    registry: Registry,
    tree: ArcSwap<Tree>,
    usage: Usages,
    /// Say whose calls are counted by instance as well.
    routes: Option<Routes>,
}

/// The metrics of one variant.
struct Meter {
    invocations: Arc<Counter>,
    errors_4xx: Arc<Counter>,
    errors_5xx: Arc<Counter>,
    model_errors: Arc<Counter>,
    no_capacity: Arc<Counter>,
    model_latency: Arc<Histogram>,
    overhead_latency: Arc<Histogram>,
    queue_time: Arc<Histogram>,
    batch_wait: Arc<Histogram>,
    pre: Arc<Histogram>,
    inference: Arc<Histogram>,
    post: Arc<Histogram>,
    batch_size: Arc<Histogram>,
    /// Batches by why they left the queue.
    left: [(Left, Arc<Counter>); 4],
    streams: OnceLock<Arc<StreamMetrics>>,
    /// Of a variant with enhanced metrics.
    instances: Option<InstanceMeters>,
}

impl Meters {
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let (tree, usage) = (ArcSwap::default(), Usages::default());
        Self { registry, tree, usage, routes: None }
    }

    /// Counts by instance as well where `routes` say so.
    #[must_use]
    pub fn enhanced(mut self, routes: Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Counts a call that a worker answered, well or not.
    pub fn invoked(&self, target: &Target, invoked: &Invoked, spent: &Spent) {
        let tree = self.tree.load();
        let new;
        let meter = match find(&tree, target, &invoked.variant) {
            Some(meter) => meter,
            None => {
                new = self.new_meter(target, &invoked.variant);
                &new
            }
        };
        meter.invocations.add(1);
        meter.model_latency.observe(spent.model_latency);
        meter.overhead_latency.observe(spent.overhead());
        meter.queue_time.observe(spent.queued);
        meter.batch_wait.observe(spent.gathered);
        if invoked.outcome.is_ok() {
            meter.pre.observe(spent.timings.pre);
            meter.inference.observe(spent.timings.model);
            meter.post.observe(spent.timings.post);
        }
        meter.batched(invoked.batch);
        let error = invoked.outcome.as_ref().err();
        if let Some(error) = error {
            meter.failed(error);
        }
        self.of_instance(meter, (target, &invoked.variant), &invoked.instance, |instance| {
            instance.count(error, Some(spent));
        });
    }

    /// Has a call counted by its instance, where that is asked for.
    fn of_instance(
        &self,
        meter: &Meter,
        (target, variant): (&Target, &VariantId),
        instance: &Instance,
        count: impl FnOnce(&InstanceMeter),
    ) {
        if let Some(instances) = &meter.instances {
            let labels = || labels(&target.region, &target.endpoint, variant);
            count(&instances.of(&instance.id, &self.registry, labels));
        }
    }

    /// Counts a call that a worker begins to answer in parts.
    pub(crate) fn streamed(
        &self,
        target: &Target,
        (variant, instance): (&VariantId, &Instance),
        spent: &Spent,
    ) -> StreamMeter {
        let meter = self.meter(target, variant);
        meter.invocations.add(1);
        self.of_instance(&meter, (target, variant), instance, |it| it.count(None, None));
        meter.queue_time.observe(spent.queued);
        let streams = meter.streams.get_or_init(|| {
            let labels = labels(&target.region, &target.endpoint, variant);
            StreamMetrics::new(&self.registry, &labels)
        });
        streams.begin(spent)
    }

    /// Counts a call that a worker was to answer in parts, and did not.
    pub(crate) fn not_streamed(
        &self,
        target: &Target,
        (variant, instance): (&VariantId, &Instance),
        error: &InvokeError,
        spent: &Spent,
    ) {
        let meter = self.meter(target, variant);
        meter.invocations.add(1);
        self.of_instance(&meter, (target, variant), instance, |it| it.count(Some(error), None));
        meter.queue_time.observe(spent.queued);
        meter.failed(error);
    }

    /// Counts a call that reached no worker. Unknown endpoints are not counted: names that
    /// strangers make up must not fill the memory.
    pub fn refused(&self, target: &Target, error: &InvokeError) {
        if let Some(variant) = error.refused_by() {
            let none = || VariantId { name: "".into(), config: "".into() };
            let meter = match variant {
                Some(variant) => self.meter(target, variant),
                None => self.meter(target, &none()),
            };
            meter.invocations.add(1);
            meter.failed(error);
            if matches!(error, InvokeError::NoCapacity { .. }) {
                meter.no_capacity.add(1);
            }
        }
    }

    /// Sets the gauges that say how things are now.
    pub fn look(&self, table: &RouteTable) {
        for (name, help, of) in GAUGES {
            let variants = table.iter().flat_map(|route| {
                route.variants.iter().map(|variant| (&route.region, &route.name, variant))
            });
            let level = |(region, endpoint, variant): (_, _, &VariantRoute)| {
                let value: usize = variant.instances.iter().map(|one| of(one)).sum();
                let labels = labels(region, endpoint, &variant.id());
                (labels, i64::try_from(value).unwrap_or(i64::MAX))
            };
            self.registry.set_gauges(name, help, variants.map(level));
        }
        self.usage.look(&self.registry, table);
        serverless::look(&self.registry, table);
    }

    /// Forgets the endpoints that are not in `table` any more, and the variants of those that are,
    /// but for the last ones: what was counted by a deployment that is rolled back is still read.
    pub fn retain(&self, table: &RouteTable) {
        self.tree.rcu(|tree| {
            let mut tree = Tree::clone(tree);
            for (region, endpoints) in &mut tree {
                endpoints.retain(|endpoint, variants| {
                    let route = table.find(region, endpoint);
                    route.inspect(|route| keep_last(variants, route)).is_some()
                });
            }
            tree.retain(|_, endpoints| !endpoints.is_empty());
            tree
        });
        let tree = self.tree.load();
        self.registry.retain(|labels| is_kept(labels, table, &tree));
    }

    fn meter(&self, target: &Target, variant: &VariantId) -> Arc<Meter> {
        let tree = self.tree.load();
        let found = find(&tree, target, variant);
        found.cloned().unwrap_or_else(|| self.new_meter(target, variant))
    }

    fn new_meter(&self, target: &Target, variant: &VariantId) -> Arc<Meter> {
        let is_enhanced = self.routes.as_ref().is_some_and(|routes| {
            let table = routes.look();
            let route = table.find(&target.region, &target.endpoint);
            let variants = route.into_iter().flat_map(|route| &route.variants);
            variants.filter(|it| it.id() == *variant).any(|it| it.metrics.is_enhanced)
        });
        let instances = is_enhanced.then(InstanceMeters::default);
        let new = Arc::new(Meter { instances, ..Meter::new(&self.registry, target, variant) });
        self.tree.rcu(|tree| {
            let mut tree = Tree::clone(tree);
            let endpoints = tree.entry(target.region.clone()).or_default();
            let variants = endpoints.entry(target.endpoint.clone()).or_default();
            variants.retain(|(id, _)| id != variant); // Another call may have been quicker.
            variants.push((variant.clone(), new.clone()));
            tree
        });
        new
    }
}

fn find<'t>(tree: &'t Tree, target: &Target, variant: &VariantId) -> Option<&'t Arc<Meter>> {
    let variants = tree.get(&target.region)?.get(&target.endpoint)?;
    variants.iter().find(|(id, _)| id == variant).map(|(_, meter)| meter)
}

/// Drops the oldest of the variants that the route does not have any more.
fn keep_last(variants: &mut Vec<(VariantId, Arc<Meter>)>, route: &EndpointRoute) {
    let is_gone = |id: &VariantId| {
        !id.name.is_empty() && !route.variants.iter().any(|variant| variant.id() == *id)
    };
    let n_gone = variants.iter().filter(|(id, _)| is_gone(id)).count();
    let mut n_to_drop = n_gone.saturating_sub(MOST_GONE);
    variants.retain(|(id, _)| {
        let drops = n_to_drop > 0 && is_gone(id);
        n_to_drop -= usize::from(drops);
        !drops
    });
    for instances in variants.iter().filter_map(|(_, meter)| meter.instances.as_ref()) {
        instances.retain(route);
    }
}

/// Whether what the labels name is there: an endpoint, and where they name a configuration, the
/// variant's meter.
fn is_kept(labels: &Labels, table: &RouteTable, tree: &Tree) -> bool {
    let [("region", region), ("endpoint", endpoint), rest @ ..] = labels.as_slice() else {
        return true;
    };
    let (region, endpoint) = (Region::new(region), endpoint.parse::<ResourceName>());
    let Ok(endpoint) = endpoint else { return false };
    let [("variant", name), ("config", config), ..] = rest else {
        return table.find(&region, &endpoint).is_some();
    };
    let variants = tree.get(&region).and_then(|endpoints| endpoints.get(&endpoint));
    let mut variants = variants.into_iter().flatten();
    let found = variants.find(|(id, _)| *id.name == **name && *id.config == **config);
    found.is_some_and(|(_, meter)| match (rest, &meter.instances) {
        ([.., ("instance", id)], Some(instances)) => instances.has(id),
        _ => true,
    })
}

pub(crate) fn labels(region: &Region, endpoint: &ResourceName, variant: &VariantId) -> Labels {
    vec![
        ("region", region.to_string()),
        ("endpoint", endpoint.to_string()),
        ("variant", variant.name.to_string()),
        ("config", variant.config.to_string()),
    ]
}

impl Meter {
    fn new(registry: &Registry, target: &Target, variant: &VariantId) -> Self {
        let labels = || labels(&target.region, &target.endpoint, variant);
        let counter = |name, help| registry.counter(name, help, labels());
        let left = |left, why: &str| {
            let labels = labels().into_iter().chain([("reason", why.to_owned())]).collect();
            let help = "Batches by why they left the queue.";
            (left, registry.counter("sagebrush_batches_total", help, labels))
        };
        let histogram = |name, help| registry.histogram(name, help, labels());
        let recorded = |what| registry.recorded(what, labels(), Duration::from_micros(1));
        Self {
            invocations: counter("sagebrush_invocations_total", "Calls of InvokeEndpoint."),
            errors_4xx: counter(
                "sagebrush_invocation_4xx_errors_total",
                "Calls that ended in a 4xx status.",
            ),
            errors_5xx: counter(
                "sagebrush_invocation_5xx_errors_total",
                "Calls that ended in a 5xx status.",
            ),
            model_errors: counter(
                "sagebrush_invocation_model_errors_total",
                "Calls that the model answered with an error, or not in time.",
            ),
            no_capacity: counter(
                "sagebrush_no_capacity_errors_total",
                "Calls for which no instance came up in time.",
            ),
            model_latency: recorded((
                "sagebrush_model_latency_seconds",
                "How long the model took over a call.",
            )),
            overhead_latency: recorded((
                "sagebrush_overhead_latency_seconds",
                "The time of a call that is not the model's.",
            )),
            queue_time: histogram(
                "sagebrush_queue_seconds",
                "How long a call waited for its turn on the worker.",
            ),
            batch_wait: histogram(
                "sagebrush_batch_wait_seconds",
                "How long a call waited for others to join its batch.",
            ),
            pre: histogram("sagebrush_pre_seconds", "From the payload to the model's input."),
            inference: histogram(
                "sagebrush_inference_seconds",
                "How long the model ran; of a batch, for all its calls.",
            ),
            post: histogram("sagebrush_post_seconds", "From the model's output to the payload."),
            batch_size: registry.sizes(
                "sagebrush_batch_size",
                "How many calls the worker answered together.",
                labels(),
            ),
            left: [
                left(Left::Idle, "idle"),
                left(Left::Freed, "freed"),
                left(Left::Full, "full"),
                left(Left::Delayed, "delayed"),
            ],
            streams: OnceLock::new(),
            instances: None,
        }
    }

    /// Counts a batch, by one of its calls.
    fn batched(&self, batch: Batch) {
        if !batch.is_first {
            return;
        }
        self.batch_size.observe_count(batch.size);
        if let Some((_, counter)) = self.left.iter().find(|(left, _)| *left == batch.left) {
            counter.add(1);
        }
    }

    fn failed(&self, error: &InvokeError) {
        if matches!(error, InvokeError::Model { .. }) {
            self.model_errors.add(1);
        }
        if is_servers(error) {
            self.errors_5xx.add(1);
        } else {
            self.errors_4xx.add(1);
        }
    }
}

/// Whether an error counts as `Invocation5XXErrors`: of a model's, its own status says so.
pub(crate) fn is_servers(error: &InvokeError) -> bool {
    if let InvokeError::Model { original_status, .. } = error {
        return !(400..500).contains(original_status); // 0: it did not answer, or not in time.
    }
    error.code().1.is_server_error()
}
