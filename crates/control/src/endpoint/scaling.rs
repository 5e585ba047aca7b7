//! How many instances a variant has that scales with its calls. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Between what a variant scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u32,
    pub(super) most: u32,
    /// For so many calls there are always instances.
    pub(super) warm_calls: usize,
    /// How long an instance stays that is not needed.
    pub(super) idle_after: Duration,
}

/// What is seen of a variant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) now: Instant,
    /// Calls that wait or are being answered.
    pub(super) calls: usize,
    /// The most that there were at once since the last look.
    pub(super) peak: usize,
    /// When the last call ended.
    pub(super) idle_since: Instant,
    /// Instances that take calls.
    pub(super) n_ready: u32,
    /// How many calls one of them answers at once; `None` while none says.
    pub(super) per_instance: Option<usize>,
}

/// How many instances there are to be, from look to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) count: u32,
    began: Instant,
    low: Option<Low>,
}

/// Fewer than there are would have done for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Low {
    since: Instant,
    /// The most that were of use in that time.
    of_use: u32,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) count: u32,
    /// More calls than these need another look.
    pub(super) covers: usize,
    /// When to look again, if nothing happens before.
    pub(super) look_at: Option<Instant>,
}

impl Course {
    /// Begins with `count` instances that are there already.
    pub(super) fn new(count: u32, began: Instant) -> Self {
        Self { count, began, low: None }
    }

    /// The next step: up at once, down when fewer have done for long enough.
    pub(super) fn next(&mut self, bounds: &Bounds, sight: &Sight) -> Next {
        let base = bounds.least.max(sight.instances_for(bounds.warm_calls)).min(bounds.most);
        let needed = sight.instances_for(sight.calls).min(pace(sight.n_ready)).min(bounds.most);
        let idle_until = self.idle_since(sight).map(|since| since + bounds.idle_after);
        if needed.max(base) > self.count {
            self.count = needed.max(base);
            self.low = None;
        } else if idle_until.is_some_and(|until| sight.now >= until) {
            self.count = base;
            self.low = None;
        } else {
            let of_use = sight.instances_for(sight.peak.max(sight.calls));
            self.shrink(bounds, sight, of_use.max(base).min(bounds.most));
        }
        let low_since = self.low.map_or(sight.now, |low| low.since);
        let low_until = low_since + bounds.idle_after;
        let look_at = idle_until.map_or(low_until, |until| until.min(low_until));
        let look_at = (self.count > base).then_some(look_at);
        Next { count: self.count, covers: self.covers(bounds, sight), look_at }
    }

    /// Keeps what there is, as if it were begun anew.
    pub(super) fn hold(&mut self, now: Instant) {
        (self.began, self.low) = (now, None);
    }

    /// Since when there is no call, if there is none.
    fn idle_since(&self, sight: &Sight) -> Option<Instant> {
        (sight.calls == 0).then_some(sight.idle_since.max(self.began))
    }

    fn shrink(&mut self, bounds: &Bounds, sight: &Sight, of_use: u32) {
        if of_use >= self.count {
            self.low = None;
            return;
        }
        let low = self.low.unwrap_or(Low { since: sight.now, of_use });
        let low = Low { of_use: low.of_use.max(of_use), ..low };
        if sight.now >= low.since + bounds.idle_after {
            self.count = low.of_use;
            self.low = None;
        } else {
            self.low = Some(low);
        }
    }

    /// How many calls change nothing.
    fn covers(&self, bounds: &Bounds, sight: &Sight) -> usize {
        if self.count >= bounds.most {
            return usize::MAX; // There will be no more.
        }
        if self.count == 0 {
            return 0;
        }
        // Where some are being started it is looked again when they are there.
        let Some(per_instance) = sight.per_instance else { return usize::MAX };
        let covers = per_instance.saturating_mul(self.count as usize);
        if covers < sight.calls { usize::MAX } else { covers }
    }
}

/// No more than twice as many at a time: calls are often over before another instance is there.
fn pace(n_ready: u32) -> u32 {
    n_ready.saturating_mul(2).max(1)
}

impl Sight {
    fn instances_for(&self, calls: usize) -> u32 {
        let n = self.per_instance.map_or_else(|| calls.min(1), |per| calls.div_ceil(per.max(1)));
        u32::try_from(n).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Bounds, Course, Sight};

    const IDLE: Duration = Duration::from_secs(60);
    const SERVERLESS: Bounds = Bounds { least: 0, most: 20, warm_calls: 0, idle_after: IDLE };

    /// One look: seconds, calls, peak, when idle, instances that are ready, calls of each.
    type Look = (u64, usize, usize, u64, u32, Option<usize>);

    /// Looks one after the other, each with the count that follows and the seconds of the next.
    #[track_caller]
    fn check(bounds: &Bounds, first: u32, looks: &[(Look, u32, Option<u64>)]) {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let mut course = Course::new(first, zero);
        for (look, count, look_at) in looks {
            let (now, calls, peak, idle, n_ready, per_instance) = *look;
            let sight =
                Sight { now: at(now), calls, peak, idle_since: at(idle), n_ready, per_instance };
            let next = course.next(bounds, &sight);
            assert_eq!((next.count, next.look_at), (*count, look_at.map(at)), "{look:?}");
        }
    }

