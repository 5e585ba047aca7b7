//! What a server tells of itself. Log lines: kept, and queried as CloudWatch Logs. Alarms: what its
//! metrics call for.

pub mod alarms;
pub mod logs;
