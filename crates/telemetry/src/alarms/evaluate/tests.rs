use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState::{self, Alarm, InsufficientData, Ok};
use sagebrush_core::cloudwatch::{Datapoint, Series};

use super::{Verdict, evaluate, next_look, range};
use crate::alarms::record::{Comparison, MetricCondition, Source, TreatMissing};

const MINUTE: i64 = 60_000;
/// The beginning of a minute.
const START: i64 = 1_800_000_000_000 / MINUTE * MINUTE;

fn alarm(needed: u32, of: u32, missing: TreatMissing) -> MetricCondition {
    let series = Series {
        namespace: "N".to_owned(),
        name: "m".to_owned(),
        dimensions: Vec::new(),
        unit: None,
        period: 60,
        statistic: "Average".to_owned(),
    };
    MetricCondition {
        source: Source::Metric(series),
        evaluation_periods: of,
        datapoints_to_alarm: Some(needed),
        comparison: Comparison::GreaterThanThreshold,
        threshold: 10.0,
        missing: Some(missing),
        low_sample_count: None,
    }
}

fn by(mut condition: MetricCondition, statistic: &str, comparison: Comparison) -> MetricCondition {
    if let Source::Metric(series) = &mut condition.source {
        series.statistic = statistic.to_owned();
    }
    MetricCondition { comparison, ..condition }
}

/// One period a word, the first at `START`: `X` breaches, `0` does not, `-` is missing.
fn points(words: &str) -> Vec<Datapoint> {
    let mut at = START - MINUTE;
    let one = |word: &str| {
        at += MINUTE;
        let value = match word {
            "-" => return None,
            "X" => 20.0,
            _ => 0.0,
        };
        Some(Datapoint { at: Timestamp(at), value })
    };
    words.split_whitespace().filter_map(one).collect()
}

/// `None`: the state stays.
fn state_at(condition: &MetricCondition, words: &str, after: i64) -> Option<AlarmState> {
    match evaluate(condition, &points(words), Timestamp(START + after)) {
        Verdict::Stay => None,
        Verdict::Is(state, _) => Some(state),
    }
}

/// The states by what is missing data: missing, ignore, breaching, notBreaching.
fn check(needed: u32, words: &str, expected: [Option<AlarmState>; 4]) {
    let ways = [
        TreatMissing::Missing,
        TreatMissing::Ignore,
        TreatMissing::Breaching,
        TreatMissing::NotBreaching,
    ];
    let end = i64::try_from(words.split_whitespace().count()).unwrap() * MINUTE;
    for (way, expected) in ways.into_iter().zip(expected) {
        let found = state_at(&alarm(needed, 3, way), words, end + 5_000);
        assert_eq!(found, expected, "{needed} of 3, {words}, {way:?}");
    }
}

#[test]
fn missing_data_as_documented_for_three_of_three() {
    check(3, "0 - X - X", [Some(Ok); 4]);
    check(3, "0 - - - -", [Some(Ok); 4]);
    check(3, "- - - - -", [Some(InsufficientData), None, Some(Alarm), Some(Ok)]);
    check(3, "0 X X - X", [Some(Alarm); 4]);
    check(3, "- - X - -", [Some(Alarm), None, Some(Alarm), Some(Ok)]);
}

#[test]
fn missing_data_as_documented_for_two_of_three() {
    check(2, "0 - X - X", [Some(Alarm); 4]);
    check(2, "0 0 X 0 X", [Some(Alarm); 4]);
    check(2, "0 - X - -", [Some(Ok), Some(Ok), Some(Alarm), Some(Ok)]);
    check(2, "- - - - 0", [Some(Ok), Some(Ok), Some(Alarm), Some(Ok)]);
    check(2, "- - - X -", [Some(Alarm), None, Some(Alarm), Some(Ok)]);
}

#[test]
fn one_breach_after_a_gap_is_not_enough_yet() {
    check(3, "- - - - X", [None, None, Some(Alarm), Some(Ok)]);
    check(3, "- - - X -", [None, None, Some(Alarm), Some(Ok)]);
}

#[test]
fn a_late_value_changes_the_verdict() {
    let condition = alarm(2, 2, TreatMissing::NotBreaching);
    assert_eq!(state_at(&condition, "X -", 2 * MINUTE + 5_000), Some(Ok));
    assert_eq!(state_at(&condition, "X X", 2 * MINUTE + 6_000), Some(Alarm));
}

