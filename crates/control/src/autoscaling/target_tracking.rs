//! Target tracking: the capacity that brings a metric to its target. Pure.
//!
//! Out fast: when three points in a row are above the target. In slowly: when fifteen one-minute
//! points in a row are below nine tenths of it, and then by the greatest of them, so that what
//! remains would have done for all fifteen. Points that are missing stop both: nothing is known
//! then. Points that were measured before the last change of capacity say nothing of the new one.

use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::cloudwatch::{DataQuery, Datapoint};
use serde::{Deserialize, Serialize};

use super::plan::{Capacity, Want};

/// So many points above the target scale out. AWS's alarms take three.
const N_HIGH: usize = 3;
/// So many one-minute points below the target scale in. AWS's alarms take fifteen.
const N_LOW: usize = 15;
/// AWS: what is less than a tenth below the target is near enough.
const LOW: f64 = 0.9;

const MINUTE: Duration = Duration::from_mins(1);
/// The period of high-resolution metrics.
const TEN_SECONDS: Duration = Duration::from_secs(10);
/// How late the newest point may be.
const LATE: Duration = Duration::from_mins(1);

/// `TargetTrackingScalingPolicyConfiguration`, as far as we act on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetTracking {
    pub(super) target: f64,
    pub(super) metric: TrackedMetric,
    pub(super) scale_out_cooldown_s: u32,
    pub(super) scale_in_cooldown_s: u32,
    pub(super) disable_scale_in: bool,
}

/// What is to be brought to the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum TrackedMetric {
    /// `SageMakerVariantInvocationsPerInstance`
    InvocationsPerInstance,
    /// `SageMakerVariantConcurrentRequestsPerModelHighResolution`
    ConcurrentRequestsPerModel,
    /// `SageMakerVariantProvisionedConcurrencyUtilization`
    ProvisionedConcurrencyUtilization,
    /// `CustomizedMetricSpecification`
    Customized {
        namespace: String,
        name: String,
        dimensions: Vec<(String, String)>,
        /// As CloudWatch calls it.
        statistic: String,
        unit: Option<String>,
    },
    /// `CustomizedMetricSpecification.Metrics`, of which one is returned.
    Math(Vec<DataQuery>),
}

impl TrackedMetric {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::InvocationsPerInstance => "InvocationsPerInstance",
            Self::ConcurrentRequestsPerModel => "ConcurrentRequestsPerModel",
            Self::ProvisionedConcurrencyUtilization => {
                "ServerlessProvisionedConcurrencyUtilization"
            }
            Self::Customized { name, .. } => name,
            Self::Math(queries) => {
                let returned = queries.iter().find(|query| query.is_returned());
                returned.map_or("", |query| query.label.as_deref().unwrap_or(&query.id))
            }
        }
    }

    /// The period of the points that scale out.
    pub(super) fn period(&self) -> Duration {
        match self {
            Self::ConcurrentRequestsPerModel => TEN_SECONDS,
            Self::InvocationsPerInstance
            | Self::ProvisionedConcurrencyUtilization
            | Self::Customized { .. }
            | Self::Math(_) => MINUTE,
        }
    }
}

/// The points that a policy goes by, each with its period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points<'a> {
    pub(super) high: &'a [Datapoint],
    /// One a minute.
    pub(super) low: &'a [Datapoint],
}

/// The time that the points of `period` are asked for at `now`, for either direction.
pub(super) fn span(period: Duration, now: Timestamp) -> (Timestamp, Timestamp) {
    let n_points = if period == MINUTE { N_LOW } else { N_HIGH };
    let n_points = u32::try_from(n_points).unwrap_or(u32::MAX);
    let end = end_of_points(period, now);
    (Timestamp(end.0 - millis(period * n_points + LATE)), end)
}

impl TargetTracking {
    /// The capacity that the points ask for, and the value that says so.
    ///
    /// `least` is what a scale-in goes down to; `changed` is when the capacity was last changed.
    pub(super) fn want(
        &self,
        points: Points<'_>,
        capacity: Capacity,
        least: u32,
        (now, changed): (Timestamp, Option<Timestamp>),
    ) -> (Want, Option<f64>) {
        let high = newest::<N_HIGH>(points.high, self.metric.period(), now);
        let low = newest::<N_LOW>(points.low, MINUTE, now);
        let is_of_now = |begin: Timestamp| changed.is_none_or(|changed| begin >= changed);
        let Some(high) = high else { return (Want::Unknown, None) };
        let newest = high.newest();
        if is_of_now(high.begin) && high.values.iter().all(|value| *value > self.target) {
            // Nothing is in proportion to none: the first instance tells more.
            let is_none = capacity.current == 0;
            let wanted = if is_none { 1 } else { self.wanted(capacity.base, newest) };
            return (Want::Out(wanted), Some(newest));
        }
        if self.disable_scale_in {
            return (Want::Nothing, Some(newest));
        }
        let Some(low) = low else { return (Want::Unknown, None) };
        let is_low = low.values.iter().all(|value| *value < self.target * LOW);
        if !is_low || !is_of_now(low.begin_of_newest(N_HIGH)) {
            return (Want::Hold, Some(newest));
        }
        let greatest = low.values.iter().copied().fold(0.0, f64::max);
        let wanted = self.wanted(capacity.current, greatest).max(least);
        (Want::In(wanted.min(capacity.current)), Some(greatest))
    }

    /// AWS's proportional rule.
    fn wanted(&self, capacity: u32, value: f64) -> u32 {
        let exact = f64::from(capacity) * value / self.target;
        whole((exact - 1e-9).ceil())
    }
}

/// Points without a gap, oldest first.
struct Run {
    begin: Timestamp,
    values: Vec<f64>,
    period: Duration,
}

impl Run {
    fn newest(&self) -> f64 {
        self.values.last().copied().unwrap_or_default()
    }

    /// When the newest `n` of them begin.
    fn begin_of_newest(&self, n: usize) -> Timestamp {
        let n_before = self.values.len().saturating_sub(n);
        let n_before = u32::try_from(n_before).unwrap_or(u32::MAX);
        Timestamp(self.begin.0 + millis(self.period * n_before))
    }
}

/// The newest `N` points, if they follow each other and the last is not too old.
fn newest<const N: usize>(points: &[Datapoint], period: Duration, now: Timestamp) -> Option<Run> {
    let end = end_of_points(period, now);
    let is_whole = |point: &&Datapoint| point.at.0 + millis(period) <= end.0;
    let run: Vec<_> = points.iter().filter(is_whole).collect();
    let run = run.last_chunk::<N>()?;
    let [first, .., last] = run.as_slice() else { return None };
    let in_time = last.at.0 + millis(period) + millis(LATE) >= end.0;
    let steps = u32::try_from(N - 1).unwrap_or(u32::MAX);
    // Points are at the beginnings of their periods: N of them that span N have no gap.
    let without_gap = last.at.0 - first.at.0 == millis(period * steps);
    let are_numbers = run.iter().all(|point| point.value.is_finite());
    (in_time && without_gap && are_numbers).then(|| Run {
        begin: first.at,
        values: run.iter().map(|point| point.value).collect(),
        period,
    })
}

/// The end of the newest period that is over.
fn end_of_points(period: Duration, now: Timestamp) -> Timestamp {
    Timestamp(now.0.div_euclid(millis(period)) * millis(period))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range saturates, and is held by the bounds"
)]
pub(super) fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests;
