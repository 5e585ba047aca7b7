//! `ListMetrics`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::cloudwatch::MetricId;
use sagebrush_wire::cloudwatch as wire;

use super::super::CloudWatch;
use super::error::invalid_value;
use super::{metric_id, wire_metric};

/// CloudWatch's own page.
const PAGE: usize = 500;

/// Metrics without a value for longer are not listed.
const LISTED: i64 = 14 * 24 * 3600;
/// What counts as active: CloudWatch takes 50 minutes more.
const ACTIVE: i64 = 3 * 3600 + 50 * 60;

pub(super) async fn list_metrics(
    state: Arc<CloudWatch>,
    ctx: Context,
    input: wire::ListMetricsInput,
) -> Result<wire::ListMetricsOutput, ApiError> {
    let after = input.next_token.as_deref().map(read_token).transpose()?;
    let age = if input.recently_active.is_some() { ACTIVE } else { LISTED };
    let since = state.clock.now().0.div_euclid(1000) - age;
    let is_ours = input.owning_account.as_ref().is_none_or(|owner| *owner == *ctx.account.0);
    let mut found: Vec<MetricId> = Vec::new();
    state.store.list(&ctx.region, after.as_ref(), |metric, newest| {
        if is_ours && newest >= since && matches(&input, metric) {
            found.push(metric.clone());
        }
        found.len() <= PAGE
    });
    let has_more = found.len() > PAGE;
    found.truncate(PAGE);
    let with_owners = input.include_linked_accounts == Some(true);
    Ok(wire::ListMetricsOutput {
        next_token: found.last().filter(|_| has_more).map(write_token),
        owning_accounts: with_owners.then(|| vec![ctx.account.to_string(); found.len()]),
        metrics: Some(found.iter().map(wire_metric).collect()),
    })
}

fn matches(input: &wire::ListMetricsInput, metric: &MetricId) -> bool {
    let has = |filter: &wire::DimensionFilter| {
        metric.dimensions().iter().any(|(name, value)| {
            **name == *filter.name && filter.value.as_ref().is_none_or(|it| **value == **it)
        })
    };
    input.namespace.as_ref().is_none_or(|namespace| **namespace == *metric.namespace)
        && input.metric_name.as_ref().is_none_or(|name| **name == *metric.name)
        && input.dimensions.iter().flatten().all(has)
}

/// A token names the last metric of its page.
fn write_token(last: &MetricId) -> String {
    // Strings always serialize.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire_metric(last)).unwrap_or_default())
}

fn read_token(token: &str) -> Result<MetricId, ApiError> {
    let invalid = || invalid_value("The parameter NextToken is invalid.");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let metric: wire::Metric = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    let (namespace, name) = metric.namespace.zip(metric.metric_name).ok_or_else(invalid)?;
    Ok(metric_id(&namespace, &name, metric.dimensions))
}
