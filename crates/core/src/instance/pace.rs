//! What a call costs a worker, by what calls have cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each run moves the estimate by this share of the difference.
const SHARE: u64 = 8;

/// A run counts at most as this many times the estimate: one stall of the machine must not
/// make a queue look full, while a model that became slow is followed within some dozen runs.
const OUTLIER: u64 = 2;

/// An estimate that follows the runs. Racing notes may lose one: it is an estimate.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Nanoseconds of a slot for one call; 0 while nothing is known.
    call: AtomicU64,
    /// Nanoseconds of a run, whatever its size.
    run: AtomicU64,
}

impl Pace {
    /// Notes a run that answered `calls` calls.
    pub(super) fn note(&self, calls: usize, took: Duration) {
        let run = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let calls = u64::try_from(calls).unwrap_or(u64::MAX).max(1);
        follow(&self.call, (run / calls).max(1));
        follow(&self.run, run);
    }

    /// Notes how long a call kept its worker busy that was answered in parts.
    pub(super) fn note_stream(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        follow(&self.call, nanos.max(1));
    }

    /// How long a slot has to do with one call; zero while nothing is known.
    pub(super) fn of_a_call(&self) -> Duration {
        Duration::from_nanos(self.call.load(Ordering::Relaxed))
    }

    /// How long a run takes; zero while nothing is known.
    pub(super) fn of_a_run(&self) -> Duration {
        Duration::from_nanos(self.run.load(Ordering::Relaxed))
    }
}

fn follow(estimate: &AtomicU64, now: u64) {
    let before = estimate.load(Ordering::Relaxed);
    let next = match before {
        0 => now,
        _ if now > before => {
            let now = now.min(before.saturating_mul(OUTLIER));
            before + (now - before).div_ceil(SHARE)
        }
        _ => before - (before - now) / SHARE,
    };
    estimate.store(next, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn follows_what_calls_take() {
        let pace = Pace::default();
        assert_eq!(pace.of_a_call(), Duration::ZERO);
        pace.note(4, Duration::from_millis(8));
        assert_eq!(
            (pace.of_a_call(), pace.of_a_run()),
            (Duration::from_millis(2), Duration::from_millis(8))
        );
        for _ in 0..100 {
            pace.note(1, Duration::from_millis(4));
        }
        let off = pace.of_a_call().abs_diff(Duration::from_millis(4));
        assert!(off < Duration::from_micros(1), "{off:?}");
    }

    #[test]
    fn one_stall_does_not_move_it_far_and_a_slow_model_is_followed() {
        let pace = Pace::default();
        pace.note(1, Duration::from_micros(20));
        pace.note(1, Duration::from_millis(50));
        assert!(pace.of_a_call() < Duration::from_micros(25), "{:?}", pace.of_a_call());
        for _ in 0..100 {
            pace.note(1, Duration::from_millis(50));
        }
        let off = pace.of_a_call().abs_diff(Duration::from_millis(50));
        assert!(off < Duration::from_millis(1), "{off:?}");
    }
}
