//! The operations of CloudWatch.

mod error;
mod put;

use sagebrush_aws::Dispatch;
use sagebrush_wire::cloudwatch as wire;

use super::CloudWatch;

/// The operations of CloudWatch that are served.
#[must_use]
pub fn operations() -> Dispatch<CloudWatch> {
    Dispatch::new().on::<wire::PutMetricData, _, _>(put::put_metric_data)
}
