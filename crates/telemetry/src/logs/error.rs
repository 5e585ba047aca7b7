//! Why CloudWatch Logs refuses, in its own words.

use std::io;

use http::StatusCode;
use sagebrush_aws::ApiError;

#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error("The specified log group does not exist.")]
    NoGroup,
    #[error("The specified log stream does not exist.")]
    NoStream,
    #[error("The specified log group already exists")]
    GroupExists,
    #[error("The specified log stream already exists")]
    StreamExists,
    #[error("There may be {0} log groups.")]
    TooManyGroups(usize),
    #[error("There may be {0} log streams.")]
    TooManyStreams(usize),
    #[error("There may be 50 tags.")]
    TooManyTags,
    #[error("{0}")]
    Invalid(String),
    #[error("The log is behind. Try again later.")]
    Busy,
    #[error("the log is not writable")]
    Io(#[from] io::Error),
}

impl LogError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::NoGroup | Self::NoStream => {
                ("ResourceNotFoundException", StatusCode::BAD_REQUEST)
            }
            Self::GroupExists | Self::StreamExists => {
                ("ResourceAlreadyExistsException", StatusCode::BAD_REQUEST)
            }
            Self::TooManyGroups(_) | Self::TooManyStreams(_) => {
                ("LimitExceededException", StatusCode::BAD_REQUEST)
            }
            Self::TooManyTags => ("TooManyTagsException", StatusCode::BAD_REQUEST),
            Self::Invalid(_) => ("InvalidParameterException", StatusCode::BAD_REQUEST),
            Self::Busy => ("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE),
            Self::Io(_) => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let (code, status) = error.code();
        if let LogError::Io(error) = error {
            return Self::internal(error);
        }
        Self::new(code, status, error.to_string())
    }
}
