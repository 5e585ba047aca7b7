//! Holds a request against the shape of its operation, and complains in AWS's own words.
//!
//! Clients, and their tests, match on these texts; the forms are those that users of SageMaker
//! quote in their reports. First come the types (`SerializationException`, the first one only),
//! then the constraints (`ValidationException`, all of them).

mod constraints;
mod finite;
mod path;
mod pattern;
mod render;
#[cfg(test)]
mod tests;
mod types;

use sagebrush_wire::Shape;
use serde_json::Value;

use crate::ApiError;

pub(crate) use finite::float;
pub use pattern::compiles;

/// `Ok` if `value` can be read as the `shape`, and keeps its constraints.
pub fn check(shape: &'static Shape, value: &Value) -> Result<(), ApiError> {
    types::check(shape, value).map_err(|mismatch| match finite::offender(shape, value) {
        // Services that know such numbers at all have called it so in the query protocol.
        Some((path, word)) => {
            ApiError::validation(format!("The value {word} for parameter {path} is invalid."))
                .once_called("InvalidParameterValue")
        }
        None => ApiError::serialization(mismatch),
    })?;
    let violations = constraints::violations(shape, value);
    if violations.is_empty() {
        return Ok(());
    }
    let errors = if violations.len() == 1 { "error" } else { "errors" };
    Err(ApiError::validation(format!(
        "{} validation {errors} detected: {}",
        violations.len(),
        violations.join("; "),
    )))
}
