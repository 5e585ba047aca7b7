//! An alarm as `DescribeAlarms` shows it.

use sagebrush_core::cloudwatch::{Asked, DataQuery, Series};
use sagebrush_wire::cloudwatch as wire;

use super::super::{state_to_wire, to_wire};
use crate::alarms::record::{Alarm, Comparison, CompositeCondition, MetricCondition, Source};
use crate::alarms::suppress::Hold;
use crate::alarms::{AlarmId, Alarms};

pub(in crate::alarms::api) fn metric_alarm(
    state: &Alarms,
    id: &AlarmId,
    alarm: &Alarm,
) -> wire::MetricAlarm {
    let (spec, status) = (&alarm.spec, &alarm.status);
    let shown = wire::MetricAlarm {
        alarm_name: Some(alarm.name.clone()),
        alarm_arn: Some(state.arn(id)),
        alarm_description: spec.description.clone(),
        alarm_configuration_updated_timestamp: Some(to_wire(spec.configured_at)),
        actions_enabled: Some(spec.actions_enabled),
        ok_actions: Some(spec.ok_actions.clone()),
        alarm_actions: Some(spec.alarm_actions.clone()),
        insufficient_data_actions: Some(spec.insufficient_data_actions.clone()),
        state_value: Some(state_to_wire(status.now.state)),
        state_reason: Some(status.now.reason.clone()),
        state_reason_data: status.now.reason_data.clone(),
        state_updated_timestamp: Some(to_wire(status.now.at)),
        state_transitioned_timestamp: Some(to_wire(status.transitioned_at)),
        ..wire::MetricAlarm::default()
    };
    match spec.metric() {
        Some(condition) => with_condition(shown, condition),
        None => shown,
    }
}

fn with_condition(shown: wire::MetricAlarm, condition: &MetricCondition) -> wire::MetricAlarm {
    let shown = wire::MetricAlarm {
        evaluation_periods: i32::try_from(condition.evaluation_periods).ok(),
        datapoints_to_alarm: condition.datapoints_to_alarm.and_then(|n| i32::try_from(n).ok()),
        threshold: Some(condition.threshold),
        comparison_operator: Some(comparison(condition.comparison)),
        treat_missing_data: condition.missing.map(|missing| missing.word().to_owned()),
        evaluate_low_sample_count_percentile: condition.low_sample_count.clone(),
        ..shown
    };
    match &condition.source {
        Source::Metric(series) => with_series(shown, series),
        Source::Queries(queries) => {
            wire::MetricAlarm { metrics: Some(queries.iter().map(query).collect()), ..shown }
        }
    }
}

fn with_series(shown: wire::MetricAlarm, series: &Series) -> wire::MetricAlarm {
    let statistic = statistic(&series.statistic);
    wire::MetricAlarm {
        metric_name: Some(series.name.clone()),
        namespace: Some(series.namespace.clone()),
        extended_statistic: statistic.is_none().then(|| series.statistic.clone()),
        statistic,
        dimensions: Some(dimensions(series)),
        period: i32::try_from(series.period).ok(),
        unit: unit(series),
        ..shown
    }
}

fn query(query: &DataQuery) -> wire::MetricDataQuery {
    let shown = wire::MetricDataQuery {
        id: query.id.clone(),
        label: query.label.clone(),
        return_data: Some(query.returns_data != Some(false)),
        ..wire::MetricDataQuery::default()
    };
    match &query.asks {
        Asked::Stat(series) => {
            let metric = wire::Metric {
                namespace: Some(series.namespace.clone()),
                metric_name: Some(series.name.clone()),
                dimensions: Some(dimensions(series)),
            };
            let stat = wire::MetricStat {
                metric,
                period: i32::try_from(series.period).unwrap_or(i32::MAX),
                stat: series.statistic.clone(),
                unit: unit(series),
            };
            wire::MetricDataQuery { metric_stat: Some(stat), ..shown }
        }
        Asked::Expression { text, period } => wire::MetricDataQuery {
            expression: Some(text.clone()),
            period: period.and_then(|period| i32::try_from(period).ok()),
            ..shown
        },
    }
}

