//! Counters, gauges and histograms, rendered as Prometheus text.
//!
//! A label set is resolved once to a handle; from then on a count costs an atomic add to memory of
//! the thread's own ([`crate::shards`]), and no allocation.

mod snapshot;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::shards::{Count, Shards};
use crate::sketch::{Recorder, Sketch};

pub use snapshot::{Metric, Point};

/// Upper bounds of latency histograms: 100 µs to a minute.
pub const LATENCY_BOUNDS: &[Nanos] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    SECOND,
    2_500_000_000,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
];

/// Upper bounds of histograms of counts.
pub const SIZE_BOUNDS: &[Nanos] = &[
    SECOND,
    2 * SECOND,
    4 * SECOND,
    8 * SECOND,
    16 * SECOND,
    32 * SECOND,
    64 * SECOND,
    128 * SECOND,
    256 * SECOND,
    512 * SECOND,
    1024 * SECOND,
];

/// Of a duration; a count counts as so many seconds.
pub type Nanos = u64;
const SECOND: Nanos = 1_000_000_000;

/// All metrics of a server.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<&'static str, Family>>>);

/// Names and values, in the order in which they are written.
pub type Labels = Vec<(&'static str, String)>;

struct Family {
    help: &'static str,
    kind: &'static str,
    series: BTreeMap<Labels, Series>,
}

enum Series {
    Counter(Arc<Counter>),
    /// Of nanoseconds, told as seconds.
    Seconds(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
}

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(Count);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// For a value that several share.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// Durations or counts, by upper bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Nanos],
    /// Of one whose percentiles are told elsewhere: its unit.
    recorded_in: Option<Duration>,
    observed: Shards<Observed>,
}

/// What one thread observed.
#[derive(Debug)]
struct Observed {
    /// One for each bound, and one for what is above the last.
    buckets: [AtomicU64; MOST_BUCKETS],
    sum_nanos: AtomicU64,
    recorder: Option<Recorder>,
}

const MOST_BUCKETS: usize = LATENCY_BOUNDS.len() + 1;
const _: () = assert!(SIZE_BOUNDS.len() < MOST_BUCKETS);

/// How a series stands, for those who write it elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Of a counter of time, nanoseconds.
    Counter(u64),
    Gauge(i64),
    /// The times since the last reading.
    Times(Sketch),
}

impl Histogram {
    fn new(bounds: &'static [Nanos]) -> Self {
        Self { bounds, recorded_in: None, observed: Shards::default() }
    }

