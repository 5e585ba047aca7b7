//! What a server tells of itself. Log lines: kept, and queried as CloudWatch Logs.

pub mod logs;
