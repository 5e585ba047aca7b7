//! The queries of `GetMetricData`: read, and computed, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Region;
use sagebrush_core::cloudwatch::{MetricId, Statistic};
use sagebrush_wire::cloudwatch as wire;

use super::super::math::{self, Expr, MathError, Scope, Series, Value};
use super::super::store::{MetricStore, Selection};
use super::{metric_id, times};

const MAX_QUERIES: usize = 500;

/// How far expressions may refer to others that refer to others.
const MAX_REFERENCES: usize = 50;

/// A query that is valid by itself.
pub(super) struct Query {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) is_returned: bool,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Metric { metric: MetricId, unit: Option<String>, period: i64, statistic: Statistic },
    Expression { expr: Expr, period: Option<i64> },
}

/// Reads all queries of a call.
pub(super) fn read(all: Vec<wire::MetricDataQuery>, ctx: &Context) -> Result<Vec<Query>, ApiError> {
    if all.is_empty() || all.len() > MAX_QUERIES {
        return Err(ApiError::validation(format!(
            "The collection MetricDataQueries must have a size between 1 and {MAX_QUERIES}."
        )));
    }
    let mut ids = BTreeSet::new();
    let mut queries = Vec::new();
    for (index, query) in all.into_iter().enumerate() {
        let path = format!("MetricDataQueries.member.{}", index + 1);
        if !is_id(&query.id) {
            return Err(ApiError::validation(format!(
                "The value {} for parameter {path}.Id is not matching the expected pattern \
                 ^[a-z][a-zA-Z0-9_]*$.",
                query.id
            )));
        }
        if !ids.insert(query.id.clone()) {
            let message = format!("The id {} is used by several queries.", query.id);
            return Err(ApiError::validation(message));
        }
        queries.push(read_one(query, &path, ctx)?);
    }
    if !queries.iter().any(|query| query.is_returned) {
        return Err(ApiError::validation("At least one query must return its data."));
    }
    Ok(queries)
}

fn read_one(query: wire::MetricDataQuery, path: &str, ctx: &Context) -> Result<Query, ApiError> {
    if query.account_id.as_ref().is_some_and(|account| **account != *ctx.account.0) {
        let message = format!("{path}.AccountId: there is no other account here.");
        return Err(ApiError::validation(message));
    }
    if query.label.as_ref().is_some_and(|label| label.contains("${")) {
        let message = format!("{path}.Label: dynamic labels are not supported.");
        return Err(ApiError::validation(message));
    }
    let period = query.period.map(|it| times::period(it, &format!("{path}.Period"))).transpose()?;
    let (kind, label) = match (query.metric_stat, query.expression) {
        (Some(stat), None) if query.period.is_none() => {
            let name = stat.metric.metric_name.clone().unwrap_or_default();
            (read_stat(stat, path)?, name)
        }
        (None, Some(text)) => {
            let expr = math::parse(&text).map_err(|error| in_expression(&query.id, &error))?;
            (Kind::Expression { expr, period }, query.id.clone())
        }
        (Some(_), None) => {
            let message = format!("{path}.Period is for expressions; a MetricStat has its own.");
            return Err(ApiError::validation(message));
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = format!("{path} must have either MetricStat or Expression.");
            return Err(ApiError::validation(message));
        }
    };
    Ok(Query {
        id: query.id,
        label: query.label.unwrap_or(label),
        is_returned: query.return_data != Some(false),
        kind,
    })
}

fn read_stat(stat: wire::MetricStat, path: &str) -> Result<Kind, ApiError> {
    let path = format!("{path}.MetricStat");
    let missing = |what: &str| ApiError::validation(format!("{path}.Metric.{what} is required."));
    let namespace = stat.metric.namespace.ok_or_else(|| missing("Namespace"))?;
    let name = stat.metric.metric_name.ok_or_else(|| missing("MetricName"))?;
    let statistic = stat.stat.parse().map_err(|_| {
        ApiError::validation(format!(
            "The value {} for parameter {path}.Stat is invalid.",
            stat.stat
        ))
    })?;
    Ok(Kind::Metric {
        metric: metric_id(&namespace, &name, stat.metric.dimensions),
        unit: stat.unit.map(|unit| unit.as_str().to_owned()),
        period: times::period(stat.period, &format!("{path}.Period"))?,
        statistic,
    })
}

fn is_id(id: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    id.starts_with(|it: char| it.is_ascii_lowercase()) && id.chars().all(is_part)
}

