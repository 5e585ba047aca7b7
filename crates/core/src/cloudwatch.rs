//! Metrics as CloudWatch has them: what is put, and what is read of them.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sketch::Sketch;
use crate::{Region, Timestamp};

/// Keeps metrics. In memory first: neither method waits for a disk.
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

/// What is told of a period's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// `p99.9`: 99.9.
    Percentile(f64),
}

impl Statistic {
    /// Of `values`; `None` if it cannot be told.
    #[must_use]
    pub fn of(self, values: &Sketch) -> Option<f64> {
        match self {
            Self::SampleCount => (!values.is_empty()).then(|| values.count()),
            Self::Average => values.average(),
            Self::Sum => (!values.is_empty()).then(|| values.sum()),
            Self::Minimum => values.min(),
            Self::Maximum => values.max(),
            Self::Percentile(percent) => values.quantile(percent / 100.0),
        }
    }
}

impl FromStr for Statistic {
    type Err = UnknownStatistic;

    fn from_str(word: &str) -> Result<Self, UnknownStatistic> {
        let unknown = || UnknownStatistic(word.to_owned());
        match word {
            "SampleCount" => Ok(Self::SampleCount),
            "Average" => Ok(Self::Average),
            "Sum" => Ok(Self::Sum),
            "Minimum" => Ok(Self::Minimum),
            "Maximum" => Ok(Self::Maximum),
            _ => {
                let percent = word.strip_prefix('p').ok_or_else(unknown)?;
                let percent: f64 = percent.parse().map_err(|_| unknown())?;
                let is_percent = (0.0..=100.0).contains(&percent);
                is_percent.then_some(Self::Percentile(percent)).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SampleCount => f.write_str("SampleCount"),
            Self::Average => f.write_str("Average"),
            Self::Sum => f.write_str("Sum"),
            Self::Minimum => f.write_str("Minimum"),
            Self::Maximum => f.write_str("Maximum"),
            Self::Percentile(percent) => write!(f, "p{percent}"),
        }
    }
}

/// No statistic is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no statistic {0}")]
pub struct UnknownStatistic(pub String);

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
    use super::{MetricId, Statistic};

    #[test]
    fn the_order_of_dimensions_does_not_count() {
        let [a, b] = [("A", "1"), ("B", "2")].map(|(name, value)| (name.into(), value.into()));
        let one = MetricId::new("N", "m", [a.clone(), b.clone()]);
        assert_eq!(one, MetricId::new("N", "m", [b, a]));
    }

    #[test]
    fn statistics_are_told_by_their_words() {
        for word in ["SampleCount", "Average", "Sum", "Minimum", "Maximum", "p50", "p99.9"] {
            let statistic: Statistic = word.parse().expect(word);
            assert_eq!(statistic.to_string(), word);
        }
        for word in ["", "p", "p101", "p-1", "average", "px"] {
            assert!(word.parse::<Statistic>().is_err(), "{word}");
        }
    }
}
