//! What came of copied calls, in numbers: for Prometheus at once, for CloudWatch from time to time.
//!
//! SageMaker's metrics of the shadow variant are put here, so that nothing that counts the calls of
//! clients ever adds them up with copies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::cloudwatch::{MetricDatum, MetricId, Metrics};
use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use sagebrush_core::sketch::Sketch;
use sagebrush_core::{Clock, Region, ResourceName, Timestamp};

use super::compare::Comparison;
use crate::error::InvokeError;
use crate::meter::is_servers;
use crate::reply::Spent;

/// No metric of AWS says what these say.
const NAMESPACE: &str = "sagebrush/Shadow";
/// Where SageMaker's are of a variant's calls.
const SAGEMAKER: &str = "AWS/SageMaker";

/// Whose copies they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) region: Region,
    pub(super) endpoint: ResourceName,
    pub(super) variant: String,
    pub(super) shadow: String,
}

/// What came of one copy.
pub(super) enum Copied {
    Answered {
        comparison: Comparison,
        production: Duration,
        asked: Asked,
    },
    /// The shadow variant failed where the production variant did not.
    Failed {
        error: InvokeError,
        asked: Asked,
    },
    Dropped(Why),
}

/// How a shadow variant was asked.
pub(super) struct Asked {
    pub(super) spent: Spent,
    /// How many instances it had.
    pub(super) n_instances: usize,
}

/// Why a copy was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Too many are under way.
    Full,
    /// The shadow variant has no instance that takes calls.
    NoInstance,
}

pub(super) struct ShadowMeters {
    registry: Registry,
    metrics: Arc<dyn Metrics>,
    clock: Arc<dyn Clock>,
    /// Those of the last second.
    meters: Mutex<HashMap<Pair, Meter>>,
}

struct Meter {
    copies: Arc<Counter>,
    agreements: Arc<Counter>,
    errors: Arc<Counter>,
    full: Arc<Counter>,
    no_instance: Arc<Counter>,
    latency: Arc<Histogram>,
    absolute: Arc<Histogram>,
    relative: Arc<Histogram>,
    /// What CloudWatch was not yet told.
    told: Told,
}

#[derive(Default)]
struct Told {
    agreement: Sketch,
    distance: Sketch,
    relative: Sketch,
    latency_difference: Sketch,
    errors: Sketch,
    calls: Calls,
}

/// SageMaker's metrics of calls, by their names.
#[derive(Default)]
struct Calls {
    invocations: Sketch,
    errors_4xx: Sketch,
    errors_5xx: Sketch,
    model_errors: Sketch,
    per_instance: Sketch,
    model_latency: Sketch,
    overhead_latency: Sketch,
}

impl ShadowMeters {
    pub(super) fn new(
        registry: Registry,
        metrics: Arc<dyn Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { registry, metrics, clock, meters: Mutex::default() }
    }

    pub(super) fn count(&self, pair: Pair, copied: &Copied) {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let new = |pair: &Pair| Meter::new(&self.registry, pair);
        meters.entry(pair).or_insert_with_key(new).count(copied);
    }

    /// Tells CloudWatch what came of copies since it was told last.
    pub(super) fn report(&self) {
        let meters = {
            let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *meters)
        };
        let now = self.clock.now();
        for (pair, meter) in meters {
            self.metrics.put(&pair.region, meter.told.data(&pair, now));
        }
    }
}

impl Meter {
    fn new(registry: &Registry, pair: &Pair) -> Self {
        let labels = || labels(pair);
        let counter = |name, help| registry.counter(name, help, labels());
        let histogram = |name, help| registry.histogram(name, help, labels());
        let dropped = |why: &str| {
            let labels = labels().into_iter().chain([("reason", why.to_owned())]).collect();
            let help = "Copies that the shadow variant did not get.";
            registry.counter("sagebrush_shadow_dropped_total", help, labels)
        };
        Self {
            copies: counter(
                "sagebrush_shadow_copies_total",
                "Copies that the shadow variant answered, well or not.",
            ),
            agreements: counter(
                "sagebrush_shadow_agreements_total",
                "Copies whose answer says the same as the production variant's.",
            ),
            errors: counter(
                "sagebrush_shadow_errors_total",
                "Copies that the shadow variant failed.",
            ),
            full: dropped("full"),
            no_instance: dropped("no_instance"),
            latency: histogram(
                "sagebrush_shadow_model_latency_seconds",
                "How long the shadow variant's model took over a copy.",
            ),
            absolute: histogram(
                "sagebrush_shadow_absolute_difference",
                "The mean absolute difference of the numbers of two answers.",
            ),
            relative: histogram(
                "sagebrush_shadow_relative_difference",
                "The greatest relative difference of the numbers of two answers.",
            ),
            told: Told::default(),
        }
    }

