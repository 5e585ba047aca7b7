//! What the rooms' APIs share: ARNs, AWS's own errors for missing and taken names, tags, and the
//! request as it came.

use std::collections::BTreeMap;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Arn;
use sagebrush_core::resource::{Resource, Stored};
use sagebrush_core::store::StoreError;
use sagebrush_wire::sagemaker as wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// SageMaker API: a resource has at most 50 tags.
pub(crate) const MAX_TAGS: usize = 50;

/// The ARN of a resource in the caller's region and account.
pub(crate) fn arn<R: Resource>(ctx: &Context, name: &str) -> String {
    Arn::sagemaker(&ctx.region, &ctx.account, R::KIND, name).to_string()
}

/// Not found is a `ValidationException` in SageMaker; waiters depend on it.
pub(crate) fn found<R: Resource>(
    stored: Option<Stored<R>>,
    what: &str,
    arn: &str,
) -> Result<Stored<R>, ApiError> {
    stored.ok_or_else(|| ApiError::validation(format!("Could not find {what} \"{arn}\".")))
}

/// A taken name is a `ValidationException` whose wording the SDKs match.
pub(crate) fn create_error(error: StoreError, what: &str, arn: &str) -> ApiError {
    match error {
        StoreError::Conflict { .. } => already_existing(what, arn),
        error @ (StoreError::Corrupt { .. } | StoreError::Full | StoreError::Io(_)) => error.into(),
    }
}

/// The answer to a create whose name is taken.
pub(crate) fn already_existing(what: &str, arn: &str) -> ApiError {
    ApiError::validation(format!("Cannot create already existing {what} \"{arn}\"."))
}

/// The tags of a create request.
pub(crate) fn tag_map(tags: Option<&[wire::Tag]>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut map = BTreeMap::new();
    for wire::Tag { key, value } in tags.unwrap_or_default() {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(ApiError::validation(format!(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive: {key}."
            )));
        }
    }
    Ok(map)
}

/// A request as it is stored for Describe.
///
/// It goes through text: a weight of 0.1 stays 0.1, which a `Value` made of an `f32` would not.
pub(crate) fn stored_request<T: Serialize>(request: &T) -> Result<serde_json::Value, ApiError> {
    let text = serde_json::to_string(request).map_err(ApiError::internal)?;
    serde_json::from_str(&text).map_err(ApiError::internal)
}

/// A stored request, read back.
pub(crate) fn described<T: DeserializeOwned>(request: &serde_json::Value) -> Result<T, ApiError> {
    T::deserialize(request).map_err(ApiError::internal)
}
