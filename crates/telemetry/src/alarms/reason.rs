//! Why an alarm is in its state: `StateReason` and `StateReasonData`.

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;
use serde_json::{Value, json};

use super::evaluate::Evidence;
use super::record::{Comparison, MetricCondition, Moment, TreatMissing};
use super::words;

/// How many data points are listed. The texts have bounds.
const LISTED: usize = 10;

/// The state of an alarm on a metric.
pub(super) fn of_metric(
    condition: &MetricCondition,
    state: AlarmState,
    evidence: &Evidence,
    now: Timestamp,
) -> Moment {
    let reason = match state {
        AlarmState::InsufficientData => unknown(evidence.n_missing),
        AlarmState::Ok | AlarmState::Alarm => crossed(condition, state, evidence),
    };
    let reason_data = Some(data(condition, evidence, now).to_string());
    Moment { state, reason, reason_data, at: now }
}

fn unknown(n: u32) -> String {
    let (noun, verb) = if n == 1 { ("datapoint", "was") } else { ("datapoints", "were") };
    format!("Insufficient Data: {n} {noun} {verb} unknown.")
}

fn crossed(condition: &MetricCondition, state: AlarmState, evidence: &Evidence) -> String {
    let (periods, needed) = (condition.evaluation_periods, condition.needed());
    let is_alarm = state == AlarmState::Alarm;
    let n_found = periods.saturating_sub(evidence.n_missing);
    let filled = filled(condition, evidence.n_missing);
    if n_found == 0 {
        let noun = if periods == 1 { "period" } else { "periods" };
        let received = format!("no datapoints were received for {periods} {noun}");
        return format!("Threshold Crossed: {received}{}.", filled.unwrap_or_default());
    }
    let (n, minimum, way) = if is_alarm {
        (evidence.n_breaching, needed, "OK -> ALARM")
    } else {
        (n_found - evidence.n_breaching, periods - needed + 1, "ALARM -> OK")
    };
    let points = evidence.points.iter().take(LISTED);
    let points: Vec<String> =
        points.map(|point| format!("{:?} ({})", point.value, words::short(point.at))).collect();
    let verb = if n == 1 { "was" } else { "were" };
    let not = if is_alarm { "" } else { "not " };
    let noun = if minimum == 1 { "datapoint" } else { "datapoints" };
    format!(
        "Threshold Crossed: {n} out of the last {n_found} datapoints [{}] {verb} {not}{} the \
         threshold ({:?}){} (minimum {minimum} {noun} for {way} transition).",
        points.join(", "),
        compared(condition.comparison),
        condition.threshold,
        filled.unwrap_or_default(),
    )
}

/// What stood in for missing data points.
fn filled(condition: &MetricCondition, n_missing: u32) -> Option<String> {
    let by = match condition.missing? {
        TreatMissing::Breaching => "Breaching",
        TreatMissing::NotBreaching => "NonBreaching",
        TreatMissing::Ignore | TreatMissing::Missing => return None,
    };
    let (noun, verb) = if n_missing == 1 { ("datapoint", "was") } else { ("datapoints", "were") };
    let text = format!(" and {n_missing} missing {noun} {verb} treated as [{by}]");
    (n_missing > 0).then_some(text)
}

fn compared(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::GreaterThanOrEqualToThreshold => "greater than or equal to",
        Comparison::GreaterThanThreshold => "greater than",
        Comparison::LessThanThreshold => "less than",
        Comparison::LessThanOrEqualToThreshold => "less than or equal to",
    }
}

fn data(condition: &MetricCondition, evidence: &Evidence, now: Timestamp) -> Value {
    let points = || evidence.points.iter().take(LISTED);
    let evaluated: Vec<Value> = points()
        .map(|point| json!({"timestamp": words::iso(point.at), "value": point.value}))
        .collect();
    let recent: Vec<f64> = points().rev().map(|point| point.value).collect();
    let mut data = json!({
        "version": "1.0",
        "queryDate": words::iso(now),
        "period": condition.period(),
        "recentDatapoints": recent,
        "threshold": condition.threshold,
        "evaluatedDatapoints": evaluated,
    });
    if let Some(oldest) = evidence.points.last() {
        data["startDate"] = words::iso(oldest.at).into();
    }
    if let Some(series) = condition.series() {
        data["statistic"] = series.statistic.as_str().into();
        if let Some(unit) = &series.unit {
            data["unit"] = unit.as_str().into();
        }
    }
    data
}

/// A child of a composite alarm.
pub(super) struct Child {
    pub(super) arn: String,
    pub(super) state: AlarmState,
    pub(super) since: Timestamp,
}

