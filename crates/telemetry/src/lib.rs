//! What a server tells of itself. Log lines: kept, and queried as CloudWatch Logs. Metrics: kept,
//! and queried as CloudWatch.

pub mod logs;
pub mod metrics;
