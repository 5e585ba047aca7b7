//! The operations of CloudWatch, each in a file of its own.

mod alarmed;
mod dashboards;
mod data;
mod error;
mod list;
mod put;
mod queries;
mod statistics;
#[cfg(test)]
mod tests;
mod times;

use std::sync::Arc;

use sagebrush_aws::{ApiError, Dispatch};
use sagebrush_core::cloudwatch::MetricId;
use sagebrush_core::task;
use sagebrush_wire::cloudwatch as wire;

pub(super) use dashboards::Dashboard;

use super::CloudWatch;

/// The operations of CloudWatch that are served.
#[must_use]
pub fn operations() -> Dispatch<CloudWatch> {
    Dispatch::new()
        .on::<wire::PutMetricData, _, _>(put::put_metric_data)
        .on::<wire::GetMetricData, _, _>(data::get_metric_data)
        .on::<wire::GetMetricStatistics, _, _>(statistics::get_metric_statistics)
        .on::<wire::ListMetrics, _, _>(list::list_metrics)
        .on::<wire::PutDashboard, _, _>(dashboards::put_dashboard)
        .on::<wire::GetDashboard, _, _>(dashboards::get_dashboard)
        .on::<wire::ListDashboards, _, _>(dashboards::list_dashboards)
        .on::<wire::DeleteDashboards, _, _>(dashboards::delete_dashboards)
}

type Dimension = (Arc<str>, Arc<str>);

fn metric_id(namespace: &str, name: &str, dimensions: Option<Vec<wire::Dimension>>) -> MetricId {
    let dimensions = dimensions.unwrap_or_default().into_iter();
    let dimensions = dimensions.map(|one| -> Dimension { (one.name.into(), one.value.into()) });
    MetricId::new(namespace, name, dimensions)
}

fn wire_metric(metric: &MetricId) -> wire::Metric {
    let dimension = |(name, value): &Dimension| wire::Dimension {
        name: name.to_string(),
        value: value.to_string(),
    };
    wire::Metric {
        namespace: Some(metric.namespace.to_string()),
        metric_name: Some(metric.name.to_string()),
        dimensions: Some(metric.dimensions().iter().map(dimension).collect()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for longer than there is time")]
fn wire_time(seconds: i64) -> sagebrush_wire::Timestamp {
    sagebrush_wire::Timestamp(seconds as f64)
}

/// Runs what reads files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    task::blocking(work).await.map_err(ApiError::internal)?
}
