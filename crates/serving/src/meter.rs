//! Counts and times of calls, by variant. SageMaker's own metric names, in Prometheus' form.
//!
//! The handles of a variant are resolved once; a call costs some atomic adds then.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use sagebrush_core::route::RouteTable;

use crate::error::InvokeError;
use crate::invoke::{Invoked, Target};
use crate::reply::Spent;

/// Region, endpoint, variant; the variant is empty for calls that reached none.
type Key = (String, String, String);

/// The meters of all variants.
pub struct Meters {
    registry: Registry,
    by_variant: ArcSwap<HashMap<Key, Arc<Meter>>>,
}

/// The metrics of one variant.
struct Meter {
    invocations: Arc<Counter>,
    errors_4xx: Arc<Counter>,
    errors_5xx: Arc<Counter>,
    model_errors: Arc<Counter>,
    model_latency: Arc<Histogram>,
    overhead_latency: Arc<Histogram>,
    queue_time: Arc<Histogram>,
}

impl Meters {
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, by_variant: ArcSwap::default() }
    }

    /// Counts a call that a worker answered, well or not.
    pub fn invoked(&self, target: &Target, invoked: &Invoked, spent: &Spent) {
        let meter = self.meter(target, &invoked.variant);
        meter.invocations.add(1);
        meter.model_latency.observe(spent.model_latency);
        meter.overhead_latency.observe(spent.overhead());
        meter.queue_time.observe(spent.queued);
        if let Err(error) = &invoked.outcome {
            meter.failed(error);
        }
    }

    /// Counts a call that reached no worker. Unknown endpoints are not counted: names that
    /// strangers make up must not fill the memory.
    pub fn refused(&self, target: &Target, error: &InvokeError) {
        if matches!(error, InvokeError::NoCapacity { .. } | InvokeError::Overloaded { .. }) {
            let meter = self.meter(target, "");
            meter.invocations.add(1);
            meter.failed(error);
        }
    }

    /// Forgets the endpoints that are not in `table` any more.
    pub fn retain(&self, table: &RouteTable) {
        let mut known: Vec<(&str, &str)> =
            table.iter().map(|route| (route.region.as_str(), route.name.as_str())).collect();
        known.sort_unstable();
        let is_known =
            |region: &str, endpoint: &str| known.binary_search(&(region, endpoint)).is_ok();
        self.by_variant.rcu(|meters| {
            let kept =
                meters.iter().filter(|((region, endpoint, _), _)| is_known(region, endpoint));
            kept.map(|(key, meter)| (key.clone(), meter.clone())).collect::<HashMap<_, _>>()
        });
        self.registry.retain(|labels| match labels.as_slice() {
            [("region", region), ("endpoint", endpoint), ..] => is_known(region, endpoint),
            _ => true,
        });
    }

    fn meter(&self, target: &Target, variant: &str) -> Arc<Meter> {
        let key: Key = (target.region.to_string(), target.endpoint.to_string(), variant.to_owned());
        if let Some(meter) = self.by_variant.load().get(&key) {
            return meter.clone();
        }
        let new = Arc::new(Meter::new(&self.registry, &key));
        self.by_variant.rcu(|meters| {
            let mut meters = HashMap::clone(meters);
            meters.insert(key.clone(), new.clone());
            meters
        });
        new
    }
}

impl Meter {
    fn new(registry: &Registry, (region, endpoint, variant): &Key) -> Self {
        let labels = || -> Labels {
            vec![
                ("region", region.clone()),
                ("endpoint", endpoint.clone()),
                ("variant", variant.clone()),
            ]
        };
        let counter = |name, help| registry.counter(name, help, labels());
        let histogram = |name, help| registry.histogram(name, help, labels());
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
            model_latency: histogram(
                "sagebrush_model_latency_seconds",
                "How long the model took over a call.",
            ),
            overhead_latency: histogram(
                "sagebrush_overhead_latency_seconds",
                "The time of a call that is not the model's.",
            ),
            queue_time: histogram(
                "sagebrush_queue_seconds",
                "How long a call waited for its turn on the worker.",
            ),
        }
    }

    fn failed(&self, error: &InvokeError) {
        let (_, status) = error.code();
        if matches!(error, InvokeError::Model { .. }) {
            self.model_errors.add(1);
        }
        if status.is_server_error() {
            self.errors_5xx.add(1);
        } else {
            self.errors_4xx.add(1);
        }
    }
}
