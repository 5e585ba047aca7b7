//! What a metric alarm looks at, read and checked.

use std::collections::BTreeSet;

use sagebrush_aws::ApiError;
use sagebrush_core::cloudwatch::{Asked, DataQuery, MetricMath, Series, Statistic};
use sagebrush_wire::cloudwatch as wire;

use super::super::{invalid, not_served};
use crate::alarms::record::{Comparison, MetricCondition, Source, TreatMissing, returned};

/// How far back an alarm may look, in seconds: with short periods, and with those of an hour or
/// more.
const DAY: u64 = 86_400;
const WEEK: u64 = 7 * DAY;
const HOUR: u32 = 3600;

pub(super) fn of(
    input: &wire::PutMetricAlarmInput,
    math: Option<&dyn MetricMath>,
) -> Result<MetricCondition, ApiError> {
    let missing = |member: &str| invalid(format!("{member} is missing"));
    let source = match &input.metrics {
        Some(queries) if !queries.is_empty() => Source::Queries(queries_of(input, queries, math)?),
        Some(_) | None => Source::Metric(series(input)?),
    };
    let condition = MetricCondition {
        source,
        evaluation_periods: positive(input.evaluation_periods)
            .ok_or_else(|| missing("EvaluationPeriods"))?,
        datapoints_to_alarm: positive(input.datapoints_to_alarm),
        comparison: comparison(
            input.comparison_operator.ok_or_else(|| missing("ComparisonOperator"))?,
        )?,
        threshold: input.threshold.ok_or_else(|| missing("Threshold"))?,
        missing: input.treat_missing_data.as_deref().map(treat_missing).transpose()?,
        low_sample_count: low_sample_count(input)?,
    };
    check(&condition)?;
    Ok(condition)
}

fn check(condition: &MetricCondition) -> Result<(), ApiError> {
    let (period, n_periods) = (condition.period(), condition.evaluation_periods);
    if condition.needed() > n_periods {
        return Err(invalid("DatapointsToAlarm is at most EvaluationPeriods"));
    }
    let longest = if period < HOUR { DAY } else { WEEK };
    if u64::from(period) * u64::from(n_periods) > longest {
        return Err(invalid(format!(
            "Metrics cannot be checked across more than {longest} seconds (EvaluationPeriods * \
             Period must be <= {longest})"
        )));
    }
    if condition.threshold.is_finite() { Ok(()) } else { Err(invalid("Threshold is no number")) }
}

fn positive(n: Option<i32>) -> Option<u32> {
    n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
}

fn series(input: &wire::PutMetricAlarmInput) -> Result<Series, ApiError> {
    let missing = |member: &str| invalid(format!("{member} is missing"));
    let word = match (input.statistic, &input.extended_statistic) {
        (Some(statistic), None) => statistic.as_str(),
        (None, Some(extended)) => extended,
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("Either Statistic or ExtendedStatistic must be given"));
        }
    };
    Ok(Series {
        namespace: input.namespace.clone().ok_or_else(|| missing("Namespace"))?,
        name: input.metric_name.clone().ok_or_else(|| missing("MetricName"))?,
        dimensions: dimensions(input.dimensions.as_deref()),
        unit: input.unit.map(|unit| unit.as_str().to_owned()),
        period: period(input.period.ok_or_else(|| missing("Period"))?)?,
        statistic: statistic(word)?,
    })
}

fn dimensions(all: Option<&[wire::Dimension]>) -> Vec<(String, String)> {
    let pair = |dimension: &wire::Dimension| (dimension.name.clone(), dimension.value.clone());
    all.unwrap_or_default().iter().map(pair).collect()
}

fn period(seconds: i32) -> Result<u32, ApiError> {
    let known = u32::try_from(seconds).ok();
    let known = known.filter(|it| matches!(it, 10 | 20 | 30) || (*it > 0 && it % 60 == 0));
    known.ok_or_else(|| invalid("Period must be 10, 20, 30 or a multiple of 60"))
}

fn statistic(word: &str) -> Result<String, ApiError> {
    match word.parse::<Statistic>() {
        Ok(_) => Ok(word.to_owned()),
        Err(_) => Err(not_served(&format!("The statistic {word}"))),
    }
}

