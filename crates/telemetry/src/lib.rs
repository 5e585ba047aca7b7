//! What a server tells of itself: log lines, kept and queried as CloudWatch Logs does, and who
//! called what, as CloudTrail does.

pub mod audit;
pub mod logs;
