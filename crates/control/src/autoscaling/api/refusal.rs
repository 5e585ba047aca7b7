//! Why Application Auto Scaling refuses, in its words.

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_core::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("Invalid NextToken.")]
    InvalidToken,
    #[error("The specified resource {0} doesn't exist.")]
    NoResource(String),
    #[error("The number of tags exceeds the limit of {0}.")]
    TooManyTags(usize),
    #[error("A concurrent update is in progress. Try again.")]
    Busy,
    #[error(transparent)]
    Store(StoreError),
}

impl Refusal {
    pub(super) fn invalid(error: impl std::fmt::Display) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Busy,
            StoreError::Corrupt { .. } | StoreError::Full | StoreError::Io(_) => Self::Store(error),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, status) = match refusal {
            Refusal::Invalid(_) => ("ValidationException", StatusCode::BAD_REQUEST),
            Refusal::NotFound(_) => ("ObjectNotFoundException", StatusCode::BAD_REQUEST),
            Refusal::LimitExceeded(_) => ("LimitExceededException", StatusCode::BAD_REQUEST),
            Refusal::InvalidToken => ("InvalidNextTokenException", StatusCode::BAD_REQUEST),
            Refusal::NoResource(_) => ("ResourceNotFoundException", StatusCode::BAD_REQUEST),
            Refusal::TooManyTags(_) => ("TooManyTagsException", StatusCode::BAD_REQUEST),
            // AWS says 500, and its clients try again.
            Refusal::Busy => ("ConcurrentUpdateException", StatusCode::INTERNAL_SERVER_ERROR),
            Refusal::Store(error) => {
                let words = "The service encountered an internal error.";
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Self::new("InternalServiceException", status, words).caused_by(error);
            }
        };
        Self::new(code, status, refusal.to_string())
    }
}
