//! All metrics as they stand, for those who write them in a form of their own.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Family, Histogram, Labels, Nanos, Registry, Series};

/// A metric and its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub series: Vec<(Labels, Point)>,
}

/// How a series stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    Count(u64),
    /// A count of time.
    Seconds(f64),
    Gauge(i64),
    Histogram {
        /// In seconds.
        bounds: Vec<f64>,
        /// One for each bound, and one for what is above the last; each for itself.
        counts: Vec<u64>,
        /// In seconds.
        sum: f64,
    },
}

impl Registry {
    /// All metrics that have series.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Metric> {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let families = families.iter().filter(|(_, family)| !family.series.is_empty());
        families.map(|(name, family)| metric(name, family)).collect()
    }
}

fn metric(name: &'static str, family: &Family) -> Metric {
    let series = family.series.iter().map(|(labels, series)| (labels.clone(), point(series)));
    Metric { name, help: family.help, series: series.collect() }
}

fn point(series: &Series) -> Point {
    match series {
        Series::Counter(counter) => Point::Count(counter.get()),
        Series::Seconds(counter) => Point::Seconds(seconds(counter.get())),
        Series::Gauge(gauge) => Point::Gauge(gauge.0.load(Ordering::Relaxed)),
        Series::Histogram(histogram) => of_histogram(histogram),
    }
}

fn of_histogram(histogram: &Histogram) -> Point {
    Point::Histogram {
        bounds: histogram.bounds.iter().copied().map(seconds).collect(),
        counts: histogram.buckets().collect(),
        sum: histogram.sum().as_secs_f64(),
    }
}

fn seconds(nanos: Nanos) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_stands_as_it_was_counted() {
        let registry = Registry::default();
        registry.counter("a_total", "As.", vec![("e", "x".to_owned())]).add(3);
        registry.seconds("b_seconds_total", "Bs.", Vec::new()).add(1_500_000_000);
        registry.gauge("c", "Cs.", Vec::new()).set(-1);
        let sizes = registry.sizes("d", "Ds.", Vec::new());
        [1, 2, 2, 5000].into_iter().for_each(|n| sizes.observe_count(n));
        let found = registry.snapshot();
        let names: Vec<_> = found.iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["a_total", "b_seconds_total", "c", "d"]);
        assert_eq!(found[0].series, [(vec![("e", "x".to_owned())], Point::Count(3))]);
        assert_eq!(found[1].series[0].1, Point::Seconds(1.5));
        assert_eq!(found[2].series[0].1, Point::Gauge(-1));
        let Point::Histogram { bounds, counts, sum } = &found[3].series[0].1 else {
            panic!("a histogram")
        };
        assert_eq!((&bounds[..2], &counts[..3], *sum), (&[1.0, 2.0][..], &[1, 2, 0][..], 5005.0));
        assert_eq!((counts.len(), counts.last()), (bounds.len() + 1, Some(&1)));
    }
}