    fn count(&mut self, copied: &Copied) {
        match copied {
            Copied::Dropped(Why::Full) => self.full.add(1),
            Copied::Dropped(Why::NoInstance) => self.no_instance.add(1),
            Copied::Failed { error, asked } => {
                self.copies.add(1);
                self.errors.add(1);
                self.told.errors.add(1.0, 1.0);
                self.told.calls.add(asked, Some(error));
            }
            Copied::Answered { comparison, production, asked } => {
                let shadow = asked.spent.model_latency;
                self.copies.add(1);
                self.latency.observe(shadow);
                self.told.calls.add(asked, None);
                self.agreements.add(u64::from(comparison.agrees));
                if let Some(distance) = comparison.distance {
                    self.absolute.observe(as_duration(distance.mean_absolute));
                    self.relative.observe(as_duration(distance.max_relative));
                }
                self.told.answered(comparison, *production, shadow);
            }
        }
    }
}

/// Histograms are of seconds: a difference of one counts as one.
fn as_duration(difference: f64) -> Duration {
    Duration::try_from_secs_f64(difference).unwrap_or(Duration::MAX)
}

impl Told {
    fn answered(&mut self, comparison: &Comparison, production: Duration, shadow: Duration) {
        self.agreement.add(f64::from(u8::from(comparison.agrees)), 1.0);
        self.errors.add(0.0, 1.0);
        self.latency_difference.add(micros(shadow) - micros(production), 1.0);
        if let Some(distance) = comparison.distance {
            self.distance.add(distance.mean_absolute, 1.0);
            self.relative.add(distance.max_relative, 1.0);
        }
    }

    fn data(self, pair: &Pair, at: Timestamp) -> Vec<MetricDatum> {
        let compared = [
            ("Agreement", "None", self.agreement),
            ("NumericDistance", "None", self.distance),
            ("NumericRelativeDistance", "None", self.relative),
            ("LatencyDifference", "Microseconds", self.latency_difference),
            ("ShadowErrors", "Count", self.errors),
        ];
        let endpoint = ("EndpointName", pair.endpoint.as_str());
        let both = [
            endpoint,
            ("VariantName", pair.variant.as_str()),
            ("ShadowVariantName", pair.shadow.as_str()),
        ];
        let alone = [endpoint, ("VariantName", pair.shadow.as_str())];
        let compared = compared.into_iter().map(|value| datum(NAMESPACE, &both, value, at));
        let calls = self.calls.named().into_iter().map(|value| MetricDatum {
            high_resolution: true, // As those of production variants.
            ..datum(SAGEMAKER, &alone, value, at)
        });
        compared.chain(calls).filter(|datum| !datum.values.is_empty()).collect()
    }
}

impl Calls {
    fn add(&mut self, asked: &Asked, error: Option<&InvokeError>) {
        let one_if = |it: bool| f64::from(u8::from(it));
        let n_instances = u32::try_from(asked.n_instances).unwrap_or(u32::MAX).max(1);
        self.invocations.add(1.0, 1.0);
        self.per_instance.add(1.0 / f64::from(n_instances), 1.0);
        self.errors_4xx.add(one_if(error.is_some_and(|error| !is_servers(error))), 1.0);
        self.errors_5xx.add(one_if(error.is_some_and(is_servers)), 1.0);
        let is_models = error.is_some_and(|error| matches!(error, InvokeError::Model { .. }));
        self.model_errors.add(one_if(is_models), 1.0);
        self.model_latency.add(micros(asked.spent.model_latency), 1.0);
        self.overhead_latency.add(micros(asked.spent.overhead()), 1.0);
    }

    fn named(self) -> [(&'static str, &'static str, Sketch); 7] {
        [
            ("Invocations", "None", self.invocations),
            ("InvocationsPerInstance", "None", self.per_instance),
            ("Invocation4XXErrors", "None", self.errors_4xx),
            ("Invocation5XXErrors", "None", self.errors_5xx),
            ("InvocationModelErrors", "None", self.model_errors),
            ("ModelLatency", "Microseconds", self.model_latency),
            ("OverheadLatency", "Microseconds", self.overhead_latency),
        ]
    }
}

fn micros(it: Duration) -> f64 {
    it.as_secs_f64() * 1e6
}

fn datum(
    namespace: &str,
    dimensions: &[(&str, &str)],
    (name, unit, values): (&str, &str, Sketch),
    at: Timestamp,
) -> MetricDatum {
    let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let metric = MetricId::new(namespace, name, dimensions);
    MetricDatum { metric, unit: unit.into(), at, values, high_resolution: false }
}

fn labels(pair: &Pair) -> Labels {
    vec![
        ("region", pair.region.to_string()),
        ("endpoint", pair.endpoint.to_string()),
        ("variant", pair.variant.clone()),
        ("shadow_variant", pair.shadow.clone()),
    ]
}
