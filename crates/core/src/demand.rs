//! The calls of a variant that grows and shrinks with them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How far back [`Demand::recent_peak`] looks, at the least.
const RECENT: Duration = Duration::from_secs(9);

/// Counts the calls that want an instance of one fleet, whether there is one or not. Whoever scales
/// the fleet follows the count; it outlives tables.
#[derive(Debug)]
pub struct Demand {
    calls: watch::Sender<usize>,
    /// The most calls that there were at once since that was asked last.
    peak: AtomicUsize,
    /// So many calls have instances, or none would be added for more. Beyond that `grown` is told.
    covered: AtomicUsize,
    grown: Arc<Notify>,
    measured: Measured,
    told: Mutex<Told>,
}

/// What metrics tell of the calls.
#[derive(Debug)]
struct Measured {
    /// The most calls at once since `recent` began.
    peak: AtomicUsize,
    recent: Mutex<Recent>,
    /// Calls that found provisioned concurrency, and those that found it taken.
    provisioned: AtomicU64,
    spilled: AtomicU64,
}

/// The time before now that a peak is told of.
#[derive(Debug)]
struct Recent {
    since: Instant,
    /// That of the time before.
    peak: usize,
}

/// What a call of a variant may have, and what it must know.
#[derive(Debug, Clone)]
struct Told {
    terms: Terms,
    idle_since: Instant,
    trouble: Option<Arc<str>>,
}

/// What the calls of a variant are held to. A serverless variant has both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// SageMaker API: `MaxConcurrency`.
    pub max_calls: Option<usize>,
    /// The bytes of a request, and those of an answer.
    pub max_payload: Option<usize>,
    /// SageMaker API: `ProvisionedConcurrency`, 0 without.
    pub provisioned: usize,
}

/// A call that is counted until this is dropped.
#[derive(Debug)]
pub struct Wanted(Arc<Demand>);

impl Demand {
    /// Counts at most `most` calls at once, if that is given.
    #[must_use]
    pub fn new(most: Option<usize>) -> Arc<Self> {
        Self::telling(Terms { max_calls: most, ..Terms::default() }, Arc::default())
    }