    pub fn observe(&self, took: Duration) {
        let nanos = took.as_secs().saturating_mul(SECOND) + u64::from(took.subsec_nanos());
        // Most are short: they are found sooner from below than by halving.
        let bucket = self.bounds.iter().position(|bound| nanos <= *bound);
        let observed = self.observed.mine(|| Observed::new(self.recorded_in));
        if let Some(bucket) = observed.buckets.get(bucket.unwrap_or(self.bounds.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if nanos > 0 {
            observed.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
        if let Some(recorder) = &observed.recorder {
            recorder.record(took);
        }
    }

    /// A count, of a histogram of counts: one counts as a second does in one of durations.
    pub fn observe_count(&self, n: usize) {
        self.observe(Duration::from_secs(u64::try_from(n).unwrap_or(u64::MAX)));
    }

    /// How many were counted in each bucket: one for each bound, and one for what is above.
    fn buckets(&self) -> impl Iterator<Item = u64> {
        let of_all = |bucket: usize| {
            let all = self.observed.iter().filter_map(move |it| it.buckets.get(bucket));
            all.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        (0..=self.bounds.len()).map(of_all)
    }

    fn sum(&self) -> Duration {
        let all = self.observed.iter().map(|it| it.sum_nanos.load(Ordering::Relaxed));
        Duration::from_nanos(all.sum())
    }

    /// The times since the last reading, if they are recorded.
    fn drain(&self) -> Option<Sketch> {
        self.recorded_in?;
        let mut all = Sketch::default();
        for recorder in self.observed.iter().filter_map(|it| it.recorder.as_ref()) {
            recorder.drain_into(&mut all);
        }
        Some(all)
    }
}

impl Observed {
    fn new(recorded_in: Option<Duration>) -> Self {
        let recorder = recorded_in.map(Recorder::new);
        Self { buckets: Default::default(), sum_nanos: AtomicU64::new(0), recorder }
    }
}

impl Registry {
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels) -> Arc<Counter> {
        let new = || Series::Counter(Arc::default());
        self.resolve((name, help, "counter"), labels, new, |series| match series {
            Series::Counter(counter) => Some(counter.clone()),
            Series::Seconds(_) | Series::Gauge(_) | Series::Histogram(_) => None,
        })
    }

    /// A counter of time: it counts nanoseconds, and is told in seconds.
    #[must_use]
    pub fn seconds(&self, name: &'static str, help: &'static str, labels: Labels) -> Arc<Counter> {
        let new = || Series::Seconds(Arc::default());
        self.resolve((name, help, "counter"), labels, new, |series| match series {
            Series::Seconds(counter) => Some(counter.clone()),
            Series::Counter(_) | Series::Gauge(_) | Series::Histogram(_) => None,
        })
    }

    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels) -> Arc<Gauge> {
        let new = || Series::Gauge(Arc::default());
        self.resolve((name, help, "gauge"), labels, new, |series| match series {
            Series::Gauge(gauge) => Some(gauge.clone()),
            Series::Counter(_) | Series::Seconds(_) | Series::Histogram(_) => None,
        })
    }

    /// A histogram of durations with [`LATENCY_BOUNDS`].
    #[must_use]
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
    ) -> Arc<Histogram> {
        self.with_bounds((name, help), labels, || Histogram::new(LATENCY_BOUNDS))
    }

    /// A histogram of durations whose times are also kept, in `unit`s, for [`Self::readings`].
    #[must_use]
    pub fn recorded(
        &self,
        (name, help): (&'static str, &'static str),
        labels: Labels,
        unit: Duration,
    ) -> Arc<Histogram> {
        let new = || Histogram { recorded_in: Some(unit), ..Histogram::new(LATENCY_BOUNDS) };
        self.with_bounds((name, help), labels, new)
    }

    /// A histogram of counts with [`SIZE_BOUNDS`].
    #[must_use]
    pub fn sizes(&self, name: &'static str, help: &'static str, labels: Labels) -> Arc<Histogram> {
        self.with_bounds((name, help), labels, || Histogram::new(SIZE_BOUNDS))
    }

    fn with_bounds(
        &self,
        (name, help): (&'static str, &'static str),
        labels: Labels,
        new: impl Fn() -> Histogram,
    ) -> Arc<Histogram> {
        let new = || Series::Histogram(Arc::new(new()));
        self.resolve((name, help, "histogram"), labels, new, |series| match series {
            Series::Histogram(histogram) => Some(histogram.clone()),
            Series::Counter(_) | Series::Seconds(_) | Series::Gauge(_) => None,
        })
    }

    /// Drops the series whose labels `keep` says no to: those of a deleted endpoint.
    pub fn retain(&self, keep: impl Fn(&Labels) -> bool) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for family in families.values_mut() {
            family.series.retain(|labels, _| keep(labels));
        }
    }

    /// Sets all gauges of a metric at once; those that are not in `levels` go.
    pub fn set_gauges(
        &self,
        name: &'static str,
        help: &'static str,
        levels: impl IntoIterator<Item = (Labels, i64)>,
    ) {
        let gauge =
            |(labels, level)| (labels, Series::Gauge(Arc::new(Gauge(AtomicI64::new(level)))));
        let series = levels.into_iter().map(gauge).collect();
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        families.insert(name, Family { help, kind: "gauge", series });
    }

    /// How the series of a metric stand. A histogram that is not recorded has no reading.
    #[must_use]
    pub fn readings(&self, name: &str) -> Vec<(Labels, Reading)> {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = families.get(name).into_iter().flat_map(|family| &family.series);
        let reading = |(labels, series): (&Labels, &Series)| {
            let reading = match series {
                Series::Counter(counter) | Series::Seconds(counter) => {
                    Reading::Counter(counter.get())
                }
                Series::Gauge(gauge) => Reading::Gauge(gauge.0.load(Ordering::Relaxed)),
                Series::Histogram(histogram) => Reading::Times(histogram.drain()?),
            };
            Some((labels.clone(), reading))
        };
        series.filter_map(reading).collect()
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, family) in families.iter().filter(|(_, family)| !family.series.is_empty()) {
            let Family { help, kind, series } = family;
            line(&mut text, &format!("# HELP {name} {help}"));
            line(&mut text, &format!("# TYPE {name} {kind}"));
            for (labels, series) in series {
                render_series(&mut text, name, labels, series);
            }
        }
        text
    }

    /// The series of these labels, made on the first use; a stray one if the name is taken by
    /// another kind of metric.
    fn resolve<T>(
        &self,
        (name, help, kind): (&'static str, &'static str, &'static str),
        labels: Labels,
        new: impl Fn() -> Series,
        pick: impl Fn(&Series) -> Option<Arc<T>>,
    ) -> Arc<T>
    where
        T: Default,
    {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let family =
            families.entry(name).or_insert_with(|| Family { help, kind, series: BTreeMap::new() });
        debug_assert_eq!(family.kind, kind, "`{name}` is one kind of metric");
        pick(family.series.entry(labels).or_insert_with(new)).unwrap_or_default()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(LATENCY_BOUNDS)
    }
}

