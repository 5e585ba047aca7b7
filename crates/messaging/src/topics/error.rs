//! Why a topic refuses, in the words of SNS.

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_core::store::StoreError;

use crate::attribute::InvalidAttribute;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error("Topic does not exist")]
    NoTopic,
    #[error("Subscription does not exist")]
    NoSubscription,
    #[error("Invalid parameter: Attributes Reason: Topic already exists with different attributes")]
    OtherAttributes,
    #[error("Invalid parameter: Tags Reason: Topic already exists with different tags")]
    OtherTags,
    #[error(
        "Invalid parameter: Attributes Reason: Subscription already exists with different attributes"
    )]
    OtherSubscription,
    #[error("Invalid parameter: {name}{}", because(.reason))]
    Invalid { name: String, reason: String },
    #[error("Invalid parameter: Token")]
    InvalidToken,
    #[error(transparent)]
    Attribute(#[from] InvalidAttribute),
    #[error("This subscription ends only for who signs the call.")]
    Guarded,
    #[error("The batch request doesn't contain any entries.")]
    EmptyBatch,
    #[error("The batch request contains more entries than permissible: {0}.")]
    TooManyEntries(usize),
    #[error("Two or more batch entries in the request have the same Id.")]
    RepeatedId,
    #[error("The length of all the batch messages put together is more than the limit.")]
    BatchTooLong,
    #[error("There may be 50 tags.")]
    TooManyTags,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TopicError {
    pub(crate) fn invalid(name: &str, reason: &str) -> Self {
        Self::Invalid { name: name.to_owned(), reason: reason.to_owned() }
    }

    pub(super) fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::NoTopic | Self::NoSubscription => ("NotFound", StatusCode::NOT_FOUND),
            Self::OtherAttributes
            | Self::OtherTags
            | Self::OtherSubscription
            | Self::Invalid { .. }
            | Self::InvalidToken
            | Self::Attribute(_) => ("InvalidParameter", StatusCode::BAD_REQUEST),
            Self::Guarded => ("AuthorizationError", StatusCode::FORBIDDEN),
            Self::EmptyBatch => ("EmptyBatchRequest", StatusCode::BAD_REQUEST),
            Self::TooManyEntries(_) => ("TooManyEntriesInBatchRequest", StatusCode::BAD_REQUEST),
            Self::RepeatedId => ("BatchEntryIdsNotDistinct", StatusCode::BAD_REQUEST),
            Self::BatchTooLong => ("BatchRequestTooLong", StatusCode::BAD_REQUEST),
            Self::TooManyTags => ("TagLimitExceeded", StatusCode::BAD_REQUEST),
            Self::Store(_) => ("InternalError", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" Reason: {reason}") }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        let (code, status) = error.code();
        if let TopicError::Store(error) = error {
            return error.into();
        }
        Self::new(code, status, error.to_string())
    }
}
