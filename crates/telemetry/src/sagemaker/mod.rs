//! SageMaker's own metrics: what the server counts, put into CloudWatch under the names, units
//! and dimensions that alarms and scaling policies look for.
//!
//! Nothing on the way of a call knows of this: calls count by handles of [`Registry`], and this
//! reads what has changed since it looked last.

mod dimensions;
mod gpus;
mod instances;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::cloudwatch::{MetricDatum, MetricId, Metrics};
use sagebrush_core::fleet::FleetView;
use sagebrush_core::metrics::{Labels, Reading, Registry};
use sagebrush_core::route::Routes;
use sagebrush_core::sketch::Sketch;
use sagebrush_core::{Clock, Region, Timestamp};
use tokio::sync::watch;

pub use gpus::{Gpu, Gpus, NvidiaSmi};

use dimensions::dimension_sets;
use instances::{Instances, Machine, running};
use table::{ROWS, Row, Source};

/// How often metrics are put. CloudWatch's high-resolution metrics have a value every 10 s.
const EACH: Duration = Duration::from_secs(10);

/// What SageMaker's metrics are made of, and where they are put.
pub struct Parts {
    pub registry: Registry,
    pub metrics: Arc<dyn Metrics>,
    pub clock: Arc<dyn Clock>,
    /// Has gauges set to how things are now.
    pub look: Box<dyn Fn() + Send + Sync>,
    pub routes: Routes,
    pub fleet: watch::Receiver<Arc<FleetView>>,
    /// `None` on a machine without GPUs.
    pub gpus: Option<Arc<dyn Gpus>>,
}

/// Puts SageMaker's metrics.
pub struct SageMakerMetrics {
    parts: Parts,
    /// Counts at the last look.
    before: HashMap<Series, u64>,
    instances: Instances,
}

/// The name of a metric in the registry, and the labels of one of its series.
type Series = (&'static str, Labels);

/// What is put at one look.
type Values = BTreeMap<(Region, MetricId), (&'static Row, Sketch)>;

impl SageMakerMetrics {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, before: HashMap::new(), instances: Instances::default() }
    }

    /// Puts what is new, again and again, until the task is dropped.
    pub async fn run(mut self) {
        let mut turn = tokio::time::interval(EACH);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            self.put().await;
        }
    }

    /// Puts what is new since the last time.
    pub async fn put(&mut self) {
        (self.parts.look)();
        let mut data = self.of_instances().await;
        let at = self.parts.clock.now();
        let counted = self.values().into_iter();
        data.extend(counted.map(|((region, metric), (row, values))| {
            (region, datum(metric, (row.unit, row.high_resolution), values, at))
        }));
        let mut by_region = BTreeMap::<Region, Vec<MetricDatum>>::new();
        for (region, datum) in data {
            by_region.entry(region).or_default().push(datum);
        }
        for (region, data) in by_region {
            self.parts.metrics.put(&region, data);
        }
    }

    async fn of_instances(&mut self) -> Vec<(Region, MetricDatum)> {
        let (table, fleet) = (self.parts.routes.newest(), self.parts.fleet.borrow().clone());
        let running = running(&table, &fleet);
        let gpus = match &self.parts.gpus {
            Some(gpus) if !running.is_empty() => gpus.look().await,
            Some(_) | None => Vec::new(),
        };
        let machine = Machine::read(&self.parts.registry, &gpus);
        let percents = self.instances.look(&running, &machine);
        let at = self.parts.clock.now();
        let datum = |((region, metric), (is_often, values))| {
            (region, datum(metric, ("Percent", is_often), values, at))
        };
        percents.into_iter().map(datum).collect()
    }

    fn values(&mut self) -> Values {
        let mut counted = Counted::read(&self.parts.registry, &mut self.before);
        let mut values = Values::new();
        for row in ROWS {
            for (labels, sketch) in counted.of(row) {
                for (region, metric) in dimension_sets(row, &labels) {
                    let (_, sum) =
                        values.entry((region, metric)).or_insert_with(|| (row, Sketch::default()));
                    sum.merge(&sketch);
                }
            }
        }
        values
    }
}

fn datum(
    metric: MetricId,
    (unit, high_resolution): (&str, bool),
    values: Sketch,
    at: Timestamp,
) -> MetricDatum {
    MetricDatum { metric, unit: unit.into(), at, values, high_resolution }
}

/// The changes since the last look.
struct Counted {
    counts: BTreeMap<Series, u64>,
    levels: BTreeMap<Series, i64>,
    times: BTreeMap<Series, Sketch>,
}

impl Counted {
    fn read(registry: &Registry, before: &mut HashMap<Series, u64>) -> Self {
        let (counts, levels, times) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut read = Self { counts, levels, times };
        let mut now = HashMap::new();
        for name in table::names() {
            for (labels, reading) in registry.readings(name) {
                let series = (name, labels);
                match reading {
                    Reading::Counter(count) => {
                        let last = before.get(&series).copied().unwrap_or(0);
                        // A smaller count is that of a new endpoint of the same name.
                        let new = count.checked_sub(last).unwrap_or(count);
                        now.insert(series.clone(), count);
                        read.counts.insert(series, new);
                    }
                    Reading::Gauge(level) => {
                        read.levels.insert(series, level);
                    }
                    Reading::Times(times) => {
                        read.times.insert(series, times);
                    }
                }
            }
        }
        *before = now;
        read
    }

