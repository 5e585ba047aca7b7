//! The expressions that alarms and scaling policies look at.

use std::ops::Range;

use sagebrush_core::cloudwatch::{Asked, DataQuery, Datapoint, MetricMath};
use sagebrush_core::{Region, Timestamp};

use super::super::CloudWatch;
use super::super::math::{self, MathError};
use super::queries::{Kind, Query, Results};

impl MetricMath for CloudWatch {
    fn check(&self, queries: &[DataQuery]) -> Result<(), String> {
        let now = self.clock.now();
        let region = Region::new(""); // It has no metrics: only what is asked is looked at.
        self.compute(&region, queries, now..now).map(|_| ())
    }

    fn read(
        &self,
        region: &Region,
        queries: &[DataQuery],
        span: Range<Timestamp>,
    ) -> Vec<Datapoint> {
        // An expression over what is there just now may have no result; it has no points then.
        self.compute(region, queries, span).unwrap_or_default()
    }
}

impl CloudWatch {
    fn compute(
        &self,
        region: &Region,
        queries: &[DataQuery],
        span: Range<Timestamp>,
    ) -> Result<Vec<Datapoint>, String> {
        let returned =
            queries.iter().position(DataQuery::is_returned).ok_or("No query returns its data")?;
        let queries = queries.iter().map(query).collect::<Result<Vec<_>, _>>()?;
        let (from, to) = (span.start.as_seconds(), span.end.as_seconds());
        let span = (sagebrush_wire::Timestamp(from), sagebrush_wire::Timestamp(to));
        let now = self.clock.now().0.div_euclid(1000);
        let mut results = Results::new((&self.store, region), &queries, span, now);
        let returned = queries.get(returned).ok_or("No query returns its data")?;
        let series = results.of(returned).map_err(|error| error.message)?;
        let [series] = series.as_slice() else {
            return Err("The result must be one time series".to_owned());
        };
        let points = series.points.iter();
        Ok(points
            .map(|(at, value)| Datapoint { at: Timestamp(at * 1000), value: *value })
            .collect())
    }
}

fn query(query: &DataQuery) -> Result<Query, String> {
    let kind = match &query.asks {
        Asked::Stat(series) => Kind::Metric {
            metric: series.metric(),
            unit: series.unit.clone(),
            period: series.period.into(),
            statistic: series.statistic.parse().map_err(|error| format!("{error}"))?,
        },
        Asked::Expression { text, period } => Kind::Expression {
            expr: math::parse(text).map_err(|error: MathError| error.to_string())?,
            period: period.map(i64::from),
        },
    };
    let label = query.label.clone().unwrap_or_default();
    Ok(Query { id: query.id.clone(), label, is_returned: query.is_returned(), kind })
}
