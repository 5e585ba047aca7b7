//! Why a call was not answered, as far as the client alone can tell.

use std::future::Future;
use std::time::Duration;

use sagebrush_core::worker::WorkerError;
use tokio::time::timeout;

/// A broken connection is seen before the end of the process that held it.
const UNTIL_CAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum CallFailure {
    /// The answer was an error, or too late.
    Final(WorkerError),
    /// No byte of the request was written.
    NotSent { reason: String },
    /// The model's code may have seen the request.
    Broken { reason: String },
}

impl CallFailure {
    /// What the caller is told. `ended` returns once the container has ended, and says how:
    /// "The process ended with exit code 1".
    pub(crate) async fn explained(self, ended: impl Future<Output = String>) -> WorkerError {
        match self {
            Self::Final(error) => error,
            Self::NotSent { reason } => {
                let cause = timeout(UNTIL_CAUSE, ended).await;
                WorkerError::Gone { reason: cause.unwrap_or(reason) }
            }
            Self::Broken { reason } => {
                let cause = timeout(UNTIL_CAUSE, ended).await.ok();
                let once_more = cause.is_some();
                let broke = || format!("The connection broke while the model answered: {reason}.");
                let message =
                    cause.map_or_else(broke, |cause| format!("{cause} while it answered."));
                WorkerError::Died { message, once_more }
            }
        }
    }

    /// In words, where nothing more is known.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Final(error) => error.to_string(),
            Self::NotSent { reason } | Self::Broken { reason } => reason.clone(),
        }
    }
}

/// An error with its causes: hyper's own words alone do not name them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
