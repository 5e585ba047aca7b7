//! What a topic is told of a change, as CloudWatch words it.

use sagebrush_core::alarms::AlarmState;
use sagebrush_core::cloudwatch::{Asked, DataQuery, Series};
use sagebrush_core::messages::Message;
use serde_json::{Value, json};

use super::record::{Alarm, Change, Condition, MetricCondition, Source};
use super::words;

/// SNS API: a subject has at most 100 characters.
const MAX_SUBJECT: usize = 100;

/// The message to the action with this index.
pub(super) fn message(
    alarm: &Alarm,
    arn: &str,
    account: &str,
    change: &Change,
    index: usize,
) -> Message {
    Message {
        id: format!("{}-{index}", change.id),
        subject: Some(subject(alarm, change.to.state)),
        body: body(alarm, arn, account, change).to_string(),
        ..Message::default()
    }
}

fn subject(alarm: &Alarm, state: AlarmState) -> String {
    let place = words::place(alarm.region.as_str());
    let subject = format!("{}: \"{}\" in {place}", state.word(), alarm.name);
    let plain: String = subject.chars().filter(|c| !c.is_control()).collect();
    words::cut(&plain, MAX_SUBJECT)
}

fn body(alarm: &Alarm, arn: &str, account: &str, change: &Change) -> Value {
    let spec = &alarm.spec;
    let mut body = json!({
        "AlarmName": alarm.name,
        "AlarmDescription": spec.description,
        "AWSAccountId": account,
        "AlarmConfigurationUpdatedTimestamp": words::iso(spec.configured_at),
        "NewStateValue": change.to.state.word(),
        "NewStateReason": change.to.reason,
        "StateChangeTime": words::iso(change.to.at),
        "Region": words::place(alarm.region.as_str()),
        "AlarmArn": arn,
        "OldStateValue": change.from.state.word(),
        "OKActions": spec.ok_actions,
        "AlarmActions": spec.alarm_actions,
        "InsufficientDataActions": spec.insufficient_data_actions,
    });
    match &spec.condition {
        Condition::Metric(condition) => body["Trigger"] = trigger(condition),
        Condition::Composite(composite) => {
            body["AlarmRule"] = composite.rule.as_str().into();
            body["TriggeringChildren"] = triggering(change);
        }
    }
    body
}

fn trigger(condition: &MetricCondition) -> Value {
    let mut trigger = json!({
        "Period": condition.period(),
        "EvaluationPeriods": condition.evaluation_periods,
        "ComparisonOperator": condition.comparison.word(),
        "Threshold": condition.threshold,
        "TreatMissingData": condition.missing.map_or("missing", |missing| missing.word()),
        "EvaluateLowSampleCountPercentile": condition.low_sample_count.as_deref().unwrap_or(""),
    });
    if let Some(needed) = condition.datapoints_to_alarm {
        trigger["DatapointsToAlarm"] = needed.into();
    }
    match &condition.source {
        Source::Metric(series) => {
            trigger["MetricName"] = series.name.as_str().into();
            trigger["Namespace"] = series.namespace.as_str().into();
            trigger["Unit"] = series.unit.as_deref().into();
            trigger["Dimensions"] = dimensions(series);
            let (kind, word) = statistic(&series.statistic);
            trigger["StatisticType"] = kind.into();
            trigger[kind] = word.into();
        }
        Source::Queries(queries) => trigger["Metrics"] = queries.iter().map(query).collect(),
    }
    trigger
}

/// `Average` is `AVERAGE` here; `p99` stays.
fn statistic(statistic: &str) -> (&'static str, String) {
    match statistic {
        "SampleCount" => ("Statistic", "SAMPLE_COUNT".to_owned()),
        "Average" | "Sum" | "Minimum" | "Maximum" => ("Statistic", statistic.to_uppercase()),
        _ => ("ExtendedStatistic", statistic.to_owned()),
    }
}

fn dimensions(series: &Series) -> Value {
    let all = series.dimensions.iter();
    all.map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn query(query: &DataQuery) -> Value {
    let mut shown = json!({"Id": query.id, "ReturnData": query.returns_data != Some(false)});
    if let Some(label) = &query.label {
        shown["Label"] = label.as_str().into();
    }
    match &query.asks {
        Asked::Stat(series) => {
            shown["MetricStat"] = json!({
                "Metric": {
                    "Namespace": series.namespace,
                    "MetricName": series.name,
                    "Dimensions": dimensions(series),
                },
                "Period": series.period,
                "Stat": series.statistic,
                "Unit": series.unit,
            });
        }
        Asked::Expression { text, period } => {
            shown["Expression"] = text.as_str().into();
            if let Some(period) = period {
                shown["Period"] = (*period).into();
            }
        }
    }
    shown
}

/// The children that `StateReasonData` names, with other capitals.
fn triggering(change: &Change) -> Value {
    let data = change.to.reason_data.as_deref();
    let data: Value = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
    let children = data["triggeringAlarms"].as_array().into_iter().flatten();
    children
        .map(|child| {
            let state = &child["state"];
            let state = json!({"Value": state["value"], "Timestamp": state["timestamp"]});
            json!({"Arn": child["arn"], "State": state})
        })
        .collect()
}