fn comparison(operator: wire::ComparisonOperator) -> Result<Comparison, ApiError> {
    use wire::ComparisonOperator as Wire;
    match operator {
        Wire::GreaterThanOrEqualToThreshold => Ok(Comparison::GreaterThanOrEqualToThreshold),
        Wire::GreaterThanThreshold => Ok(Comparison::GreaterThanThreshold),
        Wire::LessThanThreshold => Ok(Comparison::LessThanThreshold),
        Wire::LessThanOrEqualToThreshold => Ok(Comparison::LessThanOrEqualToThreshold),
        Wire::LessThanLowerOrGreaterThanUpperThreshold
        | Wire::LessThanLowerThreshold
        | Wire::GreaterThanUpperThreshold => {
            Err(not_served(&format!("{operator}, which needs anomaly detection,")))
        }
    }
}

fn treat_missing(word: &str) -> Result<TreatMissing, ApiError> {
    let found = TreatMissing::ALL.into_iter().find(|missing| missing.word() == word);
    found.ok_or_else(|| {
        invalid("TreatMissingData must be breaching, notBreaching, ignore or missing")
    })
}

fn low_sample_count(input: &wire::PutMetricAlarmInput) -> Result<Option<String>, ApiError> {
    match input.evaluate_low_sample_count_percentile.as_deref() {
        None => Ok(None),
        Some("evaluate") => Ok(Some("evaluate".to_owned())),
        Some("ignore") => Err(not_served("EvaluateLowSampleCountPercentile=ignore")),
        Some(_) => Err(invalid("EvaluateLowSampleCountPercentile must be evaluate or ignore")),
    }
}

/// The `Metrics` of an alarm, of which one returns data.
fn queries_of(
    input: &wire::PutMetricAlarmInput,
    queries: &[wire::MetricDataQuery],
    math: Option<&dyn MetricMath>,
) -> Result<Vec<DataQuery>, ApiError> {
    let is_alone = input.metric_name.is_none()
        && input.namespace.is_none()
        && input.statistic.is_none()
        && input.extended_statistic.is_none()
        && input.dimensions.is_none()
        && input.period.is_none()
        && input.unit.is_none();
    if !is_alone {
        return Err(invalid(
            "Metrics excludes MetricName, Namespace, Statistic, ExtendedStatistic, Dimensions, \
             Period and Unit",
        ));
    }
    let queries = queries.iter().map(query).collect::<Result<Vec<_>, _>>()?;
    let ids: BTreeSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
    if ids.len() < queries.len() {
        return Err(invalid("The Ids of Metrics must differ"));
    }
    let n_returned = queries.iter().filter(|query| query.is_returned()).count();
    if n_returned != 1 {
        return Err(invalid("Exactly one of Metrics must return data"));
    }
    let is_plain = returned(&queries).is_some_and(|query| query.series().is_some());
    match math {
        _ if is_plain => Ok(queries),
        Some(math) => math.check(&queries).map(|()| queries).map_err(invalid),
        None => Err(not_served("An Expression in Metrics")),
    }
}

fn query(query: &wire::MetricDataQuery) -> Result<DataQuery, ApiError> {
    if query.account_id.is_some() {
        return Err(not_served("AccountId in Metrics"));
    }
    let asks = match (&query.metric_stat, &query.expression) {
        (Some(stat), None) => {
            let missing = |member: &str| invalid(format!("{member} is missing"));
            Asked::Stat(Series {
                namespace: stat.metric.namespace.clone().ok_or_else(|| missing("Namespace"))?,
                name: stat.metric.metric_name.clone().ok_or_else(|| missing("MetricName"))?,
                dimensions: dimensions(stat.metric.dimensions.as_deref()),
                unit: stat.unit.map(|unit| unit.as_str().to_owned()),
                period: period(stat.period)?,
                statistic: statistic(&stat.stat)?,
            })
        }
        (None, Some(text)) => {
            Asked::Expression { text: text.clone(), period: query.period.map(period).transpose()? }
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("Each of Metrics has either a MetricStat or an Expression"));
        }
    };
    Ok(DataQuery {
        id: query.id.clone(),
        label: query.label.clone(),
        returns_data: query.return_data,
        asks,
    })
}
