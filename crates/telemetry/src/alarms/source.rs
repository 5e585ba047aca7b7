//! The data points that an alarm looks at.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::cloudwatch::{
    Asked, DataQuery, Datapoint, MetricMath, MetricQuery, Metrics, Series,
};
use sagebrush_core::{Region, Timestamp};

use super::record::{MetricCondition, Source, returned};

/// What alarms read.
pub(super) struct Sources {
    pub(super) metrics: Arc<dyn Metrics>,
    /// `None`: expressions are refused.
    pub(super) math: Option<Arc<dyn MetricMath>>,
}

impl Sources {
    pub(super) fn read(
        &self,
        region: &Region,
        condition: &MetricCondition,
        span: Range<Timestamp>,
    ) -> Vec<Datapoint> {
        match &condition.source {
            Source::Metric(series) => self.series(region, series, span),
            Source::Queries(queries) => match (returned(queries), &self.math) {
                (Some(DataQuery { asks: Asked::Stat(series), .. }), _) => {
                    self.series(region, series, span)
                }
                (Some(_), Some(math)) => math.read(region, queries, span),
                (Some(_), None) | (None, _) => Vec::new(),
            },
        }
    }

    fn series(&self, region: &Region, series: &Series, span: Range<Timestamp>) -> Vec<Datapoint> {
        let Ok(statistic) = series.statistic.parse() else { return Vec::new() };
        let query = MetricQuery {
            metric: series.metric(),
            unit: series.unit.as_deref().map(Into::into),
            from: span.start,
            to: span.end,
            period: Duration::from_secs(series.period.into()),
            statistic,
        };
        self.metrics.read(region, &query)
    }
}