fn in_expression(id: &str, error: &MathError) -> ApiError {
    ApiError::validation(format!("Error in expression '{id}': {error}"))
}

/// Computes queries; each is computed once.
pub(super) struct Results<'a> {
    pub(super) store: &'a MetricStore,
    pub(super) region: &'a Region,
    pub(super) queries: &'a [Query],
    pub(super) start: sagebrush_wire::Timestamp,
    pub(super) end: sagebrush_wire::Timestamp,
    pub(super) now: i64,
    done: BTreeMap<String, Value>,
    /// Expressions that are being computed, each for the one before.
    open: Vec<String>,
}

impl<'a> Results<'a> {
    pub(super) fn new(
        (store, region): (&'a MetricStore, &'a Region),
        queries: &'a [Query],
        (start, end): (sagebrush_wire::Timestamp, sagebrush_wire::Timestamp),
        now: i64,
    ) -> Self {
        Self { store, region, queries, start, end, now, done: BTreeMap::new(), open: Vec::new() }
    }

    /// The time series that a query returns.
    pub(super) fn of(&mut self, query: &Query) -> Result<Vec<Series>, ApiError> {
        match self.value(&query.id).map_err(|error| in_expression(&query.id, &error))? {
            Value::Series(series) => Ok(vec![series]),
            Value::Array(all) => Ok(all),
            Value::Number(_) => {
                let error = MathError::Wrong("The result is not a time series".to_owned());
                Err(in_expression(&query.id, &error))
            }
        }
    }

    fn metric(&self, query: &Query) -> Option<Series> {
        let Kind::Metric { metric, unit, period, statistic } = &query.kind else { return None };
        let times = times::range(self.start, self.end, *period, self.now);
        let origin = times.start;
        let selection = Selection { metric, unit: unit.as_deref(), times, period: *period, origin };
        let points = self.store.select(self.region, &selection).into_iter();
        let points = points.filter_map(|(at, values)| Some((at, statistic.of(&values)?)));
        Some(Series { period: *period, points: points.collect() })
    }

    /// `None` of an expression.
    fn of_metric(&mut self, query: &Query) -> Option<Value> {
        let Kind::Metric { .. } = &query.kind else { return None };
        if let Some(done) = self.done.get(&query.id) {
            return Some(done.clone());
        }
        let value = Value::Series(self.metric(query)?);
        self.done.insert(query.id.clone(), value.clone());
        Some(value)
    }
}

impl Scope for Results<'_> {
    fn value(&mut self, id: &str) -> Result<Value, MathError> {
        if let Some(done) = self.done.get(id) {
            return Ok(done.clone());
        }
        let found = self.queries.iter().find(|query| query.id == id);
        let query = found.ok_or_else(|| MathError::NoId(id.to_owned()))?;
        let Kind::Expression { expr, .. } = &query.kind else {
            return self.of_metric(query).ok_or_else(|| MathError::NoId(id.to_owned()));
        };
        if self.open.iter().any(|open| open == id) {
            return Err(MathError::Circular(id.to_owned()));
        }
        if self.open.len() >= MAX_REFERENCES {
            return Err(MathError::TooDeep);
        }
        self.open.push(id.to_owned());
        let value = math::evaluate(expr, self);
        self.open.pop();
        let value = value?;
        self.done.insert(id.to_owned(), value.clone());
        Ok(value)
    }

    fn metrics(&mut self) -> Vec<(String, Series)> {
        let queries = self.queries;
        let metrics = queries.iter().filter_map(|query| match self.of_metric(query)? {
            Value::Series(series) => Some((query.id.clone(), series)),
            Value::Number(_) | Value::Array(_) => None,
        });
        metrics.collect()
    }

    fn times(&self, period: i64) -> Range<i64> {
        times::range(self.start, self.end, period, self.now)
    }

    /// That of the expression, or the longest of all metrics.
    fn period(&self) -> i64 {
        let of_expression = |query: &Query| match &query.kind {
            Kind::Expression { period, .. } if self.open.last() == Some(&query.id) => *period,
            Kind::Expression { .. } | Kind::Metric { .. } => None,
        };
        let of_metric = |query: &Query| match &query.kind {
            Kind::Metric { period, .. } => Some(*period),
            Kind::Expression { .. } => None,
        };
        let own = self.queries.iter().find_map(of_expression);
        own.or_else(|| self.queries.iter().filter_map(of_metric).max()).unwrap_or(60)
    }
}
