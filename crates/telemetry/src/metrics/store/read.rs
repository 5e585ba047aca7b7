//! Slots put together to the periods that somebody asks for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sagebrush_core::Region;
use sagebrush_core::Timestamp;
use sagebrush_core::cloudwatch::{Datapoint, MetricDatum, MetricId, MetricQuery, Metrics};
use sagebrush_core::sketch::Sketch;

use super::tier::Slot;
use super::{MetricStore, seconds};

/// No slot is wider.
const WIDEST: i64 = 3600;

/// What is asked for. Times are seconds since the epoch.
#[derive(Debug, Clone)]
pub(crate) struct Selection<'a> {
    pub(crate) metric: &'a MetricId,
    /// `None`: values of every unit.
    pub(crate) unit: Option<&'a str>,
    pub(crate) times: Range<i64>,
    pub(crate) period: i64,
    /// A time at which a period begins.
    pub(crate) origin: i64,
}

impl MetricStore {
    /// The units that values of a metric have come in.
    pub(crate) fn units(&self, region: &Region, metric: &MetricId) -> Vec<Arc<str>> {
        let state = self.lock();
        state.series.of(region, metric).iter().map(|known| known.unit.clone()).collect()
    }

    /// The values of each period that has some, by its beginning. Slots that are wider than a
    /// period are left out, as CloudWatch does.
    pub(crate) fn select(&self, region: &Region, asked: &Selection<'_>) -> BTreeMap<i64, Sketch> {
        let now = seconds(&*self.clock);
        let mut periods = Periods { asked, now, found: BTreeMap::new() };
        let state = self.lock();
        let mut ids: Vec<_> = state.series.of(region, asked.metric).to_vec();
        ids.retain(|known| asked.unit.is_none_or(|unit| *known.unit == *unit));
        for head in state.sealing.as_deref().into_iter().chain([&state.head]) {
            for slots in ids.iter().filter_map(|known| head.slots.get(&known.id)) {
                slots.iter().for_each(|(slot, values)| periods.add(*slot, values));
            }
        }
        let mut blocks = state.blocks.clone();
        drop(state);
        // A slot may begin after the time asked for, and the one that it ages into before.
        blocks.retain(|block| {
            let foot = &block.foot;
            foot.oldest - WIDEST < asked.times.end && foot.newest_of_all() >= asked.times.start
        });
        for block in blocks {
            for known in &ids {
                match block.slots(known.id) {
                    Ok(slots) => slots.iter().for_each(|(slot, values)| periods.add(*slot, values)),
                    Err(error) => {
                        tracing::error!(%error, block = block.name.file(), "reading metrics failed");
                    }
                }
            }
        }
        periods.found
    }
}

struct Periods<'a> {
    asked: &'a Selection<'a>,
    now: i64,
    found: BTreeMap<i64, Sketch>,
}

impl Periods<'_> {
    fn add(&mut self, slot: Slot, values: &Sketch) {
        let Selection { times, period, origin, .. } = self.asked;
        let Some(slot) = slot.aged(self.now) else { return };
        if slot.tier.seconds() > *period || !times.contains(&slot.start) {
            return;
        }
        let begin = origin + (slot.start - origin).div_euclid(*period) * period;
        self.found.entry(begin).or_default().merge(values);
    }
}

impl Metrics for MetricStore {
    fn put(&self, region: &Region, data: Vec<MetricDatum>) {
        self.add(region, &data);
    }

    fn read(&self, region: &Region, query: &MetricQuery) -> Vec<Datapoint> {
        let selection = Selection {
            metric: &query.metric,
            unit: query.unit.as_deref(),
            times: query.from.0.div_euclid(1000)..(query.to.0 + 999).div_euclid(1000),
            period: i64::try_from(query.period.as_secs()).unwrap_or(i64::MAX).max(1),
            origin: 0,
        };
        let point = |(at, values): (i64, Sketch)| {
            let at = Timestamp(at.saturating_mul(1000));
            query.statistic.of(&values).map(|value| Datapoint { at, value })
        };
        self.select(region, &selection).into_iter().filter_map(point).collect()
    }
}
