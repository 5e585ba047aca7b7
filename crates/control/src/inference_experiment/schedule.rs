//! When an experiment starts and ends. Pure.

use std::time::Duration;

use sagebrush_core::Timestamp;
use serde::{Deserialize, Serialize};

/// SageMaker: an experiment "concludes after 7 days" unless told otherwise.
const USUAL: Duration = Duration::from_hours(7 * 24);
/// SageMaker API: "the maximum duration that you can set for an inference experiment is 30 days".
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// SageMaker API: `InferenceExperimentSchedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub starts_at: Timestamp,
    /// `None`: the usual time after the start.
    ends_at: Option<Timestamp>,
}

impl Schedule {
    /// What is asked for at `now`. A start that has gone by is now.
    ///
    /// # Errors
    /// Says what is wrong with the times.
    pub(super) fn new(
        start: Option<Timestamp>,
        end: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let starts_at = start.map_or(now, |start| start.max(now));
        Self { starts_at, ends_at: None }.ending(end, now)
    }

    /// The same with another end, of an experiment that may have started.
    ///
    /// # Errors
    /// Says what is wrong with the times.
    pub(super) fn ending(
        self,
        end: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let Some(end) = end else { return Ok(Self { ends_at: None, ..self }) };
        if end <= now {
            return Err("EndTime must be in the future");
        }
        if end <= self.starts_at {
            return Err("EndTime must be later than StartTime");
        }
        if end.since(self.starts_at) > LONGEST {
            return Err("the maximum duration of an inference experiment is 30 days");
        }
        Ok(Self { ends_at: Some(end), ..self })
    }

    /// The same, started at once.
    ///
    /// # Errors
    /// Says why its end is not possible then.
    pub(super) fn started(self, now: Timestamp) -> Result<Self, &'static str> {
        Self { starts_at: now, ends_at: None }.ending(self.ends_at, now)
    }

    /// When it ends.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let usual = i64::try_from(USUAL.as_millis()).unwrap_or(i64::MAX);
        self.ends_at.unwrap_or_else(|| Timestamp(self.starts_at.0.saturating_add(usual)))
    }

    /// True when both have their times in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.starts_at < other.end() && other.starts_at < self.end()
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;

    use super::Schedule;

    const NOW: i64 = 1_700_000_000_000;
    const DAY: i64 = 24 * 3600 * 1000;

    /// Times are days from now; what is wanted is the start and the end.
    #[track_caller]
    fn check(start: Option<i64>, end: Option<i64>, wanted: Result<(i64, i64), &str>) {
        let at = |days: Option<i64>| days.map(|days| Timestamp(NOW + days * DAY));
        let made = Schedule::new(at(start), at(end), Timestamp(NOW));
        let days = |time: Timestamp| (time.0 - NOW) / DAY;
        let made = made.map(|made| (days(made.starts_at), days(made.end())));
        match (made, wanted) {
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (made, wanted) => assert_eq!(made, wanted),
        }
    }

    #[test]
    fn starts_and_ends() {
        check(None, None, Ok((0, 7)));
        check(Some(2), None, Ok((2, 9)));
        check(Some(-2), None, Ok((0, 7)));
        check(None, Some(1), Ok((0, 1)));
        check(None, Some(30), Ok((0, 30)));
        check(Some(2), Some(32), Ok((2, 32)));
        check(Some(-2), Some(30), Ok((0, 30)));
        check(None, Some(31), Err("30 days"));
        check(Some(2), Some(33), Err("30 days"));
        check(Some(2), Some(2), Err("later than StartTime"));
        check(Some(2), Some(1), Err("later than StartTime"));
        check(None, Some(0), Err("in the future"));
        check(Some(-2), Some(-1), Err("in the future"));
    }

    #[test]
    fn a_start_at_once_keeps_the_end_that_was_given() {
        let at = |days: i64| Timestamp(NOW + days * DAY);
        for (end, started) in [(None, Ok(8)), (Some(20), Ok(20)), (Some(32), Err(()))] {
            let planned = Schedule::new(Some(at(10)), end.map(at), at(0)).unwrap();
            let started_at_once = planned.started(at(1)).map(Schedule::end).map_err(|_| ());
            assert_eq!(started_at_once, started.map(at));
        }
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        let new = |start: i64, end: i64| {
            let at = |days| Some(Timestamp(NOW + days * DAY));
            Schedule::new(at(start), at(end), Timestamp(NOW)).unwrap()
        };
        assert!(!new(1, 3).overlaps(new(3, 5)) && !new(3, 5).overlaps(new(1, 3)));
        assert!(new(1, 4).overlaps(new(3, 5)) && new(3, 5).overlaps(new(1, 4)));
        assert!(new(1, 9).overlaps(new(3, 5)) && new(3, 5).overlaps(new(1, 9)));
    }
}
