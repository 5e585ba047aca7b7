//! Which state the data points of a metric call for. Pure: time is an argument.
//!
//! Periods stand on the clock: those of a minute begin with the minute. A period is looked at when
//! it is over, and once more time has passed so that late values are there. It is counted sooner
//! if nothing that is still to come can mend it: a sum that is above its threshold stays there.
//!
//! Two periods more than the alarm evaluates are read, and stand in for missing ones.

use std::ops::Range;
use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;
use sagebrush_core::cloudwatch::{Datapoint, Statistic};

use super::record::{Comparison, MetricCondition, TreatMissing};

/// How long after its end a period is taken to be whole.
const SETTLES_AFTER: i64 = 2_000;
/// How many periods are read beyond those that are evaluated.
const EXTRA_PERIODS: u32 = 2;
/// The longest and the shortest time between two looks.
const LOOK_EVERY: Range<i64> = 5_000..60_000;

/// What the data points say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// The state that there is stays.
    Stay,
    Is(AlarmState, Evidence),
}

/// What a verdict rests on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Evidence {
    /// The data points that were evaluated, newest first.
    pub(super) points: Vec<Datapoint>,
    /// How many of them breach.
    pub(super) n_breaching: u32,
    /// How many were missing.
    pub(super) n_missing: u32,
}

/// The times of the data points to read.
pub(super) fn range(condition: &MetricCondition, now: Timestamp) -> Range<Timestamp> {
    let period = period(condition);
    let length = i64::from(condition.evaluation_periods + EXTRA_PERIODS) * period;
    Timestamp(settled(period, now) - length)..Timestamp(slot(period, now.0) + period)
}

/// The state that `points` call for, which are of [`range`].
pub(super) fn evaluate(
    condition: &MetricCondition,
    points: &[Datapoint],
    now: Timestamp,
) -> Verdict {
    let period = period(condition);
    let open = slot(period, now.0);
    let is_lost = |newest: i64| {
        let in_newest = |point: &&Datapoint| slot(period, point.at.0) == newest;
        points.iter().filter(in_newest).any(|point| breaches(condition, point))
    };
    // The period that is open, and the one before, which may not have settled.
    for newest in [open, open - period] {
        if is_monotonous(condition) && is_lost(newest) {
            let verdict = judge(condition, points, newest + period);
            if matches!(verdict, Verdict::Is(AlarmState::Alarm, _)) {
                return verdict;
            }
        }
    }
    judge(condition, points, settled(period, now))
}

/// When to look again.
pub(super) fn next_look(condition: &MetricCondition, now: Timestamp) -> Timestamp {
    let period = period(condition);
    let close = settled(period, now) + period + SETTLES_AFTER;
    let soon = now.0 + (period / 12).clamp(LOOK_EVERY.start, LOOK_EVERY.end);
    Timestamp(close.min(soon))
}

/// How often `CloudWatch` itself looks at such an alarm.
pub(super) fn interval(condition: &MetricCondition) -> Duration {
    Duration::from_secs(if condition.period() < 60 { 10 } else { 60 })
}

/// By the periods that end at `end`, or before.
fn judge(condition: &MetricCondition, points: &[Datapoint], end: i64) -> Verdict {
    let (period, wanted) = (period(condition), condition.evaluation_periods);
    let begin = end - i64::from(wanted + EXTRA_PERIODS) * period;
    let mut found: Vec<Datapoint> =
        points.iter().copied().filter(|point| (begin..end).contains(&point.at.0)).collect();
    found.sort_by_key(|point| std::cmp::Reverse(point.at));
    found.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let n_found = u32::try_from(found.len()).unwrap_or(wanted);
    let n_breaching = found.iter().filter(|point| breaches(condition, point)).count();
    let evidence = Evidence {
        n_breaching: u32::try_from(n_breaching).unwrap_or(wanted),
        n_missing: wanted - n_found,
        points: found,
    };
    match state(condition, &evidence, end) {
        Some(state) => Verdict::Is(state, evidence),
        None => Verdict::Stay,
    }
}

fn state(condition: &MetricCondition, evidence: &Evidence, end: i64) -> Option<AlarmState> {
    let Evidence { points, n_breaching, n_missing } = evidence;
    let (period, needed) = (period(condition), condition.needed());
    let or_ok = |is_alarm: bool| if is_alarm { AlarmState::Alarm } else { AlarmState::Ok };
    if *n_missing == 0 || *n_breaching >= needed {
        return Some(or_ok(*n_breaching >= needed));
    }
    let all_breach = usize::try_from(*n_breaching).is_ok_and(|n| n == points.len());
    match condition.missing.unwrap_or(TreatMissing::Missing) {
        TreatMissing::Breaching => Some(or_ok(n_breaching + n_missing >= needed)),
        TreatMissing::NotBreaching => Some(AlarmState::Ok),
        TreatMissing::Ignore if all_breach => None,
        TreatMissing::Missing if points.is_empty() => Some(AlarmState::InsufficientData),
        TreatMissing::Missing if all_breach => {
            // Nothing good was seen since; but what breaches may be the first of intermittent data.
            let oldest = points.last().map_or(end, |point| slot(period, point.at.0));
            let is_old = end - oldest >= i64::from(needed) * period;
            is_old.then_some(AlarmState::Alarm)
        }
        TreatMissing::Ignore | TreatMissing::Missing => Some(AlarmState::Ok),
    }
}

fn breaches(condition: &MetricCondition, point: &Datapoint) -> bool {
    condition.comparison.breaches(point.value, condition.threshold)
}

/// Whether a period that breaches goes on to do so, whatever values are added to it. For sums, as
/// long as values are not below zero.
fn is_monotonous(condition: &MetricCondition) -> bool {
    let Some(series) = condition.series() else { return false };
    let is_above = match condition.comparison {
        Comparison::GreaterThanOrEqualToThreshold | Comparison::GreaterThanThreshold => true,
        Comparison::LessThanThreshold | Comparison::LessThanOrEqualToThreshold => false,
    };
    let statistic = series.statistic.parse();
    let only_grows =
        matches!(statistic, Ok(Statistic::SampleCount | Statistic::Sum | Statistic::Maximum));
    if is_above { only_grows } else { matches!(statistic, Ok(Statistic::Minimum)) }
}

/// In milliseconds.
fn period(condition: &MetricCondition) -> i64 {
    i64::from(condition.period().max(1)) * 1000
}

/// The end of the last period that is whole.
fn settled(period: i64, now: Timestamp) -> i64 {
    slot(period, now.0 - SETTLES_AFTER)
}

/// The beginning of the period around a time.
fn slot(period: i64, at: i64) -> i64 {
    at.div_euclid(period) * period
}

#[cfg(test)]
mod tests;
