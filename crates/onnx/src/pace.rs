//! How long small calls of a model take, so that very short ones need no change of threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A hand-over to another thread and back costs some 20 µs of CPU. What takes no longer than a
/// few of them is done where it is, as other short work of the async threads.
const SHORT: Duration = Duration::from_micros(50);

/// Payloads up to this size are small; what larger ones take is no measure for them.
const SMALL_PAYLOAD: usize = 8 * 1024;

/// Each call that is quicker than the estimate lowers it by this share of the difference.
const DECAY: u64 = 8;

/// A pessimistic estimate of what a small call takes: up at once, down slowly.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU64);

impl Default for Pace {
    /// Nothing is known yet, so nothing is short.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Pace {
    /// True if a call with a payload of `size` bytes is expected to be short.
    pub(crate) fn is_short(&self, size: usize) -> bool {
        size <= SMALL_PAYLOAD && u128::from(self.0.load(Ordering::Relaxed)) <= SHORT.as_nanos()
    }

    /// Notes what a call took. Racing notes may lose one: it is an estimate.
    pub(crate) fn note(&self, size: usize, took: Duration) {
        if size > SMALL_PAYLOAD {
            return;
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.0.load(Ordering::Relaxed);
        let is_first = before == u64::MAX;
        let now = if is_first || took > before { took } else { before - (before - took) / DECAY };
        self.0.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    fn after(calls: &[(usize, u64)]) -> Pace {
        let pace = Pace::default();
        for (size, micros) in calls {
            pace.note(*size, Duration::from_micros(*micros));
        }
        pace
    }

    #[test]
    fn only_small_calls_of_quick_models_are_short() {
        let check = |calls: &[(usize, u64)], size, short| {
            assert_eq!(after(calls).is_short(size), short, "{calls:?} {size}");
        };
        check(&[], 10, false);
        check(&[(10, 9)], 10, true);
        check(&[(10, 9)], 1 << 20, false);
        check(&[(10, 51)], 10, false);
        check(&[(1 << 20, 9)], 10, false);
        check(&[(10, 9), (1 << 20, 9000)], 10, true);
    }

    #[test]
    fn one_slow_call_counts_for_a_while() {
        let slow = [(10, 9), (10, 1000)];
        assert!(!after(&slow).is_short(10));
        let mut calls = slow.to_vec();
        calls.extend([(10, 9); 40]);
        assert!(after(&calls).is_short(10));
    }
}