    /// Tells `grown` when there are more calls than it was told that instances cover.
    #[must_use]
    pub fn telling(terms: Terms, grown: Arc<Notify>) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            calls: watch::Sender::new(0),
            peak: AtomicUsize::new(0),
            covered: AtomicUsize::new(usize::MAX),
            grown,
            measured: Measured::new(now),
            told: Mutex::new(Told { terms, idle_since: now, trouble: None }),
        })
    }

    /// Counts a call; `None` if there are as many as there may be.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Option<Wanted> {
        let terms = self.terms();
        let most = terms.max_calls.unwrap_or(usize::MAX);
        let mut n_calls = 0;
        let is_counted = self.calls.send_if_modified(|calls| {
            if *calls >= most {
                return false;
            }
            *calls += 1;
            n_calls = *calls;
            self.peak.fetch_max(n_calls, Ordering::SeqCst);
            true
        });
        if !is_counted {
            return None;
        }
        if n_calls > self.covered.load(Ordering::SeqCst) {
            self.grown.notify_one();
        }
        self.measured.called(n_calls, terms.provisioned);
        Some(Wanted(self.clone()))
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Follows the count.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.calls.subscribe()
    }

    /// The most calls that there were at once since this was asked last.
    #[must_use]
    pub fn take_peak(&self) -> usize {
        let calls = self.calls.borrow(); // Held: none comes between.
        self.peak.swap(*calls, Ordering::SeqCst).max(*calls)
    }

    /// The most calls that there were at once in the last ten seconds or some more. Whoever asks
    /// takes nothing from others who ask.
    #[must_use]
    pub fn recent_peak(&self) -> usize {
        let calls = *self.calls.borrow();
        self.measured.recent_peak(calls)
    }

    /// The calls that were counted since this was asked last: those that found provisioned
    /// concurrency, and those that found it taken. None are where none is provisioned.
    #[must_use]
    pub fn take_provisioned(&self) -> (u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (take(&self.measured.provisioned), take(&self.measured.spilled))
    }

    /// Since when there is no call; of no meaning while there are some.
    #[must_use]
    pub fn idle_since(&self) -> Instant {
        self.told().idle_since
    }

    /// Instances cover so many calls from now on.
    pub fn cover(&self, n_calls: usize) {
        self.covered.store(n_calls, Ordering::SeqCst);
        if self.calls() > n_calls {
            self.grown.notify_one(); // They came between the look and this.
        }
    }

    #[must_use]
    pub fn terms(&self) -> Terms {
        self.told().terms
    }

    /// Calls are held to these from now on; those under way stay.
    pub fn set_terms(&self, terms: Terms) {
        self.told().terms = terms;
    }

    /// Why no instance comes up, while none does: there is nothing to wait for.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.told().trouble.clone()
    }

    pub fn set_trouble(&self, trouble: Option<Arc<str>>) {
        self.told().trouble = trouble;
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    fn new(now: Instant) -> Self {
        Self {
            peak: AtomicUsize::new(0),
            recent: Mutex::new(Recent { since: now, peak: 0 }),
            provisioned: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
        }
    }

    /// Takes a call that makes it `n_calls` at once.
    fn called(&self, n_calls: usize, provisioned: usize) {
        self.peak.fetch_max(n_calls, Ordering::Relaxed);
        if provisioned > 0 {
            let count = if n_calls <= provisioned { &self.provisioned } else { &self.spilled };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn recent_peak(&self, calls: usize) -> usize {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now - recent.since >= RECENT {
            *recent = Recent { since: now, peak: self.peak.swap(0, Ordering::Relaxed) };
        }
        recent.peak.max(self.peak.load(Ordering::Relaxed)).max(calls)
    }
}

impl Wanted {
    /// Whether `demand` counts it.
    #[must_use]
    pub fn is_of(&self, demand: &Arc<Demand>) -> bool {
        Arc::ptr_eq(&self.0, demand)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let demand = &self.0;
        demand.calls.send_modify(|calls| {
            *calls -= 1;
            if *calls == 0 {
                demand.told().idle_since = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::{Demand, Terms};

    #[test]
    fn calls_count_while_they_last_and_are_limited() {
        let demand = Demand::new(Some(2));
        let (first, second) = (demand.call().unwrap(), demand.call().unwrap());
        assert!(demand.call().is_none());
        assert_eq!(demand.calls(), 2);
        drop(first);
        let third = demand.call().unwrap();
        drop((second, third));
        assert_eq!(demand.calls(), 0);
    }

    #[tokio::test]
    async fn the_count_can_be_followed() {
        let demand = Demand::new(None);
        let mut calls = demand.watch();
        let wanted = demand.call();
        calls.wait_for(|calls| *calls == 1).await.unwrap();
        drop(wanted);
        calls.wait_for(|calls| *calls == 0).await.unwrap();
    }

    #[test]
    fn a_peak_is_seen_once() {
        let demand = Demand::new(None);
        let calls = [demand.call(), demand.call(), demand.call()];
        drop(calls);
        let _one = demand.call();
        assert_eq!(demand.take_peak(), 3);
        assert_eq!(demand.take_peak(), 1, "what is still there counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_recent_peak_is_seen_by_all_who_look() {
        let demand = Demand::new(None);
        let calls = [demand.call(), demand.call(), demand.call()];
        drop(calls);
        let one = demand.call();
        for (seconds, peak) in [(0, 3), (5, 3), (5, 3), (5, 3), (5, 1), (10, 1)] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(demand.recent_peak(), peak);
        }
        drop(one);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(demand.recent_peak(), 0);
    }

    #[test]
    fn calls_find_provisioned_concurrency_or_find_it_taken() {
        let demand = Demand::new(None);
        drop(demand.call());
        assert_eq!(demand.take_provisioned(), (0, 0));
        demand.set_terms(Terms { provisioned: 2, max_calls: Some(3), ..Terms::default() });
        let calls = [demand.call(), demand.call(), demand.call(), demand.call()];
        drop(calls);
        drop(demand.call());
        assert_eq!(demand.take_provisioned(), (3, 1), "one was refused");
        assert_eq!(demand.take_provisioned(), (0, 0), "each is told once");
    }

    #[test]
    fn more_calls_than_are_covered_are_told() {
        let grown = Arc::new(Notify::new());
        let demand = Demand::telling(Terms::default(), grown.clone());
        let is_told = || grown.notified().now_or_never().is_some();
        let _first = demand.call();
        assert!(!is_told(), "nobody said what is covered");
        demand.cover(0);
        assert!(is_told(), "the call was there before");
        demand.cover(2);
        let _second = demand.call();
        assert!(!is_told());
        let _third = demand.call();
        assert!(is_told());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_from_the_end_of_the_last_call() {
        let demand = Demand::new(None);
        let began = Instant::now();
        let calls = (demand.call(), demand.call());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(calls.0);
        assert_eq!(demand.idle_since(), began);
        drop(calls.1);
        assert_eq!(demand.idle_since(), began + Duration::from_secs(5));
    }

    #[test]
    fn terms_may_change() {
        let demand = Demand::new(Some(1));
        let _first = demand.call().unwrap();
        assert!(demand.call().is_none());
        let terms = Terms { max_calls: Some(2), max_payload: Some(10), provisioned: 0 };
        demand.set_terms(terms);
        assert!(demand.call().is_some());
        assert_eq!(demand.terms().max_payload, Some(10));
    }
}