fn render_series(text: &mut String, name: &str, labels: &Labels, series: &Series) {
    match series {
        Series::Counter(counter) => {
            line(text, &format!("{name}{} {}", braced(labels, None), counter.get()));
        }
        Series::Seconds(counter) => {
            let seconds = Duration::from_nanos(counter.get()).as_secs_f64();
            line(text, &format!("{name}{} {seconds}", braced(labels, None)));
        }
        Series::Gauge(gauge) => {
            let value = gauge.0.load(Ordering::Relaxed);
            line(text, &format!("{name}{} {value}", braced(labels, None)));
        }
        Series::Histogram(histogram) => render_histogram(text, name, labels, histogram),
    }
}

fn render_histogram(text: &mut String, name: &str, labels: &Labels, histogram: &Histogram) {
    let seconds = |nanos: &Nanos| Duration::from_nanos(*nanos).as_secs_f64().to_string();
    let bounds = histogram.bounds.iter().map(seconds).chain(["+Inf".to_owned()]);
    let mut n_calls = 0;
    for (bound, n) in bounds.zip(histogram.buckets()) {
        n_calls += n;
        line(text, &format!("{name}_bucket{} {n_calls}", braced(labels, Some(&bound))));
    }
    let sum = histogram.sum().as_secs_f64();
    line(text, &format!("{name}_sum{} {sum}", braced(labels, None)));
    line(text, &format!("{name}_count{} {n_calls}", braced(labels, None)));
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

fn braced(labels: &Labels, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let labels = labels.iter().map(|(name, value)| (*name, value.as_str())).chain(bound);
    let mut text = String::new();
    for (name, value) in labels {
        let before = if text.is_empty() { '{' } else { ',' };
        // Writing to a string cannot fail.
        let _written = write!(text, "{before}{name}=\"{}\"", escaped(value));
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Registry;

    #[test]
    fn renders_prometheus_text() {
        let registry = Registry::default();
        registry.counter("b_total", "Bs.", vec![("e", "a\"b".to_owned())]).add(2);
        registry.counter("b_total", "Bs.", vec![("e", "a\"b".to_owned())]).add(1);
        registry.gauge("a", "As.", Vec::new()).set(-4);
        assert_eq!(
            registry.render(),
            "# HELP a As.\n# TYPE a gauge\na -4\n\
             # HELP b_total Bs.\n# TYPE b_total counter\nb_total{e=\"a\\\"b\"} 3\n"
        );
        registry.retain(|labels| labels.is_empty());
        assert_eq!(registry.render(), "# HELP a As.\n# TYPE a gauge\na -4\n");
    }

    #[test]
    fn time_is_counted_in_nanoseconds_and_told_in_seconds() {
        let registry = Registry::default();
        registry.seconds("cpu_seconds_total", "CPU.", Vec::new()).add(1_250_000_000);
        assert!(registry.render().ends_with("counter\ncpu_seconds_total 1.25\n"));
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let registry = Registry::default();
        let histogram = registry.histogram("h_seconds", "Hs.", vec![("e", "x".to_owned())]);
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_secs(90));
        let text = registry.render();
        for wanted in [
            "h_seconds_bucket{e=\"x\",le=\"0.0005\"} 0\n",
            "h_seconds_bucket{e=\"x\",le=\"0.001\"} 1\n",
            "h_seconds_bucket{e=\"x\",le=\"0.0025\"} 2\n",
            "h_seconds_bucket{e=\"x\",le=\"60\"} 2\n",
            "h_seconds_bucket{e=\"x\",le=\"+Inf\"} 3\n",
            "h_seconds_sum{e=\"x\"} 90.003\n",
            "h_seconds_count{e=\"x\"} 3\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
