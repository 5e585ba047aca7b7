//! Where log lines of endpoints and jobs go.

use std::sync::{Arc, Mutex, PoisonError};

/// The name of a log stream, as CloudWatch Logs has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogStream {
    pub region: Arc<str>,
    /// `/aws/sagemaker/Endpoints/<endpoint>`.
    pub group: Arc<str>,
    /// `<variant>/<instance-id>`.
    pub stream: Arc<str>,
}

/// Takes log lines. Never waits; drops and counts when it is behind.
pub trait LogSink: Send + Sync + 'static {
    fn write(&self, at: &LogStream, line: &str);
}

/// Keeps lines in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Vec<(LogStream, String)>>);

impl MemoryLog {
    #[must_use]
    pub fn lines(&self) -> Vec<(LogStream, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LogSink for MemoryLog {
    fn write(&self, at: &LogStream, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((at.clone(), line.to_owned()));
    }
}
