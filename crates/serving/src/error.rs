//! Why a call was not answered, and how AWS says so.

use std::time::Duration;

use http::StatusCode;
use sagebrush_core::route::VariantId;
use sagebrush_core::worker::WorkerError;

/// What ended the parts of a reply before the last of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// SageMaker Runtime API: `ModelStreamError`.
    #[error("{message}")]
    Model { code: ModelStreamCode, message: String },
    /// SageMaker Runtime API: `InternalStreamFailure`.
    #[error("{message}")]
    Internal { message: String },
}

/// SageMaker Runtime API: `ErrorCode` of `ModelStreamError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelStreamCode {
    ModelInvocationTimeExceeded,
    StreamBroken,
}

impl StreamError {
    /// What a worker's error is in a stream, in the words that `explain` has for it.
    pub(crate) fn of(error: WorkerError, explain: impl Fn(WorkerError) -> InvokeError) -> Self {
        let is_late = is_late(&error);
        match explain(error) {
            InvokeError::Model { message, .. } => {
                let code = if is_late {
                    ModelStreamCode::ModelInvocationTimeExceeded
                } else {
                    ModelStreamCode::StreamBroken
                };
                Self::Model { code, message }
            }
            error @ (InvokeError::NoEndpoint { .. }
            | InvokeError::NotInService { .. }
            | InvokeError::NoVariant { .. }
            | InvokeError::Invalid(_)
            | InvokeError::NoCapacity { .. }
            | InvokeError::Overloaded { .. }
            | InvokeError::Throttled { .. }
            | InvokeError::NotReady(_)
            | InvokeError::OnlyAsynchronous { .. }
            | InvokeError::NotAsynchronous { .. }
            | InvokeError::Internal) => Self::Internal { message: error.to_string() },
        }
    }
}

fn is_late(error: &WorkerError) -> bool {
    match error {
        WorkerError::TimedOut => true,
        WorkerError::At { error, .. } => is_late(error),
        WorkerError::Model { .. }
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. }
        | WorkerError::Died { .. }
        | WorkerError::Gone { .. } => false,
    }
}

/// One enum for the data plane; `reply` turns it into AWS's wire form.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    #[error("Endpoint {endpoint} of account {account} not found.")]
    NoEndpoint { endpoint: String, account: String },
    #[error("Endpoint {endpoint} is not in service: its status is {status}.")]
    NotInService { endpoint: String, status: &'static str },
    #[error(
        "Endpoint {endpoint} takes asynchronous calls only: it has an AsyncInferenceConfig. Use \
         InvokeEndpointAsync."
    )]
    OnlyAsynchronous { endpoint: String },
    #[error("Endpoint {endpoint} takes no asynchronous calls: it has no AsyncInferenceConfig.")]
    NotAsynchronous { endpoint: String },
    #[error("Variant {variant} of endpoint {endpoint} not found.")]
    NoVariant { endpoint: String, variant: String },
    /// A constraint of the API does not hold.
    #[error("{0}")]
    Invalid(String),
    /// No instance came up while the call was held, or none is to.
    #[error("Endpoint {endpoint} has no instance that can take the call. Try again later.")]
    NoCapacity { endpoint: String, variant: Option<VariantId> },
    /// All instances have as many calls as they may have, or as they can answer in time.
    #[error("Endpoint {endpoint} has too many calls under way. Try again later.")]
    Overloaded { endpoint: String, variant: VariantId, retry_after: Duration },
    /// A serverless variant has as many calls as its `MaxConcurrency` says.
    #[error(
        "Variant {} of endpoint {endpoint} has {most} calls under way, which is its \
         MaxConcurrency. Try again later.",
        variant.name
    )]
    Throttled { endpoint: String, variant: VariantId, most: usize },
    /// Its model is being loaded.
    #[error("{0}")]
    NotReady(String),
    #[error("{message}")]
    Model { message: String, original_status: u16, original_message: String, log_group: String },
    #[error("Internal failure.")]
    Internal,
}

impl InvokeError {
    /// Whether the endpoint is there, and had no room for the call; then also the variant that it
    /// was for, if one was chosen.
    pub(crate) fn refused_by(&self) -> Option<Option<&VariantId>> {
        match self {
            Self::NoCapacity { variant, .. } => Some(variant.as_ref()),
            Self::Overloaded { variant, .. } | Self::Throttled { variant, .. } => {
                Some(Some(variant))
            }
            Self::NoEndpoint { .. }
            | Self::NotInService { .. }
            | Self::OnlyAsynchronous { .. }
            | Self::NotAsynchronous { .. }
            | Self::NoVariant { .. }
            | Self::Invalid(_)
            | Self::NotReady(_)
            | Self::Model { .. }
            | Self::Internal => None,
        }
    }

    /// The code and status of the SageMaker Runtime API.
    #[must_use]
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::NoEndpoint { .. }
            | Self::NotInService { .. }
            | Self::OnlyAsynchronous { .. }
            | Self::NotAsynchronous { .. }
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
