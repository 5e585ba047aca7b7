//! What a server tells of itself. Log lines: kept, and queried as CloudWatch Logs. Metrics: kept,
//! and queried as CloudWatch; SageMaker's own are put there. Alarms: what metrics call for. Who
//! called what, as CloudTrail has it. Traces of calls and the server's metrics, told by OTLP.

pub mod alarms;
pub mod audit;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod sagemaker;
pub mod traces;
