//! When calls are to begin.

use std::time::Duration;

/// So many calls a second, evenly, for so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    per_second: f64,
    calls: usize,
}

impl Schedule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some millions of calls at most"
    )]
    pub(super) fn new(per_second: f64, time: Duration) -> Self {
        Self { per_second, calls: (per_second * time.as_secs_f64()).floor() as usize }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// How long after the start the `n`-th call, from 0, is to begin.
    #[expect(clippy::cast_precision_loss, reason = "some millions of calls at most")]
    pub(super) fn at(&self, n: usize) -> Option<Duration> {
        (n < self.calls).then(|| Duration::from_secs_f64(n as f64 / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Schedule;

    #[test]
    fn calls_are_spread_evenly() {
        let schedule = Schedule::new(4.0, Duration::from_secs(2));
        let times: Vec<u128> =
            (0..9).filter_map(|n| schedule.at(n)).map(|at| at.as_millis()).collect();
        assert_eq!(times, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
        assert_eq!(schedule.calls(), times.len());
    }
}
