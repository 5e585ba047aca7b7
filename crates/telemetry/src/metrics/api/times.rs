//! Which time a query is about, rounded as CloudWatch rounds.

use std::ops::Range;

use sagebrush_aws::ApiError;
use sagebrush_wire::Timestamp;

use super::error::{invalid, invalid_value};

const DAY: i64 = 24 * 3600;

/// Periods of metrics of high resolution.
const SHORT: [i64; 5] = [1, 5, 10, 20, 30];

/// From the start to the end, in seconds since the epoch.
///
/// The start is rounded down to what is kept of its time, or to a short period; periods begin
/// there.
pub(super) fn range(start: Timestamp, end: Timestamp, period: i64, now: i64) -> Range<i64> {
    let start = seconds(start.0.floor());
    let age = now - start;
    let step = match () {
        () if SHORT.contains(&period) => period,
        () if age < 15 * DAY => 60,
        () if age < 63 * DAY => 300,
        () => 3600,
    };
    start - start.rem_euclid(step)..seconds(end.0.ceil())
}

pub(super) fn check_order(start: Timestamp, end: Timestamp) -> Result<(), ApiError> {
    if start.0 < end.0 {
        return Ok(());
    }
    Err(invalid_value("The parameter StartTime must be less than the parameter EndTime."))
}

/// A period of a minute or a multiple, or a short one.
pub(super) fn period(period: i32, parameter: &str) -> Result<i64, ApiError> {
    let seconds = i64::from(period);
    let is_valid = SHORT.contains(&seconds) || (seconds > 0 && seconds % 60 == 0);
    if is_valid && seconds <= 366 * DAY { Ok(seconds) } else { Err(invalid(period, parameter)) }
}

/// Within what can be computed with.
#[expect(clippy::cast_possible_truncation, reason = "within bounds")]
fn seconds(at: f64) -> i64 {
    at.clamp(-1e11, 1e11) as i64
}

#[cfg(test)]
mod tests {
    use super::{DAY, Timestamp, range};

    #[test]
    fn the_start_is_rounded_by_its_age() {
        let now = 20_000 * DAY;
        let check = |before: i64, period: i64, expected: i64| {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let start = Timestamp((now - before) as f64 + 0.5);
            let range = range(start, Timestamp(0.5), period, now);
            assert_eq!((now - range.start, range.end), (expected, 1), "{before} {period}");
        };
        check(7, 60, 60);
        check(7, 1, 7);
        check(7, 5, 10);
        check(15 * DAY + 7, 60, 15 * DAY + 300);
        check(63 * DAY + 7, 60, 63 * DAY + 3600);
    }
}
