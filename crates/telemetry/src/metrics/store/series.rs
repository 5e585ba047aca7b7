//! The names of all series, and the number that stands for each in files.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use sagebrush_core::cloudwatch::MetricId;
use sagebrush_core::{Region, varint};

/// Stands for a series. Never given to another one.
pub(super) type SeriesId = u32;

#[derive(Default)]
pub(super) struct Series {
    metrics: BTreeMap<Region, BTreeMap<MetricId, Vec<Known>>>,
    next: SeriesId,
    n_series: usize,
}

/// One unit of a metric.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) unit: Arc<str>,
    pub(super) id: SeriesId,
    /// The time of its newest value, in seconds since the epoch.
    pub(super) newest: i64,
}

impl Series {
    pub(super) fn len(&self) -> usize {
        self.n_series
    }

    /// The units of a metric.
    pub(super) fn of(&self, region: &Region, metric: &MetricId) -> &[Known] {
        let metrics = self.metrics.get(region);
        metrics.and_then(|metrics| metrics.get(metric)).map_or(&[], Vec::as_slice)
    }

    /// The series of that name, for a value at `at`.
    pub(super) fn find(
        &mut self,
        region: &Region,
        metric: &MetricId,
        unit: &str,
        at: i64,
    ) -> Option<SeriesId> {
        let known = self.metrics.get_mut(region)?.get_mut(metric)?;
        let known = known.iter_mut().find(|known| *known.unit == *unit)?;
        known.newest = known.newest.max(at);
        Some(known.id)
    }

    /// A new series.
    pub(super) fn add(
        &mut self,
        region: Region,
        metric: MetricId,
        unit: Arc<str>,
        at: i64,
    ) -> SeriesId {
        let id = self.next;
        self.insert(region, metric, Known { unit, id, newest: at });
        id
    }

    /// Gives out no id up to `id` from now on.
    pub(super) fn skip(&mut self, id: SeriesId) {
        self.next = self.next.max(id.saturating_add(1));
    }

    fn insert(&mut self, region: Region, metric: MetricId, known: Known) {
        self.skip(known.id);
        self.n_series += 1;
        self.metrics.entry(region).or_default().entry(metric).or_default().push(known);
    }

    /// The metrics of a region from behind `after` on, each with the time of its newest value.
    pub(super) fn list<'a>(
        &'a self,
        region: &Region,
        after: Option<&MetricId>,
    ) -> impl Iterator<Item = (&'a MetricId, i64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let metrics = self.metrics.get(region).map(|it| it.range((from, Bound::Unbounded)));
        metrics.into_iter().flatten().map(|(metric, known)| {
            (metric, known.iter().map(|known| known.newest).max().unwrap_or_default())
        })
    }

    /// Sets the times of the newest values, and forgets the series that have none.
    pub(super) fn keep_only(&mut self, newest: &HashMap<SeriesId, i64>) {
        let mut n_series = 0;
        for metrics in self.metrics.values_mut() {
            metrics.retain(|_, all| {
                all.retain_mut(|known| {
                    let found = newest.get(&known.id);
                    known.newest = found.copied().unwrap_or_default();
                    found.is_some()
                });
                n_series += all.len();
                !all.is_empty()
            });
        }
        self.n_series = n_series;
    }

    /// Reads series from the frames that [`record`] has made.
    pub(super) fn read(frames: &[Vec<u8>]) -> Self {
        let mut series = Self::default();
        for frame in frames {
            let mut left = &**frame;
            while let Some((region, metric, known)) = read_record(&mut left) {
                series.insert(region, metric, known);
            }
        }
        series
    }

    /// All series in frames.
    pub(super) fn write(&self) -> Vec<Vec<u8>> {
        let of_region = |(region, metrics): (&Region, &BTreeMap<MetricId, Vec<Known>>)| {
            let mut frame = Vec::new();
            for (metric, all) in metrics {
                for known in all {
                    record(known.id, region, metric, &known.unit, &mut frame);
                }
            }
            frame
        };
        self.metrics.iter().map(of_region).collect()
    }
}

/// Appends what names a series.
pub(super) fn record(
    id: SeriesId,
    region: &Region,
    metric: &MetricId,
    unit: &str,
    to: &mut Vec<u8>,
) {
    varint::write(u64::from(id), to);
    varint::write(metric.dimensions().len() as u64, to);
    let names = [region.as_str(), unit, &metric.namespace, &metric.name];
    let dimensions = metric.dimensions().iter().flat_map(|(name, value)| [&**name, &**value]);
    for text in names.into_iter().chain(dimensions) {
        varint::write(text.len() as u64, to);
        to.extend(text.as_bytes());
    }
}

fn read_record(from: &mut &[u8]) -> Option<(Region, MetricId, Known)> {
    let id = SeriesId::try_from(varint::read(from)?).ok()?;
    let n_dimensions = varint::read(from)?;
    let region = Region::new(text(from)?);
    let unit = text(from)?.into();
    let (namespace, name) = (text(from)?, text(from)?);
    let mut dimensions = Vec::new();
    for _ in 0..n_dimensions {
        dimensions.push((text(from)?.into(), text(from)?.into()));
    }
    let metric = MetricId::new(namespace, name, dimensions);
    Some((region, metric, Known { unit, id, newest: 0 }))
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(varint::read(from)?).ok()?;
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    std::str::from_utf8(text).ok()
}