/// The state of a composite alarm; `trigger` is the child that changed, if it was one.
pub(super) fn of_composite(
    state: AlarmState,
    trigger: Option<&Child>,
    children: &[Child],
    now: Timestamp,
) -> Moment {
    let told = |child: &Child| {
        let since = words::long(child.since);
        format!("{} transitioned to {} at {since}", child.arn, child.state.word())
    };
    let reason = trigger
        .map_or_else(|| "The alarm rule was evaluated after it was configured".to_owned(), told);
    let shown = |child: &Child| {
        let state = json!({"value": child.state.word(), "timestamp": words::iso(child.since)});
        json!({"arn": child.arn, "state": state})
    };
    let triggering: Vec<Value> = match trigger {
        Some(child) => vec![shown(child)],
        None => children.iter().take(LISTED).map(shown).collect(),
    };
    let data = json!({"triggeringAlarms": triggering}).to_string();
    Moment { state, reason, reason_data: Some(data), at: now }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::cloudwatch::{Datapoint, Series};

    use super::*;
    use crate::alarms::record::Source;

    fn condition(missing: Option<TreatMissing>) -> MetricCondition {
        let series = Series {
            namespace: "AWS/SageMaker".to_owned(),
            name: "ModelLatency".to_owned(),
            dimensions: Vec::new(),
            unit: Some("Microseconds".to_owned()),
            period: 60,
            statistic: "p99".to_owned(),
        };
        MetricCondition {
            source: Source::Metric(series),
            evaluation_periods: 3,
            datapoints_to_alarm: Some(2),
            comparison: Comparison::GreaterThanThreshold,
            threshold: 1.5,
            missing,
            low_sample_count: None,
        }
    }

    fn evidence(values: &[f64], n_breaching: u32) -> Evidence {
        let n = i64::try_from(values.len()).unwrap();
        let at = |index: usize| Timestamp((n - i64::try_from(index).unwrap()) * 60_000);
        let points = values.iter().enumerate();
        let points = points.map(|(index, &value)| Datapoint { at: at(index), value }).collect();
        Evidence { points, n_breaching, n_missing: 3 - u32::try_from(n).unwrap() }
    }

    fn check(state: AlarmState, missing: Option<TreatMissing>, seen: &Evidence, expected: &str) {
        let moment = of_metric(&condition(missing), state, seen, Timestamp(240_000));
        assert_eq!(moment.reason, expected);
    }

    #[test]
    fn reasons_are_in_the_words_of_cloudwatch() {
        check(
            AlarmState::Alarm,
            None,
            &evidence(&[2.0, 27.0, 1.0], 2),
            "Threshold Crossed: 2 out of the last 3 datapoints [2.0 (01/01/70 00:03:00), 27.0 \
             (01/01/70 00:02:00), 1.0 (01/01/70 00:01:00)] were greater than the threshold (1.5) \
             (minimum 2 datapoints for OK -> ALARM transition).",
        );
        check(
            AlarmState::Ok,
            Some(TreatMissing::NotBreaching),
            &evidence(&[1.0], 0),
            "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (01/01/70 00:01:00)] was not \
             greater than the threshold (1.5) and 2 missing datapoints were treated as \
             [NonBreaching] (minimum 2 datapoints for ALARM -> OK transition).",
        );
        check(
            AlarmState::Alarm,
            Some(TreatMissing::Breaching),
            &evidence(&[], 0),
            "Threshold Crossed: no datapoints were received for 3 periods and 3 missing \
             datapoints were treated as [Breaching].",
        );
        check(
            AlarmState::InsufficientData,
            None,
            &evidence(&[], 0),
            "Insufficient Data: 3 datapoints were unknown.",
        );
    }

    #[test]
    fn the_data_of_a_reason_is_json() {
        let seen = evidence(&[2.0, 27.0, 1.0], 2);
        let moment = of_metric(&condition(None), AlarmState::Alarm, &seen, Timestamp(240_000));
        let data: Value = serde_json::from_str(&moment.reason_data.unwrap()).unwrap();
        assert_eq!(data["startDate"], "1970-01-01T00:01:00.000+0000");
        assert_eq!(data["queryDate"], "1970-01-01T00:04:00.000+0000");
        assert_eq!(data["recentDatapoints"], json!([1.0, 27.0, 2.0]));
        assert_eq!((&data["statistic"], &data["unit"]), (&json!("p99"), &json!("Microseconds")));
        assert_eq!(data["evaluatedDatapoints"][0]["value"], 2.0);
    }
}
