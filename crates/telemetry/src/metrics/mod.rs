//! Metrics, queried as CloudWatch.

mod api;

use std::sync::Arc;

use sagebrush_core::Clock;
use sagebrush_core::cloudwatch::Metrics;

pub use api::operations;

/// What the operations of CloudWatch work on.
pub struct CloudWatch {
    pub metrics: Arc<dyn Metrics>,
    pub clock: Arc<dyn Clock>,
}
