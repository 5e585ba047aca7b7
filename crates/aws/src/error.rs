//! The error of every handler, in the words of AWS.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use sagebrush_core::store::StoreError;

/// What a client is told. The cause stays here, for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub code: Cow<'static, str>,
    pub status: StatusCode,
    pub message: String,
    /// What the code was before the service spoke JSON, if it has told clients so ever since.
    pub query_code: Option<&'static str>,
    #[source]
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl ApiError {
    #[must_use]
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        status: StatusCode,
        message: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), status, message: message.into(), query_code: None, cause: None }
    }

    /// What SageMaker answers to nearly everything that is the client's fault.
    #[must_use]
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", StatusCode::BAD_REQUEST, message)
    }

    /// The body is not JSON, or a member has another type than the model says.
    #[must_use]
    pub fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", StatusCode::BAD_REQUEST, message)
    }

    /// Never `AccessDeniedException`: the SDKs retry that one for five minutes.
    #[must_use]
    pub fn unknown_operation(name: &str) -> Self {
        let message = format!("The operation {name} is not known here");
        Self::new("UnknownOperationException", StatusCode::BAD_REQUEST, message)
    }

    #[must_use]
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", StatusCode::BAD_REQUEST, message)
    }

    #[must_use]
    pub fn resource_in_use(message: impl Into<String>) -> Self {
        Self::new("ResourceInUse", StatusCode::BAD_REQUEST, message)
    }

    #[must_use]
    pub fn resource_limit_exceeded(message: impl Into<String>) -> Self {
        Self::new("ResourceLimitExceeded", StatusCode::BAD_REQUEST, message)
    }

    /// Only where the model lists it; models and endpoints say [`Self::validation`].
    #[must_use]
    pub fn resource_not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFound", StatusCode::BAD_REQUEST, message)
    }

    /// Somebody else changed the resource meanwhile.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new("ConflictException", StatusCode::BAD_REQUEST, message)
    }

    /// Our fault. The client reads no more than that; the cause goes to the log.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = "The request processing has failed because of an internal error.";
        Self::new("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR, message).caused_by(cause)
    }

    /// The header that tells a client to come back soon, where that helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<(HeaderName, HeaderValue)> {
        let is_passing = self.status == StatusCode::SERVICE_UNAVAILABLE;
        is_passing.then(|| (RETRY_AFTER, HeaderValue::from_static("1")))
    }

    /// Names the code of the query protocol, by which clients of a service that has left it
    /// still know the error.
    #[must_use]
    pub fn once_called(self, query_code: &'static str) -> Self {
        Self { query_code: Some(query_code), ..self }
    }

    /// Keeps what went wrong for the log.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into().into()), ..self }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => {
                Self::conflict("The resource was changed by another request. Try again.")
                    .caused_by(error)
            }
            StoreError::Full => Self::new(
                "ServiceUnavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "There is no room left to store the request.",
            )
            .caused_by(error),
            StoreError::Corrupt { .. } | StoreError::Io(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn check(error: StoreError, code: &str, status: u16) {
        let error = ApiError::from(error);
        assert_eq!((&*error.code, error.status.as_u16()), (code, status));
        assert!(!error.message.contains("secret"), "{}", error.message);
        assert!(error.source().is_some());
    }

    #[test]
    fn a_store_error_tells_a_client_nothing_of_the_store() {
        let conflict = StoreError::Conflict {
            kind: "endpoint".to_owned(),
            key: "secret".to_owned(),
            expected: 1,
            stored: 2,
        };
        check(conflict, "ConflictException", 400);
        check(StoreError::Full, "ServiceUnavailable", 503);
        check(StoreError::Io(io::Error::other("/secret/path")), "InternalFailure", 500);
    }
}
