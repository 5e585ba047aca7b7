//! Errors in CloudWatch's own words, each with the code that it has in the query protocol.

use std::fmt::Display;

use http::StatusCode;
use sagebrush_aws::ApiError;

/// A parameter has a value that it may not have.
pub(super) fn invalid_value(message: impl Into<String>) -> ApiError {
    bad_request("InvalidParameterValueException", "InvalidParameterValue", message)
}

/// `The value -1 for parameter MetricData.member.1.Value is invalid.`
pub(super) fn invalid(value: impl Display, parameter: &str) -> ApiError {
    invalid_value(format!("The value {value} for parameter {parameter} is invalid."))
}

/// Parameters exclude each other, or one lacks another.
pub(super) fn invalid_combination(message: impl Into<String>) -> ApiError {
    bad_request("InvalidParameterCombinationException", "InvalidParameterCombination", message)
}

pub(super) fn missing(parameter: &str) -> ApiError {
    let message = format!("The parameter {parameter} is required.");
    bad_request("MissingRequiredParameterException", "MissingParameter", message)
}

fn bad_request(
    code: &'static str,
    query_code: &'static str,
    message: impl Into<String>,
) -> ApiError {
    ApiError::new(code, StatusCode::BAD_REQUEST, message).once_called(query_code)
}

pub(super) fn invalid_token() -> ApiError {
    bad_request("InvalidNextToken", "InvalidNextToken", "The next token specified is invalid.")
}

pub(super) fn invalid_dashboard(message: impl Into<String>) -> ApiError {
    bad_request("DashboardInvalidInputError", "InvalidParameterInput", message)
}

pub(super) fn no_dashboard(name: &str) -> ApiError {
    let message = format!("Dashboard {name} does not exist");
    ApiError::new("DashboardNotFoundError", StatusCode::NOT_FOUND, message)
        .once_called("ResourceNotFound")
}
