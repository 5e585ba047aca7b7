//! How long calls of a model take, so that very short ones may share a trip to a worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sagebrush_core::worker::Timings;

/// Calls that take longer gain nothing from company: a trip costs some 20 µs.
const SHORT: Duration = Duration::from_micros(200);
/// Calls that go together are answered together, so they may keep each other waiting for so long.
const TOGETHER: Duration = Duration::from_millis(1);
const MOST: u64 = 16;
/// One call that took long says no more than this: it may have waited for a core.
const LONGEST: Duration = Duration::from_millis(100);
/// The share that the newest call has in the mean.
const SHARE: u64 = 32;

/// The mean time that calls take, the newest first of all. Of all of them, not of the quick ones:
/// code that is slow now and then would keep calls waiting that another worker could have taken.
#[derive(Debug)]
pub(super) struct Pace(AtomicU64);

impl Default for Pace {
    /// Nothing is known yet, so nothing is short.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Pace {
    /// How many calls may share a trip.
    pub(super) fn n_together(&self) -> usize {
        let mean = self.0.load(Ordering::Relaxed);
        if mean > nanos(SHORT) {
            return 1;
        }
        let fits = (nanos(TOGETHER) / mean.max(1)).clamp(1, MOST);
        usize::try_from(fits).unwrap_or(1)
    }

    /// Notes what a call took that carried `bytes` there and back: about a nanosecond for each.
    /// Racing notes may lose one: it is an estimate.
    pub(super) fn note(&self, timings: Timings, bytes: usize) {
        let carried = Duration::from_nanos(bytes.try_into().unwrap_or(u64::MAX));
        let times = [timings.pre, timings.model, timings.post, carried];
        let took = times.into_iter().fold(Duration::ZERO, Duration::saturating_add);
        let took = nanos(took.min(LONGEST));
        let mean = match self.0.load(Ordering::Relaxed) {
            u64::MAX => took,
            mean => mean - mean / SHARE + took / SHARE,
        };
        self.0.store(mean, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sagebrush_core::worker::Timings;

    use super::Pace;

    #[test]
    fn only_short_calls_share_a_trip() {
        let check = |runs: &[(usize, u64, usize)], n_together: usize| {
            let pace = Pace::default();
            for (n, micros, bytes) in runs {
                for _ in 0..*n {
                    let model = Duration::from_micros(*micros);
                    pace.note(Timings { model, ..Timings::default() }, *bytes);
                }
            }
            assert_eq!(pace.n_together(), n_together, "{runs:?}");
        };
        check(&[], 1);
        check(&[(1, 0, 0)], 16);
        check(&[(1, 9, 0)], 16);
        check(&[(1, 100, 0)], 10);
        check(&[(1, 199, 0)], 5);
        check(&[(1, 201, 0)], 1);
        // One call that waited for a core, and one that hung.
        check(&[(100, 9, 0), (1, 3_000, 0)], 9);
        check(&[(100, 9, 0), (1, u64::MAX / 2_000, 0)], 1);
        check(&[(100, 9, 0), (1, 60_000_000, 0), (300, 9, 0)], 16);
        // Much to carry.
        check(&[(1, 9, 5_000)], 16);
        check(&[(1, 9, 300_000)], 1);
        // Slow now and then.
        check(&[(100, 9, 0), (1, 50_000, 0), (9, 9, 0), (1, 50_000, 0)], 1);
    }
}
