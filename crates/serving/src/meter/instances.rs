//! Calls by instance, of variants with enhanced metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use sagebrush_core::route::EndpointRoute;

use super::{MOST_GONE, is_servers};
use crate::error::InvokeError;
use crate::reply::Spent;

/// The meters of a variant's instances by their ids, the oldest first.
#[derive(Default)]
pub(super) struct InstanceMeters(ArcSwap<Vec<(String, Arc<InstanceMeter>)>>);

/// The metrics of one instance.
pub(super) struct InstanceMeter {
    invocations: Arc<Counter>,
    errors_4xx: Arc<Counter>,
    errors_5xx: Arc<Counter>,
    model_errors: Arc<Counter>,
    model_latency: Arc<Histogram>,
    overhead_latency: Arc<Histogram>,
}

impl InstanceMeters {
    /// The meter of the instance `id`, made when it is first called; `labels` are the variant's.
    pub(super) fn of(
        &self,
        id: &str,
        registry: &Registry,
        labels: impl Fn() -> Labels,
    ) -> Arc<InstanceMeter> {
        if let Some((_, meter)) = self.0.load().iter().find(|(known, _)| known == id) {
            return meter.clone();
        }
        let labels = || labels().into_iter().chain([("instance", id.to_owned())]).collect();
        let new = Arc::new(InstanceMeter::new(registry, labels));
        self.0.rcu(|meters| {
            let others = meters.iter().filter(|(known, _)| known != id).cloned();
            others.chain([(id.to_owned(), new.clone())]).collect::<Vec<_>>()
        });
        new
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.load().iter().any(|(known, _)| known == id)
    }

    /// Forgets the instances that the route does not have any more, but for the last ones: what
    /// they counted is still read.
    pub(super) fn retain(&self, route: &EndpointRoute) {
        let instances = route.variants.iter().flat_map(|variant| &variant.instances);
        let there: HashSet<&str> = instances.map(|instance| instance.id.as_str()).collect();
        let meters = self.0.load();
        let n_gone = meters.iter().filter(|(id, _)| !there.contains(id.as_str())).count();
        if n_gone <= MOST_GONE {
            return;
        }
        self.0.rcu(|meters| {
            let mut n_to_drop = n_gone - MOST_GONE;
            let kept = meters.iter().filter(|(id, _)| {
                let drops = n_to_drop > 0 && !there.contains(id.as_str());
                n_to_drop -= usize::from(drops);
                !drops
            });
            kept.cloned().collect::<Vec<_>>()
        });
    }
}

impl InstanceMeter {
    fn new(registry: &Registry, labels: impl Fn() -> Labels) -> Self {
        let counter = |name, help| registry.counter(name, help, labels());
        let recorded =
            |name, help| registry.recorded((name, help), labels(), Duration::from_micros(1));
        Self {
            invocations: counter(
                "sagebrush_instance_invocations_total",
                "Calls that an instance answered, well or not.",
            ),
            errors_4xx: counter(
                "sagebrush_instance_invocation_4xx_errors_total",
                "Calls of an instance that ended in a 4xx status.",
            ),
            errors_5xx: counter(
                "sagebrush_instance_invocation_5xx_errors_total",
                "Calls of an instance that ended in a 5xx status.",
            ),
            model_errors: counter(
                "sagebrush_instance_invocation_model_errors_total",
                "Calls of an instance that the model answered with an error, or not in time.",
            ),
            model_latency: recorded(
                "sagebrush_instance_model_latency_seconds",
                "How long the model of an instance took over a call.",
            ),
            overhead_latency: recorded(
                "sagebrush_instance_overhead_latency_seconds",
                "The time of a call of an instance that is not the model's.",
            ),
        }
    }

    /// Counts a call; `spent` of one that was not answered in parts.
    pub(super) fn count(&self, error: Option<&InvokeError>, spent: Option<&Spent>) {
        self.invocations.add(1);
        if let Some(spent) = spent {
            self.model_latency.observe(spent.model_latency);
            self.overhead_latency.observe(spent.overhead());
        }
        let Some(error) = error else { return };
        let errors = if is_servers(error) { &self.errors_5xx } else { &self.errors_4xx };
        errors.add(1);
        if matches!(error, InvokeError::Model { .. }) {
            self.model_errors.add(1);
        }
    }
}