#[test]
fn thresholds() {
    let at = |comparison, value| {
        let condition = by(alarm(1, 1, TreatMissing::Missing), "Average", comparison);
        let point = Datapoint { at: Timestamp(START), value };
        evaluate(&condition, &[point], Timestamp(START + MINUTE + 5_000))
    };
    let is_alarm = |comparison, value| matches!(at(comparison, value), Verdict::Is(Alarm, _));
    for (comparison, expected) in [
        (Comparison::GreaterThanThreshold, [false, false, true]),
        (Comparison::GreaterThanOrEqualToThreshold, [false, true, true]),
        (Comparison::LessThanThreshold, [true, false, false]),
        (Comparison::LessThanOrEqualToThreshold, [true, true, false]),
    ] {
        let found = [9.0, 10.0, 11.0].map(|value| is_alarm(comparison, value));
        assert_eq!(found, expected, "{comparison:?}");
    }
}

#[test]
fn an_open_period_counts_when_nothing_can_mend_it() {
    let greater = Comparison::GreaterThanThreshold;
    let less = Comparison::LessThanThreshold;
    let plain = || alarm(1, 1, TreatMissing::Missing);
    let soon = MINUTE + 3_000; // The second period has just begun.
    for statistic in ["Sum", "SampleCount", "Maximum"] {
        assert_eq!(state_at(&by(plain(), statistic, greater), "0 X", soon), Some(Alarm));
        assert_eq!(state_at(&by(plain(), statistic, less), "X 0", soon), Some(Ok));
    }
    assert_eq!(state_at(&by(plain(), "Minimum", less), "X 0", soon), Some(Alarm));
    for statistic in ["Average", "p99"] {
        assert_eq!(state_at(&by(plain(), statistic, greater), "0 X", soon), Some(Ok));
        let over = 2 * MINUTE + 2_000;
        assert_eq!(state_at(&by(plain(), statistic, greater), "0 X", over), Some(Alarm));
    }
    // It goes on to count until the one after it has settled.
    let sum = by(plain(), "Sum", greater);
    for after in (MINUTE..3 * MINUTE + 2_000).step_by(500) {
        assert_eq!(state_at(&sum, "0 X 0", after), Some(Alarm), "after {after} ms");
    }
    assert_eq!(state_at(&sum, "0 X 0", 3 * MINUTE + 2_000), Some(Ok));
    assert_eq!(state_at(&by(plain(), "Average", greater), "0 X 0", 2 * MINUTE + 1_000), Some(Ok));
    // It takes part in the count like any other.
    let two = by(alarm(2, 3, TreatMissing::Missing), "Sum", greater);
    assert_eq!(state_at(&two, "X 0 X", 2 * MINUTE + 3_000), Some(Alarm));
    assert_eq!(state_at(&two, "0 0 X", 2 * MINUTE + 3_000), Some(Ok));
}

#[test]
fn a_period_settles_before_it_is_looked_at() {
    let condition = alarm(1, 1, TreatMissing::Missing);
    assert_eq!(state_at(&condition, "0 X", 2 * MINUTE + 1_999), Some(Ok));
    assert_eq!(state_at(&condition, "0 X", 2 * MINUTE + 2_000), Some(Alarm));
    let whole = range(&condition, Timestamp(START + 2 * MINUTE + 2_000));
    assert_eq!(whole, Timestamp(START - MINUTE)..Timestamp(START + 3 * MINUTE));
}

#[test]
fn looks_are_often_and_when_a_period_closes() {
    let check = |period: u32, after: i64, expected: i64| {
        let mut condition = alarm(1, 1, TreatMissing::Missing);
        if let Source::Metric(series) = &mut condition.source {
            series.period = period;
        }
        let next = next_look(&condition, Timestamp(START + after));
        assert_eq!(next.0 - START, expected, "{period} s, after {after} ms");
    };
    check(60, 10_000, 15_000);
    check(60, 58_000, 62_000);
    check(60, 62_000, 67_000);
    check(10, 3_000, 8_000);
    check(10, 9_000, 12_000);
    check(300, 30_000, 55_000);
}
