//! What EventBridge is told of a change.

use sagebrush_core::cloudwatch::{Asked, DataQuery, Series};
use sagebrush_core::events::Event;
use serde_json::{Value, json};

use super::record::{Alarm, AlarmSpec, Change, Condition, Moment, Source};
use super::words;

pub(super) fn event(alarm: &Alarm, arn: &str, change: &Change) -> Event {
    Event {
        region: alarm.region.clone(),
        source: "aws.cloudwatch",
        detail_type: "CloudWatch Alarm State Change",
        resources: vec![arn.to_owned()],
        detail: json!({
            "alarmName": alarm.name,
            "state": state(&change.to),
            "previousState": state(&change.from),
            "configuration": configuration(&alarm.spec),
        }),
        at: change.to.at,
    }
}

fn state(moment: &Moment) -> Value {
    let mut state = json!({
        "value": moment.state.word(),
        "reason": moment.reason,
        "timestamp": words::iso(moment.at),
    });
    if let Some(data) = &moment.reason_data {
        state["reasonData"] = data.as_str().into();
    }
    state
}

fn configuration(spec: &AlarmSpec) -> Value {
    let mut shown = json!({});
    if let Some(description) = &spec.description {
        shown["description"] = description.as_str().into();
    }
    match &spec.condition {
        Condition::Metric(condition) => {
            shown["metrics"] = match &condition.source {
                Source::Metric(series) => json!([{
                    "id": "m1",
                    "metricStat": stat(series),
                    "returnData": true,
                }]),
                Source::Queries(queries) => queries.iter().map(query).collect(),
            };
        }
        Condition::Composite(composite) => {
            shown["alarmRule"] = composite.rule.as_str().into();
            if let Some(suppressor) = &composite.suppressor {
                shown["actionsSuppressor"] = suppressor.alarm.as_str().into();
                shown["actionsSuppressorWaitPeriod"] = suppressor.wait.into();
                shown["actionsSuppressorExtensionPeriod"] = suppressor.extension.into();
            }
        }
    }
    shown
}

fn stat(series: &Series) -> Value {
    let dimensions: serde_json::Map<String, Value> =
        series.dimensions.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "metric": {"namespace": series.namespace, "name": series.name, "dimensions": dimensions},
        "period": series.period,
        "stat": series.statistic,
    })
}

fn query(query: &DataQuery) -> Value {
    let returns_data = query.returns_data != Some(false);
    match &query.asks {
        Asked::Stat(series) => {
            json!({"id": query.id, "metricStat": stat(series), "returnData": returns_data})
        }
        Asked::Expression { text, .. } => {
            json!({"id": query.id, "expression": text, "returnData": returns_data})
        }
    }
}
