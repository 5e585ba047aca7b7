//! The calls of a variant that grows and shrinks with them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

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
    terms: Terms,
    told: Mutex<Told>,
}

/// What changes as calls and instances come and go.
#[derive(Debug, Clone)]
struct Told {
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
}

/// A call that is counted until this is dropped.
#[derive(Debug)]
pub struct Wanted(Arc<Demand>);

impl Demand {
    /// Counts at most `most` calls at once, if that is given.
    #[must_use]
    pub fn new(most: Option<usize>) -> Arc<Self> {
        Self::telling(Terms { max_calls: most, max_payload: None }, Arc::default())
    }

    /// Tells `grown` when there are more calls than it was told that instances cover.
    #[must_use]
    pub fn telling(terms: Terms, grown: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            calls: watch::Sender::new(0),
            peak: AtomicUsize::new(0),
            covered: AtomicUsize::new(usize::MAX),
            grown,
            terms,
            told: Mutex::new(Told { idle_since: Instant::now(), trouble: None }),
        })
    }

    /// Counts a call; `None` if there are as many as there may be.
    #[must_use]
    pub fn call(self: &Arc<Self>) -> Option<Wanted> {
        let most = self.terms.max_calls.unwrap_or(usize::MAX);
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
        if is_counted && n_calls > self.covered.load(Ordering::SeqCst) {
            self.grown.notify_one();
        }
        is_counted.then(|| Wanted(self.clone()))
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
        self.terms
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
}
