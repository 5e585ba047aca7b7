//! Why EventBridge refuses, in its own words.

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_core::store::StoreError;

use super::pattern::InvalidPattern;

#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
    #[error("Event bus {0} does not exist.")]
    NoBus(String),
    #[error("Rule {0} does not exist on EventBus default.")]
    NoRule(String),
    #[error("Rule can't be deleted since it has targets.")]
    HasTargets,
    #[error("There may be {0} rules.")]
    TooManyRules(usize),
    #[error("The requested resource exceeds the maximum number allowed: {0} targets for a rule.")]
    TooManyTargets(usize),
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EventError {
    pub(super) fn not_served(what: &str) -> Self {
        Self::Invalid(format!("{what} is not served here."))
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoBus(_) | Self::NoRule(_) => "ResourceNotFoundException",
            Self::TooManyRules(_) | Self::TooManyTargets(_) => "LimitExceededException",
            Self::Pattern(_) => "InvalidEventPatternException",
            Self::HasTargets | Self::Invalid(_) => "ValidationException",
            Self::Store(_) => "InternalException",
        }
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        let code = error.code();
        if let EventError::Store(error) = error {
            return error.into();
        }
        Self::new(code, StatusCode::BAD_REQUEST, error.to_string())
    }
}
