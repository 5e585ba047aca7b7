//! How long small calls of a model take, so that very short ones need no change of threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::cpu_time;

/// A hand-over to another thread and back costs some 20 µs of CPU. What takes no longer than a
/// few of them is done where it is, as other short work of the async threads.
const SHORT: u64 = 50_000;

/// The highest estimate: calls that turn short again are soon found to be.
const HIGHEST: u64 = 4 * SHORT;

/// Payloads up to this size are small; larger ones are not short.
const SMALL_PAYLOAD: usize = 8 * 1024;

/// Payloads of the same power of two share an estimate: a body of forty rows is no measure for
/// one of a single row.
const CLASSES: usize = SMALL_PAYLOAD.ilog2() as usize + 1;

/// Of calls that are short, one of so many of a thread's is timed; of others all are. Asking the
/// system for a thread's time costs as much as a tenth of such a call. A prime, so that models that
/// take turns all have theirs.
const TIMED: u32 = 31;

thread_local! {
    static N_SHORT: Cell<u32> = const { Cell::new(0) };
}

/// For each class, what two of three calls do not exceed, in nanoseconds of a thread's CPU time:
/// a call that the system interrupted has not become long, and on a busy machine many are.
///
/// A longer call raises it by an eighth, a shorter one lowers it by a sixteenth, however long
/// or short it was: so one that is unlike the others says little.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    classes: [AtomicU64; CLASSES],
}

impl Pace {
    /// True if a call with a payload of `size` bytes is expected to be short. Of what was not
    /// seen yet, nothing is.
    pub(crate) fn is_short(&self, size: usize) -> bool {
        let known = self.of(size).map_or(0, |estimate| estimate.load(Ordering::Relaxed));
        (1..=SHORT).contains(&known)
    }

    /// Does the work of a call with a payload of `size` bytes, and times it now and then.
    pub(crate) fn time<T>(&self, size: usize, work: impl FnOnce() -> T) -> T {
        if self.is_short(size) {
            let n = N_SHORT.get();
            N_SHORT.set(n.wrapping_add(1));
            if !n.is_multiple_of(TIMED) {
                return work();
            }
        }
        let began = cpu_time();
        let done = work();
        self.note(size, cpu_time().saturating_sub(began));
        done
    }

    /// Notes what a call took. Racing notes may lose one: it is an estimate.
    fn note(&self, size: usize, took: Duration) {
        let Some(estimate) = self.of(size) else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = estimate.load(Ordering::Relaxed);
        let now = match before {
            0 => took,
            _ if took > before => before + before.div_ceil(8),
            _ => before - before / 16,
        };
        estimate.store(now.clamp(1, HIGHEST), Ordering::Relaxed);
    }

    fn of(&self, size: usize) -> Option<&AtomicU64> {
        let is_small = size <= SMALL_PAYLOAD;
        is_small.then(|| self.classes.get(size.max(1).ilog2() as usize)).flatten()
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
        check(&[(10, 9)], 8192, false);
        check(&[(8192, 9)], 8192, true);
        check(&[(10, 9)], 600, false);
    }

    #[test]
    fn a_call_that_was_interrupted_says_little() {
        let mut calls = vec![(10, 9)];
        for _ in 0..50 {
            calls.push((10, 5000));
            calls.extend([(10, 9); 15]);
            assert!(after(&calls).is_short(10), "{}", calls.len());
        }
    }

    #[test]
    fn calls_that_are_often_long_are_not_short() {
        let mut calls = vec![(10, 9)];
        for _ in 0..50 {
            calls.extend([(10, 9), (10, 5000), (10, 5000), (10, 9)]);
        }
        assert!(!after(&calls).is_short(10));
        calls.extend([(10, 9); 30]);
        assert!(after(&calls).is_short(10), "that is over");
    }
}
