//! Why a call was not answered, and how AWS says so.

use std::time::Duration;

use http::StatusCode;

/// One enum for the data plane; `reply` turns it into AWS's wire form.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    #[error("Endpoint {endpoint} of account {account} not found.")]
    NoEndpoint { endpoint: String, account: String },
    #[error("Endpoint {endpoint} is not in service: its status is {status}.")]
    NotInService { endpoint: String, status: &'static str },
    #[error("Variant {variant} of endpoint {endpoint} not found.")]
    NoVariant { endpoint: String, variant: String },
    /// A constraint of the API does not hold.
    #[error("{0}")]
    Invalid(String),
    /// No instance came up while the call was held.
    #[error("Endpoint {endpoint} has no instance that can take the call. Try again later.")]
    NoCapacity { endpoint: String },
    /// All instances have as many calls as they may have, or as they can answer in time.
    #[error("Endpoint {endpoint} has too many calls under way. Try again later.")]
    Overloaded { endpoint: String, retry_after: Duration },
    /// A serverless variant has as many calls as its `MaxConcurrency` says.
    #[error(
        "Variant {variant} of endpoint {endpoint} has {most} calls under way, which is its \
         MaxConcurrency. Try again later."
    )]
    Throttled { endpoint: String, variant: String, most: usize },
    /// Its model is being loaded.
    #[error("{0}")]
    NotReady(String),
    #[error("{message}")]
    Model { message: String, original_status: u16, original_message: String, log_group: String },
    #[error("Internal failure.")]
    Internal,
}

impl InvokeError {
    /// The code and status of the SageMaker Runtime API.
    #[must_use]
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::NoEndpoint { .. }
            | Self::NotInService { .. }
            | Self::NoVariant { .. }
            | Self::Invalid(_) => ("ValidationError", StatusCode::BAD_REQUEST),
            Self::NoCapacity { .. } => ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Overloaded { .. } | Self::Throttled { .. } => {
                ("ThrottlingException", StatusCode::TOO_MANY_REQUESTS)
            }
            Self::NotReady(_) => ("ModelNotReadyException", StatusCode::TOO_MANY_REQUESTS),
            Self::Model { .. } => ("ModelError", StatusCode::FAILED_DEPENDENCY),
            Self::Internal => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
