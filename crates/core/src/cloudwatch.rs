//! Metrics as CloudWatch has them: what is put, and what is read of them.

mod math;
mod statistic;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::math::{Asked, DataQuery, MetricMath, Series};
pub use self::statistic::{Bounds, Statistic, UnknownStatistic};
use crate::sketch::Sketch;
use crate::{Region, Timestamp};

/// Keeps metrics. In memory first: `put` never waits for a disk. `read` may read files for what is
/// older than some minutes; those of the last hours are in the system's cache.
pub trait Metrics: Send + Sync + 'static {
    /// Takes values. What there is no room for is dropped and counted.
    fn put(&self, region: &Region, data: Vec<MetricDatum>);

    /// One statistic of one metric, a point for each period that has values, oldest first.
    fn read(&self, region: &Region, query: &MetricQuery) -> Vec<Datapoint>;
}

/// The name of a metric. Other dimensions make another metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId {
    /// `AWS/SageMaker`.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    dimensions: Vec<(Arc<str>, Arc<str>)>,
}

impl MetricId {
    #[must_use]
    pub fn new(
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        dimensions: impl IntoIterator<Item = (Arc<str>, Arc<str>)>,
    ) -> Self {
        let mut dimensions: Vec<_> = dimensions.into_iter().collect();
        dimensions.sort();
        Self { namespace: namespace.into(), name: name.into(), dimensions }
    }

    /// Names and values, by name.
    #[must_use]
    pub fn dimensions(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.dimensions
    }
}

/// Values of one metric at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricDatum {
    pub metric: MetricId,
    /// One of CloudWatch's words: `Microseconds`, `Count`, `None`.
    pub unit: Arc<str>,
    pub at: Timestamp,
    pub values: Sketch,
    /// `StorageResolution: 1`: kept by the second, not by the minute.
    pub high_resolution: bool,
}

/// What is asked of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuery {
    pub metric: MetricId,
    /// `None`: values of every unit.
    pub unit: Option<Arc<str>>,
    /// Included.
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
    pub period: Duration,
    pub statistic: Statistic,
}

/// The value of a statistic over one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datapoint {
    /// The beginning of the period.
    pub at: Timestamp,
    pub value: f64,
}

/// Keeps metrics in a list, for tests.
#[derive(Debug, Default)]
pub struct MemoryMetrics(Mutex<Vec<(Region, MetricDatum)>>);

impl MemoryMetrics {
    /// All that was put.
    #[must_use]
    pub fn data(&self) -> Vec<(Region, MetricDatum)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Metrics for MemoryMetrics {
    fn put(&self, region: &Region, data: Vec<MetricDatum>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(data.into_iter().map(|datum| (region.clone(), datum)));
    }

    fn read(&self, region: &Region, query: &MetricQuery) -> Vec<Datapoint> {
        let period = i64::try_from(query.period.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut periods = std::collections::BTreeMap::<i64, Sketch>::new();
        for (_, datum) in self.data().iter().filter(|(at, _)| at == region) {
            let is_asked = datum.metric == query.metric
                && query.unit.as_ref().is_none_or(|unit| *unit == datum.unit)
                && (query.from..query.to).contains(&datum.at);
            if is_asked {
                let period = datum.at.0.div_euclid(period) * period;
                periods.entry(period).or_default().merge(&datum.values);
            }
        }
        let point = |(at, values): (i64, Sketch)| {
            query.statistic.of(&values).map(|value| Datapoint { at: Timestamp(at), value })
        };
        periods.into_iter().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::MetricId;

    #[test]
    fn the_order_of_dimensions_does_not_count() {
        let [a, b] = [("A", "1"), ("B", "2")].map(|(name, value)| (name.into(), value.into()));
        let one = MetricId::new("N", "m", [a.clone(), b.clone()]);
        assert_eq!(one, MetricId::new("N", "m", [b, a]));
    }
}
