//! When a scheduled action is due: `at()`, `rate()`, `cron()`. Pure: the time and its zone come in.
//!
//! A local time that does not exist, because the clock was put forward, is due when the clock is
//! put forward. One that exists twice is due once, the first time.

mod cron;

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp as Moment;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use sagebrush_core::Timestamp;

use self::cron::Cron;

/// How far back a missed time is looked for, step by step: schedules that are due often are due
/// within the first, so that there is never much to go through.
const BACK: [Duration; 4] = [
    Duration::from_hours(1),
    Duration::from_hours(24),
    Duration::from_hours(24 * 32),
    Duration::from_hours(24 * 400),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Schedule {
    At(DateTime),
    Rate(Duration),
    Cron(Box<Cron>),
}

/// What is no schedule, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Schedule expression {expression} is not valid: {reason}")]
pub(super) struct InvalidSchedule {
    expression: String,
    reason: String,
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let invalid = |reason| InvalidSchedule { expression: text.to_owned(), reason };
        let inner = text.trim().strip_suffix(')').and_then(|text| text.split_once('('));
        let schedule = match inner {
            Some(("at", time)) => at(time).map(Self::At),
            Some(("rate", rate)) => self::rate(rate).map(Self::Rate),
            Some(("cron", fields)) => Cron::parse(fields).map(Box::new).map(Self::Cron),
            Some(_) | None => Err("it must be at(...), rate(...) or cron(...)".to_owned()),
        };
        schedule.map_err(invalid)
    }
}

impl Schedule {
    /// The first time after `after`. What has a rate begins at `begin`.
    pub(super) fn next(
        &self,
        zone: &TimeZone,
        begin: Timestamp,
        after: Timestamp,
    ) -> Option<Timestamp> {
        match self {
            Self::At(time) => resolve(*time, zone).map(from_jiff).filter(|at| *at > after),
            Self::Rate(rate) => next_beat(*rate, begin, after),
            Self::Cron(cron) => {
                cron.next(zone, Moment::from_millisecond(after.0).ok()?).map(from_jiff)
            }
        }
    }

    /// The last time after `after` up to `until`.
    pub(super) fn latest(
        &self,
        zone: &TimeZone,
        begin: Timestamp,
        (after, until): (Timestamp, Timestamp),
    ) -> Option<Timestamp> {
        let steps = BACK.map(|back| Timestamp(until.0.saturating_sub(millis(back))));
        let steps = steps.into_iter().filter(|from| *from > after);
        steps.chain([after]).find_map(|from| {
            let next = |at: &Timestamp| self.next(zone, begin, *at).filter(|next| *next <= until);
            std::iter::successors(next(&from), next).last()
        })
    }
}

/// The time zone of a name in the IANA database; UTC without a name.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, UnknownZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name).map_err(|_| UnknownZone(name.to_owned()))
}

/// No time zone is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Timezone {0} is not a canonical name of the IANA time zone database")]
pub(super) struct UnknownZone(String);

fn at(time: &str) -> Result<DateTime, String> {
    let read = DateTime::strptime("%Y-%m-%dT%H:%M:%S", time.trim());
    read.map_err(|_| format!("{time} is not a time of the form yyyy-mm-ddThh:mm:ss"))
}

fn rate(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text} is not a number of minutes, hours or days");
    let (value, unit) = text.trim().split_once(' ').ok_or_else(invalid)?;
    let value: u32 = value.parse().map_err(|_| invalid())?;
    let minutes = match unit.trim() {
        "minute" | "minutes" => 1,
        "hour" | "hours" => 60,
        "day" | "days" => 24 * 60,
        _ => return Err(invalid()),
    };
    if value == 0 {
        return Err("a rate is 1 minute at least".to_owned());
    }
    Ok(Duration::from_secs(u64::from(value) * minutes * 60))
}

fn next_beat(rate: Duration, begin: Timestamp, after: Timestamp) -> Option<Timestamp> {
    let rate = millis(rate).max(1);
    if after < begin {
        return Some(begin);
    }
    let n_gone = (after.0 - begin.0) / rate;
    let next = n_gone.checked_add(1)?.checked_mul(rate)?;
    begin.0.checked_add(next).map(Timestamp)
}

/// The moment of a local time.
fn resolve(time: DateTime, zone: &TimeZone) -> Option<Moment> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok()
        }
        AmbiguousOffset::Gap { .. } => {
            // The time that is left out may be the very first: a second behind it lies behind the
            // change.
            let second = jiff::SignedDuration::from_secs(1);
            let behind = ambiguous.later().ok()?.checked_add(second).ok()?;
            zone.preceding(behind).next().map(|transition| transition.timestamp())
        }
    }
}

fn from_jiff(moment: Moment) -> Timestamp {
    Timestamp(moment.as_millisecond())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
