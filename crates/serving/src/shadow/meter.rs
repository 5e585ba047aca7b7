//! What came of copied calls, in numbers: for Prometheus at once, for CloudWatch from time to time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::cloudwatch::{MetricDatum, MetricId, Metrics};
use sagebrush_core::metrics::{Counter, Histogram, Labels, Registry};
use sagebrush_core::sketch::Sketch;
use sagebrush_core::{Clock, Region, ResourceName, Timestamp};

use super::compare::Comparison;

/// No metric of AWS says what these say.
const NAMESPACE: &str = "sagebrush/Shadow";

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
        shadow: Duration,
    },
    /// The shadow variant failed where the production variant did not.
    Failed,
    Dropped(Why),
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
            Copied::Failed => {
                self.copies.add(1);
                self.errors.add(1);
                self.told.errors.add(1.0, 1.0);
            }
            Copied::Answered { comparison, production, shadow } => {
                self.copies.add(1);
                self.latency.observe(*shadow);
                self.agreements.add(u64::from(comparison.agrees));
                if let Some(distance) = comparison.distance {
                    self.absolute.observe(as_duration(distance.mean_absolute));
                    self.relative.observe(as_duration(distance.max_relative));
                }
                self.told.answered(comparison, *production, *shadow);
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
        let micros = |it: Duration| it.as_secs_f64() * 1e6;
        self.agreement.add(f64::from(u8::from(comparison.agrees)), 1.0);
        self.errors.add(0.0, 1.0);
        self.latency_difference.add(micros(shadow) - micros(production), 1.0);
        if let Some(distance) = comparison.distance {
            self.distance.add(distance.mean_absolute, 1.0);
            self.relative.add(distance.max_relative, 1.0);
        }
    }

    fn data(self, pair: &Pair, at: Timestamp) -> Vec<MetricDatum> {
        let dimensions = [
            ("EndpointName", pair.endpoint.as_str()),
            ("VariantName", pair.variant.as_str()),
            ("ShadowVariantName", pair.shadow.as_str()),
        ];
        let datum = |(name, unit, values): (&str, &str, Sketch)| MetricDatum {
            metric: MetricId::new(
                NAMESPACE,
                name,
                dimensions.map(|(name, value)| (name.into(), value.into())),
            ),
            unit: unit.into(),
            at,
            values,
            high_resolution: false,
        };
        let all = [
            ("Agreement", "None", self.agreement),
            ("NumericDistance", "None", self.distance),
            ("NumericRelativeDistance", "None", self.relative),
            ("LatencyDifference", "Microseconds", self.latency_difference),
            ("ShadowErrors", "Count", self.errors),
        ];
        all.into_iter().filter(|(_, _, values)| !values.is_empty()).map(datum).collect()
    }
}

fn labels(pair: &Pair) -> Labels {
    vec![
        ("region", pair.region.to_string()),
        ("endpoint", pair.endpoint.to_string()),
        ("variant", pair.variant.clone()),
        ("shadow_variant", pair.shadow.clone()),
    ]
}
