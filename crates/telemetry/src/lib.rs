//! What a server tells of itself. Metrics of calls, as SageMaker has them. Log lines: kept, and queried as CloudWatch Logs.
//! Traces of calls, told by OTLP.

pub mod logs;
pub mod sagemaker;
pub mod traces;