fn dimensions(series: &Series) -> Vec<wire::Dimension> {
    let shown = |(name, value): &(String, String)| wire::Dimension {
        name: name.clone(),
        value: value.clone(),
    };
    series.dimensions.iter().map(shown).collect()
}

fn statistic(word: &str) -> Option<wire::Statistic> {
    use wire::Statistic as Wire;
    let all = [Wire::SampleCount, Wire::Average, Wire::Sum, Wire::Minimum, Wire::Maximum];
    all.into_iter().find(|statistic| statistic.as_str() == word)
}

/// Its word came from the wire.
fn unit(series: &Series) -> Option<wire::StandardUnit> {
    serde_json::from_value(series.unit.as_deref()?.into()).ok()
}

fn comparison(comparison: Comparison) -> wire::ComparisonOperator {
    use wire::ComparisonOperator as Wire;
    match comparison {
        Comparison::GreaterThanOrEqualToThreshold => Wire::GreaterThanOrEqualToThreshold,
        Comparison::GreaterThanThreshold => Wire::GreaterThanThreshold,
        Comparison::LessThanThreshold => Wire::LessThanThreshold,
        Comparison::LessThanOrEqualToThreshold => Wire::LessThanOrEqualToThreshold,
    }
}

pub(in crate::alarms::api) fn composite_alarm(
    state: &Alarms,
    id: &AlarmId,
    alarm: &Alarm,
) -> wire::CompositeAlarm {
    let (spec, status) = (&alarm.spec, &alarm.status);
    let shown = wire::CompositeAlarm {
        actions_enabled: Some(spec.actions_enabled),
        alarm_actions: Some(spec.alarm_actions.clone()),
        alarm_arn: Some(state.arn(id)),
        alarm_configuration_updated_timestamp: Some(to_wire(spec.configured_at)),
        alarm_description: spec.description.clone(),
        alarm_name: Some(alarm.name.clone()),
        insufficient_data_actions: Some(spec.insufficient_data_actions.clone()),
        ok_actions: Some(spec.ok_actions.clone()),
        state_reason: Some(status.now.reason.clone()),
        state_reason_data: status.now.reason_data.clone(),
        state_updated_timestamp: Some(to_wire(status.now.at)),
        state_value: Some(state_to_wire(status.now.state)),
        state_transitioned_timestamp: Some(to_wire(status.transitioned_at)),
        ..wire::CompositeAlarm::default()
    };
    match spec.composite() {
        Some(condition) => with_rule(state, id, shown, condition),
        None => shown,
    }
}

fn with_rule(
    state: &Alarms,
    id: &AlarmId,
    shown: wire::CompositeAlarm,
    condition: &CompositeCondition,
) -> wire::CompositeAlarm {
    let shown = wire::CompositeAlarm { alarm_rule: Some(condition.rule.clone()), ..shown };
    let Some(suppressor) = &condition.suppressor else { return shown };
    let hold = state.hold(id, state.clock.now());
    let by = hold.map(|hold| match hold {
        Hold::Alarm => wire::ActionsSuppressedBy::Alarm,
        Hold::WaitPeriod(_) => wire::ActionsSuppressedBy::WaitPeriod,
        Hold::ExtensionPeriod(_) => wire::ActionsSuppressedBy::ExtensionPeriod,
    });
    wire::CompositeAlarm {
        actions_suppressor: Some(suppressor.alarm.clone()),
        actions_suppressor_wait_period: i32::try_from(suppressor.wait).ok(),
        actions_suppressor_extension_period: i32::try_from(suppressor.extension).ok(),
        actions_suppressed_by: by,
        actions_suppressed_reason: hold.map(|hold| Alarms::held_because(hold, &suppressor.alarm)),
        ..shown
    }
}
