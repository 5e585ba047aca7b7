//! What became of captured calls, in numbers.

use std::sync::{Arc, Mutex, PoisonError};

use sagebrush_core::cloudwatch::{MetricDatum, MetricId, Metrics};
use sagebrush_core::metrics::{Counter, Labels, Registry};
use sagebrush_core::sketch::Sketch;
use sagebrush_core::{Clock, Timestamp};

use super::Place;

/// Why a call was not captured that should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// More are being captured than can be written.
    Full,
    /// The disk is nearly full.
    Disk,
    /// Its object could not be stored.
    Put,
    /// Its reply came in parts that are too long together.
    Long,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disk => "disk",
            Self::Put => "put",
            Self::Long => "long",
        }
    }
}

/// Counts what is dropped, for Prometheus at once and for CloudWatch from time to time.
pub(super) struct Tally {
    registry: Registry,
    metrics: Arc<dyn Metrics>,
    clock: Arc<dyn Clock>,
    /// Those of the last few seconds.
    dropped: Mutex<Vec<Dropped>>,
}

struct Dropped {
    place: Place,
    why: Why,
    total: Arc<Counter>,
    n: u64,
}

impl Tally {
    pub(super) fn new(
        registry: Registry,
        metrics: Arc<dyn Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { registry, metrics, clock, dropped: Mutex::default() }
    }

    /// Counts `n` calls of one place.
    pub(super) fn dropped(&self, place: &Place, why: Why, n: u64) {
        let mut all = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter_mut().find(|one| one.why == why && one.place == *place);
        if let Some(known) = known {
            known.n += n;
            known.total.add(n);
            return;
        }
        let mut labels = labels(place);
        labels.push(("reason", why.word().to_owned()));
        let help = "Calls that were to be captured, and were not.";
        let total = self.registry.counter("sagebrush_capture_dropped_total", help, labels);
        total.add(n);
        all.push(Dropped { place: place.clone(), why, total, n });
    }

    /// Counts calls whose object is stored.
    pub(super) fn captured(&self, place: &Place, n: u64) {
        let help = "Calls that were captured.";
        self.registry.counter("sagebrush_captured_total", help, labels(place)).add(n);
    }

    /// Tells CloudWatch what was dropped since it was told last.
    pub(super) fn report(&self) {
        let dropped = {
            let mut all = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        let now = self.clock.now();
        for one in dropped {
            self.metrics.put(&one.place.region, vec![datum(&one, now)]);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
fn datum(dropped: &Dropped, at: Timestamp) -> MetricDatum {
    let Place { endpoint, variant, .. } = &dropped.place;
    let dimensions = [
        ("EndpointName".into(), endpoint.as_str().into()),
        ("VariantName".into(), variant.as_str().into()),
    ];
    MetricDatum {
        metric: MetricId::new("AWS/SageMaker", "DataCaptureDropped", dimensions),
        unit: "Count".into(),
        at,
        values: Sketch::of(dropped.n as f64),
        high_resolution: false,
    }
}

fn labels(place: &Place) -> Labels {
    vec![
        ("region", place.region.to_string()),
        ("endpoint", place.endpoint.to_string()),
        ("variant", place.variant.clone()),
    ]
}
