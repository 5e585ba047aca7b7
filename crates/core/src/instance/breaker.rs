//! Keeps calls away from a worker that fails one after the other, while others answer.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::worker::WorkerError;

/// Faults in a row that open it.
const FAULTS: u32 = 5;
/// How long it stays open before a call is let through: doubled with each that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a call on probation may take before another is let through.
const PROBATION: Duration = Duration::from_secs(60);

/// Closed, open, or on probation by one real call. Whoever chooses an instance reads it; that all
/// of them are open is for the chooser to bear.
#[derive(Debug, Default)]
pub struct Breaker {
    is_open: AtomicBool,
    /// Faults in a row.
    faults: AtomicU32,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// When the next call may be tried.
    until: Option<Instant>,
    wait: Duration,
}

impl Breaker {
    /// True while its instance is passed over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Lets one call through once an open breaker has waited; true for that call.
    #[must_use]
    pub fn try_probation(&self) -> bool {
        if !self.is_open() {
            return false;
        }
        let (mut open, now) = (self.lock(), Instant::now());
        let is_due = open.until.is_some_and(|until| until <= now);
        if is_due {
            open.until = Some(now + PROBATION);
        }
        is_due
    }

    /// Learns from what came of a call.
    pub(super) fn note<T>(&self, outcome: &Result<T, WorkerError>) {
        if !is_fault(outcome) {
            if self.faults.load(Ordering::Relaxed) != 0 {
                self.close();
            }
            return;
        }
        let faults = self.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if faults >= FAULTS {
            self.open();
        }
    }

    fn open(&self) {
        let mut open = self.lock();
        let now = Instant::now();
        // Of calls that were under way together the first one sets the wait.
        let is_waiting = open.until.is_some_and(|until| until > now && until <= now + open.wait);
        if !is_waiting {
            open.wait = (open.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            open.until = Some(now + open.wait);
        }
        self.is_open.store(true, Ordering::Relaxed);
    }

    fn close(&self) {
        let mut open = self.lock();
        *open = Open::default();
        self.faults.store(0, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the worker is to blame. A payload that it refuses it has looked at.
fn is_fault<T>(outcome: &Result<T, WorkerError>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(error) => is_at_fault(error),
    }
}

fn is_at_fault(error: &WorkerError) -> bool {
    match error {
        WorkerError::Model { status, .. } => *status >= 500,
        WorkerError::Died { .. } | WorkerError::TimedOut | WorkerError::Gone { .. } => true,
        WorkerError::Invalid { .. } | WorkerError::NotReady { .. } => false,
        WorkerError::At { error, .. } => is_at_fault(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::{Breaker, FAULTS};
    use crate::worker::{Payload, Reply, Timings, WorkerError};

    fn good() -> Result<Reply, WorkerError> {
        let payload = Payload::default();
        Ok(Reply { payload, custom_attributes: None, session: None, timings: Timings::default() })
    }

    fn fault() -> Result<Reply, WorkerError> {
        Err(WorkerError::TimedOut)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        (0..FAULTS).for_each(|_| breaker.note(&fault()));
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn faults_in_a_row_open_it() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            (1..FAULTS).for_each(|_| breaker.note(&fault()));
            breaker.note(&good());
        }
        let refused: Result<Reply, _> = Err(WorkerError::bad_input("no"));
        (0..FAULTS).for_each(|_| breaker.note(&refused));
        assert!(!breaker.is_open() && !breaker.try_probation());
        (0..FAULTS).for_each(|_| breaker.note(&fault()));
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_decides_whether_it_closes() {
        let breaker = opened();
        assert!(!breaker.try_probation(), "it has just opened");
        advance(Duration::from_secs(1)).await;
        assert!(breaker.try_probation());
        assert!(!breaker.try_probation(), "one call is enough");
        breaker.note(&good());
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_open_longer_each_time() {
        let breaker = opened();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(!breaker.try_probation(), "{seconds}");
            advance(Duration::from_millis(1)).await;
            assert!(breaker.try_probation(), "{seconds}");
            breaker.note(&fault());
        }
        assert!(breaker.is_open());
        advance(Duration::from_secs(30)).await;
        assert!(breaker.try_probation());
        advance(Duration::from_secs(60)).await;
        assert!(breaker.try_probation(), "the call on probation was never heard of again");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_were_under_way_do_not_prolong_it() {
        let breaker = opened();
        advance(Duration::from_millis(500)).await;
        (0..10).for_each(|_| breaker.note(&fault()));
        advance(Duration::from_millis(500)).await;
        assert!(breaker.try_probation());
    }
}
