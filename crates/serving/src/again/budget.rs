//! How many second tries of a variant may end in death. Pure: the time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// After so many deaths within [`WITHIN`] there are no second tries for [`PAUSE`].
const MOST_DEATHS: usize = 3;
const WITHIN: Duration = Duration::from_secs(30);
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// What second tries of a variant came to of late.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The oldest first.
    deaths: Vec<Instant>,
    paused_until: Option<Instant>,
}

impl Budget {
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Notes that a second try ended in death; true if that was one too many.
    pub(super) fn note_death(&mut self, now: Instant) -> bool {
        self.deaths.retain(|at| now < *at + WITHIN);
        self.deaths.push(now);
        let is_too_many = self.deaths.len() >= MOST_DEATHS;
        if is_too_many {
            self.deaths.clear();
            self.paused_until = Some(now + PAUSE);
        }
        is_too_many
    }

    /// False once it says no more than a new one.
    pub(super) fn is_of_use(&self, now: Instant) -> bool {
        self.is_paused(now) || self.deaths.iter().any(|at| now < *at + WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Budget;

    /// Deaths at `deaths` seconds; then whether there are second tries at those of `wanted`.
    fn check(deaths: &[u64], wanted: &[(u64, bool)]) {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut budget = Budget::default();
        for seconds in deaths {
            budget.note_death(at(*seconds));
        }
        for (seconds, is_open) in wanted {
            assert_eq!(!budget.is_paused(at(*seconds)), *is_open, "{deaths:?}, at {seconds}");
        }
    }

    #[test]
    fn three_deaths_within_thirty_seconds_pause_it() {
        check(&[], &[(0, true)]);
        check(&[0, 1], &[(1, true)]);
        check(&[0, 1, 29], &[(29, false), (58, false), (59, true)]);
        check(&[0, 1, 30], &[(30, true)]);
        check(&[0, 10, 30, 39], &[(39, false), (68, false), (69, true)]);
        check(&[0, 0, 0, 5, 5], &[(29, false), (30, true)]);
        check(&[0, 0, 0, 5, 5, 5], &[(34, false), (35, true)]);
    }

    #[test]
    fn it_is_forgotten_when_all_of_it_is_long_ago() {
        let start = Instant::now();
        let mut budget = Budget::default();
        assert!(!budget.is_of_use(start));
        assert!(!budget.note_death(start) && !budget.note_death(start));
        let later = start + Duration::from_secs(29);
        assert!(budget.is_of_use(later) && budget.note_death(later));
        assert!(budget.is_of_use(later + Duration::from_secs(29)));
        assert!(!budget.is_of_use(later + Duration::from_secs(30)));
    }
}
