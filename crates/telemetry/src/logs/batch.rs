//! The rules of `PutLogEvents`: which events of a batch are kept.

use std::ops::Range;

use sagebrush_core::Timestamp;

use super::error::LogError;

/// What the API says of a batch: its bytes, with those that each event counts besides its message.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 20;
const EVENT_BYTES: usize = 26;

const HOUR: i64 = 3600 * 1000;
const MAX_SPAN: i64 = 24 * HOUR;
const MAX_AGE: i64 = 14 * 24 * HOUR;
const MAX_AHEAD: i64 = 2 * HOUR;

/// Which events are kept, and where those end or begin that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) kept: Range<usize>,
    /// Behind the last event that the retention of the group is over for.
    pub(super) expired_end: Option<usize>,
    /// Behind the last event that is older than two weeks.
    pub(super) too_old_end: Option<usize>,
    /// The first event that is more than two hours ahead.
    pub(super) too_new_start: Option<usize>,
}

/// Looks at the times and the lengths of the messages of a batch.
///
/// # Errors
/// When the batch as a whole breaks a rule.
pub(super) fn sort(
    events: &[(i64, usize)],
    now: Timestamp,
    expired_before: Option<i64>,
) -> Result<Sorted, LogError> {
    let bytes: usize = events.iter().map(|(_, len)| len + EVENT_BYTES).sum();
    if bytes > MAX_BATCH_BYTES {
        let message = format!("Upload too large: {bytes} bytes exceeds limit of {MAX_BATCH_BYTES}");
        return Err(LogError::Invalid(message));
    }
    if !events.is_sorted_by_key(|(time, _)| time) {
        return Err(LogError::invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let first = events.first().map_or(0, |(time, _)| *time);
    let last = events.last().map_or(0, |(time, _)| *time);
    if last.saturating_sub(first) > MAX_SPAN {
        return Err(LogError::invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 \
             hours.",
        ));
    }
    let older_than = |limit: i64| events.partition_point(|(time, _)| *time < limit);
    let (expired, too_old) = (expired_before.map_or(0, older_than), older_than(now.0 - MAX_AGE));
    let too_new = events.partition_point(|(time, _)| *time <= now.0 + MAX_AHEAD);
    let start = expired.max(too_old);
    Ok(Sorted {
        kept: start..too_new.max(start),
        expired_end: Some(expired).filter(|end| *end > 0),
        too_old_end: Some(too_old).filter(|end| *end > 0),
        too_new_start: Some(too_new).filter(|start| *start < events.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000 * 24 * HOUR);

    /// Times are in hours from now, limits in days ago; places are those of [`Sorted`].
    fn check(
        hours: &[i64],
        retention_days: Option<i64>,
        kept: Range<usize>,
        [expired, too_old, too_new]: [Option<usize>; 3],
    ) {
        let events: Vec<_> = hours.iter().map(|hour| (NOW.0 + hour * HOUR, 1)).collect();
        let before = retention_days.map(|days| NOW.0 - days * 24 * HOUR);
        let sorted = sort(&events, NOW, before).unwrap();
        let expected =
            Sorted { kept, expired_end: expired, too_old_end: too_old, too_new_start: too_new };
        assert_eq!(sorted, expected, "{hours:?}");
    }

    #[test]
    fn events_have_their_time() {
        check(&[0, 0, 1], None, 0..3, [None; 3]);
        check(&[-336, -336], None, 0..2, [None; 3]);
        check(&[-340, -337, -336], None, 2..3, [None, Some(2), None]);
        check(&[0, 2, 3], None, 0..2, [None, None, Some(2)]);
        check(&[3], None, 0..0, [None, None, Some(0)]);
        check(&[-30, -25, -20], Some(1), 2..3, [Some(2), None, None]);
        check(&[-340, -337], Some(1), 2..2, [Some(2), Some(2), None]);
        check(&[-30], Some(30), 0..1, [None; 3]);
    }

    fn refuse(events: &[(i64, usize)], message: &str) {
        let error = sort(events, NOW, None).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }

    #[test]
    fn a_batch_is_in_order_and_not_too_long() {
        let now = NOW.0;
        refuse(&[(now, 1), (now - 1, 1)], "chronological order");
        refuse(&[(now - MAX_SPAN - 1, 1), (now, 1)], "more than 24 hours");
        let longest = MAX_BATCH_BYTES - EVENT_BYTES;
        assert!(sort(&[(now, longest)], NOW, None).is_ok());
        refuse(&[(now, longest + 1)], "1048577 bytes exceeds limit of 1048576");
        refuse(&[(now, longest - 26), (now, 1)], "too large");
    }
}
