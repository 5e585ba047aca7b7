//! The headers of `InvokeEndpoint`, parsed and checked. SageMaker Runtime API: `InvokeEndpoint`.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::InvokeError;

pub const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";
pub const INVOKED_VARIANT: &str = "x-amzn-invoked-production-variant";
const TARGET_VARIANT: &str = "x-amzn-sagemaker-target-variant";

/// Headers that go on to the container as they are, with the length that each may have.
const FORWARDED: &[(&str, &str, usize)] = &[
    (CUSTOM_ATTRIBUTES, "customAttributes", 1024),
    ("x-amzn-sagemaker-inference-id", "inferenceId", 64),
    ("x-amzn-sagemaker-session-id", "sessionId", 256),
    ("x-amzn-sagemaker-prefix-aware-id", "prefixAwareId", 64),
];

/// Headers that ask for what no endpoint here can do: ignoring them would be a fake success.
const UNSERVED: &[(&str, &str)] = &[
    ("x-amzn-sagemaker-target-model", "TargetModel is only for multi-model endpoints"),
    (
        "x-amzn-sagemaker-target-container-hostname",
        "TargetContainerHostname is only for endpoints with several containers",
    ),
    (
        "x-amzn-sagemaker-enable-explanations",
        "EnableExplanations is only for endpoints with an ExplainerConfig",
    ),
    (
        "x-amzn-sagemaker-inference-component",
        "InferenceComponentName is only for endpoints with inference components",
    ),
];

/// What the headers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallHeaders {
    pub content_type: Option<String>,
    /// `None` when absent or `*/*`.
    pub accept: Option<String>,
    pub target_variant: Option<String>,
    pub forwarded: Vec<(&'static str, String)>,
}

/// Reads the headers of the API; all others are left out.
///
/// # Errors
/// For a header that breaks its constraint, or asks for what is not served.
pub fn read(headers: &HeaderMap) -> Result<CallHeaders, InvokeError> {
    refuse_unserved(headers)?;
    let mut forwarded = Vec::new();
    for (name, member, longest) in FORWARDED {
        if let Some(value) = text(headers, name, member, *longest)? {
            forwarded.push((*name, value));
        }
    }
    let accept = text(headers, ACCEPT.as_str(), "accept", 1024)?;
    Ok(CallHeaders {
        content_type: text(headers, CONTENT_TYPE.as_str(), "contentType", 1024)?,
        accept: accept.filter(|accept| accept != "*/*"),
        target_variant: text(headers, TARGET_VARIANT, "targetVariant", 63)?,
        forwarded,
    })
}

fn refuse_unserved(headers: &HeaderMap) -> Result<(), InvokeError> {
    let asked = UNSERVED.iter().find(|(name, _)| headers.contains_key(*name));
    asked.map_or(Ok(()), |(_, why)| Err(InvokeError::Invalid(format!("{why}."))))
}

/// A header as text; `member` is its name in messages.
fn text(
    headers: &HeaderMap,
    name: &str,
    member: &str,
    longest: usize,
) -> Result<Option<String>, InvokeError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let Ok(value) = value.to_str() else {
        return Err(InvokeError::Invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: \\p{{ASCII}}*"
        )));
    };
    if value.len() > longest {
        return Err(InvokeError::Invalid(format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy \
             constraint: Member must have length less than or equal to {longest}"
        )));
    }
    Ok(Some(value.to_owned()))
}