    /// The values of a row, by the labels that they are for; those without values are left out.
    fn of(&mut self, row: &Row) -> Vec<(Labels, Sketch)> {
        let found: Vec<_> = match row.source {
            Source::Count(name) => self.each(name, |count, _| ones(count)),
            Source::Share { of, among } => self.each(among, |all, labels| {
                let n = self.count(of, labels).min(all);
                zeros_and_ones(all - n, n)
            }),
            Source::Hits { hits, misses } => {
                self.each(hits, |n, labels| zeros_and_ones(self.count(misses, labels), n))
            }
            Source::Times(name) => self.times_of(name),
            Source::Level(name) => self.levels_of(name, |level, _| level),
            Source::LevelByInstance(name) => self.by_instance(self.by_variant(name)),
            Source::Part { of, whole } => self.levels_beside(of, whole, |part, whole| part / whole),
            Source::LevelBeside { of, beside } => self.levels_beside(of, beside, |level, _| level),
            Source::CountByInstance(name) => {
                let instances = self.by_variant(table::INSTANCES).into_iter();
                instances.map(|(labels, n)| self.count_by_instance(name, labels, n)).collect()
            }
        };
        found.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }

    /// One by the number of instances for each that is counted; zero where nothing is, for who
    /// takes instances away that nobody calls.
    fn count_by_instance(&self, name: &str, variant: Labels, n_instances: f64) -> (Labels, Sketch) {
        let of_variant = self
            .counts
            .iter()
            .filter(|((of, labels), _)| *of == name && variant_of(labels) == variant);
        let count: u64 = of_variant.map(|(_, count)| count).sum();
        let mut values = Sketch::default();
        if count == 0 {
            values.add(0.0, 1.0);
        } else {
            values.add(1.0 / n_instances.max(1.0), float(count));
        }
        (variant, values)
    }

    fn each(&self, name: &str, values: impl Fn(u64, &Labels) -> Sketch) -> Vec<(Labels, Sketch)> {
        let series = self.counts.iter().filter(|((of, _), _)| *of == name);
        series.map(|((_, labels), count)| (labels.clone(), values(*count, labels))).collect()
    }

    /// These values of variants, each by the number of its instances.
    fn by_instance(&self, values: BTreeMap<Labels, f64>) -> Vec<(Labels, Sketch)> {
        let instances = self.by_variant(table::INSTANCES);
        let by_instance = |(labels, value): (Labels, f64)| {
            let n = instances.get(&labels).copied().filter(|n| *n > 0.0)?;
            Some((labels, Sketch::of(value / n)))
        };
        values.into_iter().filter_map(by_instance).collect()
    }

    fn count(&self, name: &'static str, labels: &Labels) -> u64 {
        self.counts.get(&(name, labels.clone())).copied().unwrap_or(0)
    }

    fn times_of(&mut self, name: &str) -> Vec<(Labels, Sketch)> {
        let taken = self.times.extract_if(.., |(of, _), _| *of == name);
        taken.map(|((_, labels), times)| (labels, times)).collect()
    }

    fn levels_of(&self, name: &str, value: impl Fn(f64, &Labels) -> f64) -> Vec<(Labels, Sketch)> {
        let series = self.levels.iter().filter(|((of, _), _)| *of == name);
        let sketch = |((_, labels), level): (&Series, &i64)| {
            (labels.clone(), Sketch::of(value(level_of(*level), labels)))
        };
        series.map(sketch).collect()
    }

    /// What `value` makes of two levels, where both are known and the second is not zero.
    fn levels_beside(
        &self,
        of: &str,
        beside: &'static str,
        value: impl Fn(f64, f64) -> f64,
    ) -> Vec<(Labels, Sketch)> {
        let series = self.levels.iter().filter(|((name, _), _)| *name == of);
        let both = |((_, labels), level): (&Series, &i64)| {
            let beside = self.levels.get(&(beside, labels.clone())).filter(|level| **level > 0)?;
            Some((labels.clone(), Sketch::of(value(level_of(*level), level_of(*beside)))))
        };
        series.filter_map(both).collect()
    }

    /// Levels of whole variants, whatever their configurations.
    fn by_variant(&self, name: &str) -> BTreeMap<Labels, f64> {
        let mut sums = BTreeMap::new();
        for ((_, labels), level) in self.levels.iter().filter(|((of, _), _)| *of == name) {
            *sums.entry(variant_of(labels)).or_default() += level_of(*level);
        }
        sums
    }
}

fn variant_of(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| *name != "config").cloned().collect()
}

fn ones(count: u64) -> Sketch {
    zeros_and_ones(0, count)
}

fn zeros_and_ones(zeros: u64, ones: u64) -> Sketch {
    let mut values = Sketch::default();
    values.add(0.0, float(zeros));
    values.add(1.0, float(ones));
    values
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 calls in ten seconds")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "levels are small")]
fn level_of(level: i64) -> f64 {
    level as f64
}
