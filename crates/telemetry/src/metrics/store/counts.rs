//! What the server tells of the store itself.

use std::sync::Arc;

use sagebrush_core::metrics::{Counter, Gauge, Registry};

pub(super) struct Counts {
    series: Arc<Gauge>,
    pub(super) beyond_series: Arc<Counter>,
    pub(super) beyond_bytes: Arc<Counter>,
    pub(super) failed_writes: Arc<Counter>,
}

impl Counts {
    pub(super) fn new(registry: &Registry) -> Self {
        let dropped = |reason: &str| {
            let labels = vec![("reason", reason.to_owned())];
            let help = "Values of metrics that there was no room for.";
            registry.counter("sagebrush_metrics_dropped_total", help, labels)
        };
        let help = "Metrics that are kept, each of their units counting.";
        let failures = "Writes of metrics that failed, to be tried again.";
        Self {
            series: registry.gauge("sagebrush_metrics_series", help, Vec::new()),
            beyond_series: dropped("series"),
            beyond_bytes: dropped("memory"),
            failed_writes: registry.counter(
                "sagebrush_metrics_failed_writes_total",
                failures,
                Vec::new(),
            ),
        }
    }

    pub(super) fn set_series(&self, n_series: usize) {
        self.series.set(i64::try_from(n_series).unwrap_or(i64::MAX));
    }
}
