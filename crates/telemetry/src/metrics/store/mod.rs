//! Metrics on the local disk, the newest also in memory.
//!
//! - A value goes to the [`head`], and within some seconds to a journal of [`frames`], from which
//!   the head comes back after a crash.
//! - Every ten minutes the head becomes a [`block`] and leaves memory, with its journal.
//! - [`merge`] makes fewer and coarser blocks of old ones; [`tier`] says how coarse, and when they go.
//! - [`series`] has the names. Their number, and the bytes of the head, are bounded.

mod block;
mod counts;
mod files;
mod frames;
mod head;
mod merge;
mod read;
mod series;
#[cfg(test)]
mod tests;
mod tier;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sagebrush_core::cloudwatch::{MetricDatum, MetricId};
use sagebrush_core::metrics::Registry;
use sagebrush_core::{Clock, Region, task, varint};

use self::block::Block;
use self::counts::Counts;
use self::files::Files;
use self::head::Head;
pub(crate) use self::read::Selection;
use self::series::{Series, SeriesId};
use self::tier::Slot;

/// How often values are written down: what a crash may cost, at most twice.
const BEAT: Duration = Duration::from_secs(4);

/// How much is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Metrics, each of their units counting; values of others are dropped.
    pub series: usize,
    /// What the newest values may take in memory, about. At half of it they become a block early.
    pub bytes: usize,
    /// How long values stay in memory.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series: 50_000, bytes: 128 << 20, window: Duration::from_mins(10) }
    }
}

/// Metrics, kept.
pub struct MetricStore {
    state: Mutex<State>,
    /// Of the one who writes journals and turns the head into a block.
    files: Mutex<Files>,
    /// Held by the one who merges blocks.
    merging: Mutex<()>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    counts: Counts,
}

struct State {
    series: Series,
    head: Head,
    /// A head on its way to become a block.
    sealing: Option<Arc<Head>>,
    blocks: Vec<Arc<Block>>,
    /// What the files do not have yet: names of new series, and values.
    new_names: Vec<u8>,
    new_values: Vec<u8>,
}

impl MetricStore {
    /// Takes over what is below `dir`. Blocks.
    ///
    /// # Errors
    /// When `dir` cannot be made or read.
    pub fn open(
        dir: &Path,
        clock: Arc<dyn Clock>,
        limits: Limits,
        registry: &Registry,
    ) -> io::Result<Arc<Self>> {
        let now = seconds(&*clock);
        let (files, state) = Files::open(dir, now)?;
        let counts = Counts::new(registry);
        counts.set_series(state.series.len());
        Ok(Arc::new(Self {
            state: Mutex::new(state),
            files: Mutex::new(files),
            merging: Mutex::new(()),
            clock,
            limits,
            counts,
        }))
    }