    #[test]
    fn from_zero_to_one_and_back() {
        check(
            &SERVERLESS,
            0,
            &[
                ((0, 0, 0, 0, 0, None), 0, None),
                ((5, 1, 1, 0, 0, None), 1, Some(65)),
                ((6, 1, 1, 0, 1, Some(64)), 1, Some(66)),
                ((66, 0, 1, 7, 1, Some(64)), 1, Some(67)),
                ((67, 0, 0, 7, 1, Some(64)), 0, None),
            ],
        );
    }

    #[test]
    fn a_call_now_and_then_keeps_it() {
        check(
            &SERVERLESS,
            1,
            &[
                ((50, 0, 0, 10, 1, Some(1)), 1, Some(70)),
                ((70, 0, 1, 60, 1, Some(1)), 1, Some(120)),
                ((119, 0, 0, 60, 1, Some(1)), 1, Some(120)),
                ((120, 0, 0, 60, 1, Some(1)), 0, None),
            ],
        );
    }

    #[test]
    fn many_first_calls_start_one_and_then_what_still_is_needed() {
        check(
            &SERVERLESS,
            0,
            &[
                ((0, 16, 16, 0, 0, None), 1, Some(60)),
                ((1, 16, 16, 0, 1, Some(1)), 2, Some(61)),
                ((2, 16, 16, 0, 2, Some(1)), 4, Some(62)),
                ((3, 3, 16, 0, 4, Some(1)), 4, Some(63)),
                // Fewer do for long enough.
                ((63, 3, 3, 0, 4, Some(1)), 4, Some(123)),
                ((100, 1, 3, 0, 4, Some(1)), 4, Some(123)),
                ((123, 1, 2, 0, 4, Some(1)), 3, Some(183)),
            ],
        );
    }

    #[test]
    fn one_that_answers_all_stays_alone() {
        check(
            &SERVERLESS,
            0,
            &[
                ((0, 20, 20, 0, 0, None), 1, Some(60)),
                ((1, 20, 20, 0, 1, Some(usize::MAX)), 1, Some(61)),
            ],
        );
    }

    #[test]
    fn provisioned_ones_are_always_there() {
        let provisioned = Bounds { warm_calls: 3, ..SERVERLESS };
        check(
            &provisioned,
            0,
            &[
                ((0, 0, 0, 0, 0, None), 1, None),
                ((1, 0, 0, 0, 1, Some(1)), 3, None),
                ((2, 5, 5, 0, 3, Some(1)), 5, Some(62)),
                ((62, 0, 5, 3, 5, Some(1)), 5, Some(63)),
                ((63, 0, 0, 3, 5, Some(1)), 3, None),
                ((999, 0, 0, 3, 3, Some(1)), 3, None),
            ],
        );
        check(&provisioned, 1, &[((1, 0, 0, 0, 1, Some(usize::MAX)), 1, None)]);
    }

    #[test]
    fn managed_ones_stay_between_their_bounds() {
        let managed = Bounds { least: 2, most: 3, warm_calls: 0, idle_after: IDLE };
        check(
            &managed,
            0,
            &[
                ((0, 0, 0, 0, 0, None), 2, None),
                ((1, 9, 9, 0, 2, Some(2)), 3, Some(61)),
                ((61, 0, 9, 2, 3, Some(2)), 3, Some(62)),
                ((62, 0, 0, 2, 3, Some(2)), 2, None),
            ],
        );
    }

    #[test]
    fn one_that_took_long_to_start_stays_as_long_as_others() {
        let began = Instant::now();
        let now = began + Duration::from_secs(1);
        let idle_since = began - Duration::from_secs(100);
        let sight = Sight { now, calls: 0, peak: 0, idle_since, n_ready: 1, per_instance: Some(1) };
        let next = Course::new(1, began).next(&SERVERLESS, &sight);
        assert_eq!((next.count, next.look_at), (1, Some(began + IDLE)));
    }

    #[test]
    fn how_many_calls_change_nothing() {
        let now = Instant::now();
        for (count, calls, per_instance, most, covers) in [
            (0, 0, None, 5, 0),
            (1, 1, None, 5, usize::MAX),
            (1, 1, Some(2), 5, 2),
            (2, 4, Some(2), 5, 4),
            (2, 9, Some(2), 2, usize::MAX),
            (1, 1, Some(usize::MAX), 5, usize::MAX),
        ] {
            let bounds = Bounds { most, ..SERVERLESS };
            let sight =
                Sight { now, calls, peak: calls, idle_since: now, n_ready: count, per_instance };
            assert_eq!(Course::new(count, now).next(&bounds, &sight).covers, covers, "{sight:?}");
        }
    }
}