    /// Writes in the background from now on, until the store is dropped.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        for (name, work) in [("metrics", Self::beat as fn(&Self)), ("metrics-merge", Self::tidy)] {
            let store = Arc::downgrade(self);
            let _detached = task::thread(name, move || for_ever(&store, work))?;
        }
        Ok(())
    }

    /// Takes values.
    pub(crate) fn add(&self, region: &Region, data: &[MetricDatum]) {
        let now = seconds(&*self.clock);
        let mut state = self.lock();
        let (mut beyond_series, mut beyond_bytes) = (0, 0);
        for datum in data.iter().filter(|datum| !datum.values.is_empty()) {
            if state.head.bytes >= self.limits.bytes {
                beyond_bytes += 1;
                continue;
            }
            let slot = Slot::of(datum.at, datum.high_resolution);
            match state.series_of(region, datum, slot.start, self.limits.series) {
                Some(id) => {
                    state.head.add(id, slot, &datum.values, now);
                    if state.new_values.len() < self.limits.bytes / 4 {
                        write_value(id, slot, datum, &mut state.new_values);
                    }
                }
                None => beyond_series += 1,
            }
        }
        self.counts.set_series(state.series.len());
        drop(state);
        self.counts.beyond_series.add(beyond_series);
        self.counts.beyond_bytes.add(beyond_bytes);
    }

    /// The metrics of a region by name, from behind `after` on, each with the time of its newest
    /// value in seconds, as long as `take` says so.
    pub(crate) fn list(
        &self,
        region: &Region,
        after: Option<&MetricId>,
        mut take: impl FnMut(&MetricId, i64) -> bool,
    ) {
        let state = self.lock();
        for (metric, newest) in state.series.list(region, after) {
            if !take(metric, newest) {
                return;
            }
        }
    }

    /// Writes down what came since the last time. Blocks.
    pub fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write_new(&mut files) {
            self.counts.failed_writes.add(1);
            tracing::warn!(%error, "metrics could not be written");
        }
    }

    /// What is to be done every some seconds.
    fn beat(&self) {
        self.flush();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.seal_if_due(&mut files) {
            self.counts.failed_writes.add(1);
            tracing::warn!(%error, "a block of metrics could not be written; trying again");
        }
    }

    fn write_new(&self, files: &mut Files) -> io::Result<()> {
        let (names, values) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.new_names), std::mem::take(&mut state.new_values))
        };
        if let Err(error) = files.write_names(&names) {
            // Values are nothing without the names, which therefore wait; the values do not.
            let mut state = self.lock();
            let newer = std::mem::replace(&mut state.new_names, names);
            state.new_names.extend(newer);
            return Err(error);
        }
        files.write_values(&values)
    }

    /// Turns the head into a block when it is old or large enough.
    fn seal_if_due(&self, files: &mut Files) -> io::Result<()> {
        let now = seconds(&*self.clock);
        let mut state = self.lock();
        if state.sealing.is_none() {
            let window = i64::try_from(self.limits.window.as_secs()).unwrap_or(i64::MAX);
            let is_old = state.head.began.is_some_and(|began| now >= began.saturating_add(window));
            let is_large = state.head.bytes >= self.limits.bytes / 2;
            if !(is_old || is_large) {
                return Ok(());
            }
            // What is new since the flush goes into the block, and not into the next journal.
            state.new_values.clear();
            state.sealing = Some(Arc::new(std::mem::take(&mut state.head)));
            files.next_journal();
        }
        let Some(head) = state.sealing.clone() else { return Ok(()) };
        drop(state);
        let block = files.seal(&head)?;
        let mut state = self.lock();
        state.blocks.extend(block.map(Arc::new));
        state.sealing = None;
        drop(state);
        files.remove_sealed_journals()
    }

    /// Merges, widens and removes blocks until nothing is left to do. Blocks for as long as that
    /// takes; nobody else waits for it.
    fn tidy(&self) {
        let _alone = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.files.lock().unwrap_or_else(PoisonError::into_inner).dir().to_owned();
        loop {
            match self.tidy_once(&dir) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.counts.failed_writes.add(1);
                    tracing::warn!(%error, "blocks of metrics could not be merged; trying again");
                    return;
                }
            }
        }
    }

    fn tidy_once(&self, dir: &Path) -> io::Result<bool> {
        let now = seconds(&*self.clock);
        let all = self.lock().blocks.clone();
        let feet: Vec<_> = all.iter().map(|block| (block.name, block.foot)).collect();
        let Some(job) = merge::next_job(&feet, now) else { return Ok(false) };
        let old: Vec<Arc<Block>> = match job {
            merge::Job::Merge(places) => places.into_iter().map(|at| all[at].clone()).collect(),
            merge::Job::Widen(at) | merge::Job::Remove(at) => vec![all[at].clone()],
        };
        let new = merge::merge(dir, &old, now)?.map(Arc::new);
        let mut state = self.lock();
        state.blocks.retain(|block| !old.iter().any(|old| Arc::ptr_eq(old, block)));
        state.blocks.extend(new.clone());
        drop(state);
        for block in &old {
            // One that was widened has taken the place of the old one already.
            if new.as_ref().is_none_or(|new| new.name != block.name) {
                block.remove()?;
            }
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MetricStore {
    fn drop(&mut self) {
        self.flush();
    }
}

impl State {
    /// The series of a datum; `None` if it is new and there are enough.
    fn series_of(
        &mut self,
        region: &Region,
        datum: &MetricDatum,
        at: i64,
        max: usize,
    ) -> Option<SeriesId> {
        let found = self.series.find(region, &datum.metric, &datum.unit, at);
        if found.is_some() || self.series.len() >= max {
            return found;
        }
        let (metric, unit) = (&datum.metric, &datum.unit);
        let id = self.series.add(region.clone(), metric.clone(), unit.clone(), at);
        series::record(id, region, metric, unit, &mut self.new_names);
        Some(id)
    }
}

/// Appends a value as the journal has it.
fn write_value(id: SeriesId, slot: Slot, datum: &MetricDatum, to: &mut Vec<u8>) {
    varint::write(u64::from(id), to);
    to.push(slot.tier as u8);
    varint::write_signed(slot.start, to);
    datum.values.write_to(to);
}

fn for_ever(store: &Weak<MetricStore>, work: fn(&MetricStore)) {
    while let Some(store) = store.upgrade() {
        work(&store);
        drop(store);
        std::thread::sleep(BEAT);
    }
}

fn seconds(clock: &dyn Clock) -> i64 {
    clock.now().0.div_euclid(1000)
}
