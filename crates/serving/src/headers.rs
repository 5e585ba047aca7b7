//! The headers of `InvokeEndpoint`, parsed and checked. SageMaker Runtime API: `InvokeEndpoint`.

use http::HeaderMap;
use http::header::{ACCEPT, AsHeaderName, CONTENT_TYPE};

use crate::error::InvokeError;

/// What all headers below start with.
const API_PREFIX: &str = "x-amzn-sagemaker-";

pub const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";
pub(crate) const SESSION_ID: &str = "x-amzn-sagemaker-session-id";
pub(crate) const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
pub const INVOKED_VARIANT: &str = "x-amzn-invoked-production-variant";
/// What the model says of the session of its call.
pub(crate) const NEW_SESSION: &str = "x-amzn-sagemaker-new-session-id";
pub(crate) const CLOSED_SESSION: &str = "x-amzn-sagemaker-closed-session-id";
/// The type of what the model says, where the body is of another.
pub const MODEL_TYPE: &str = "x-amzn-sagemaker-content-type";
const ACCEPTED_TYPE: &str = "x-amzn-sagemaker-accept";
const TARGET_VARIANT: &str = "x-amzn-sagemaker-target-variant";
const TARGET_MODEL: &str = "x-amzn-sagemaker-target-model";
const TARGET_CONTAINER: &str = "x-amzn-sagemaker-target-container-hostname";

/// Headers that go on to the container as they are, with the length that each may have.
const FORWARDED: &[(&str, &str, usize)] = &[
    (CUSTOM_ATTRIBUTES, "customAttributes", 1024),
    (INFERENCE_ID, "inferenceId", 64),
    (SESSION_ID, "sessionId", 256),
    ("x-amzn-sagemaker-prefix-aware-id", "prefixAwareId", 64),
];

/// Headers that ask for what no endpoint here can do: ignoring them would be a fake success.
const UNSERVED: &[(&str, &str)] = &[
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
    pub target_model: Option<String>,
    pub target_container: Option<String>,
    pub forwarded: Vec<(&'static str, String)>,
}

/// Reads the headers of the API; all others are left out.
///
/// # Errors
/// For a header that breaks its constraint, or asks for what is not served.
pub fn read(headers: &HeaderMap) -> Result<CallHeaders, InvokeError> {
    let accept = text(headers, ACCEPT, "accept", 1024)?;
    let common = CallHeaders {
        content_type: text(headers, CONTENT_TYPE, "contentType", 1024)?,
        accept: accept.filter(|accept| accept != "*/*"),
        ..CallHeaders::default()
    };
    // Most calls have none of the rest: one look instead of one for each.
    if headers.keys().any(|name| name.as_str().starts_with(API_PREFIX)) {
        read_rare(headers, common)
    } else {
        Ok(common)
    }
}

/// As [`read`], where the API has headers of its own for the types of the model's payloads.
///
/// # Errors
/// As [`read`].
pub fn read_for_stream(headers: &HeaderMap) -> Result<CallHeaders, InvokeError> {
    let accept = text(headers, ACCEPTED_TYPE, "accept", 1024)?;
    let content_type = text(headers, MODEL_TYPE, "contentType", 1024)?;
    let mut read = read(headers)?;
    read.accept = accept.filter(|accept| accept != "*/*");
    read.content_type = content_type.or(read.content_type);
    Ok(read)
}

fn read_rare(headers: &HeaderMap, common: CallHeaders) -> Result<CallHeaders, InvokeError> {
    refuse_unserved(headers)?;
    let mut forwarded = Vec::new();
    for (name, member, longest) in FORWARDED {
        if let Some(value) = text(headers, *name, member, *longest)? {
            forwarded.push((*name, value));
        }
    }
    if let Some((_, session)) = forwarded.iter().find(|(name, _)| *name == SESSION_ID) {
        matching(session.clone(), "sessionId", is_session, SESSION)?;
    }
    Ok(CallHeaders {
        target_variant: text(headers, TARGET_VARIANT, "targetVariant", 63)?,
        target_model: text(headers, TARGET_MODEL, "targetModel", 1024)?
            .map(|model| matching(model, "targetModel", is_model, r"\A\S[\p{Print}]*\z"))
            .transpose()?,
        target_container: text(headers, TARGET_CONTAINER, "targetContainerHostname", 63)?
            .map(|name| matching(name, "targetContainerHostname", is_hostname, HOSTNAME))
            .transpose()?,
        forwarded,
        ..common
    })
}

const HOSTNAME: &str = "^[a-zA-Z0-9](-*[a-zA-Z0-9])*";
const SESSION: &str = "^(NEW_SESSION)$|^[a-zA-Z0-9](-*[a-zA-Z0-9])*$";

fn is_model(value: &str) -> bool {
    value.starts_with(|c: char| !c.is_whitespace())
}

fn is_session(value: &str) -> bool {
    value == "NEW_SESSION" || is_hostname(value)
}

fn is_hostname(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ends = [value.chars().next(), value.chars().next_back()];
    value.chars().all(is_plain) && ends.iter().all(|end| end.is_some_and(|c| c != '-'))
}

/// The value, if it is as `pattern` says, for which `is_good` stands.
pub(crate) fn matching(
    value: String,
    member: &str,
    is_good: fn(&str) -> bool,
    pattern: &str,
) -> Result<String, InvokeError> {
    if is_good(&value) {
        return Ok(value);
    }
    Err(InvokeError::Invalid(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: \
         Member must satisfy regular expression pattern: {pattern}"
    )))
}

fn refuse_unserved(headers: &HeaderMap) -> Result<(), InvokeError> {
    let asked = UNSERVED.iter().find(|(name, _)| headers.contains_key(*name));
    asked.map_or(Ok(()), |(_, why)| Err(InvokeError::Invalid(format!("{why}."))))
}

/// A header as text; `member` is its name in messages.
pub(crate) fn text(
    headers: &HeaderMap,
    name: impl AsHeaderName,
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{
        CallHeaders, InvokeError, SESSION_ID, TARGET_CONTAINER, TARGET_MODEL, read, read_for_stream,
    };

    fn of(name: &'static str, value: &str) -> Result<CallHeaders, InvokeError> {
        let value = HeaderValue::from_str(value).unwrap();
        read(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
    }

    #[test]
    fn targets_within_their_constraints() {
        let long = "a".repeat(1024);
        for model in ["a.tar.gz", "a/b c.tar.gz", &long] {
            assert_eq!(of(TARGET_MODEL, model).unwrap().target_model.as_deref(), Some(model));
        }
        for model in ["", &"a".repeat(1025)] {
            let refusal = of(TARGET_MODEL, model).unwrap_err().to_string();
            assert!(refusal.contains("at 'targetModel' failed"), "{refusal}");
        }
        for name in ["a", "container-1", "a--b"] {
            assert_eq!(of(TARGET_CONTAINER, name).unwrap().target_container.as_deref(), Some(name));
        }
        for name in ["", "-a", "a-", "a_b", "a b", &"a".repeat(64)] {
            let refusal = of(TARGET_CONTAINER, name).unwrap_err().to_string();
            assert!(refusal.contains("at 'targetContainerHostname' failed"), "{refusal}");
        }
    }

    #[test]
    fn sessions_within_their_constraint() {
        for id in ["NEW_SESSION", "s-1", "0f8fad5b-d9cb-469f-a165-70867728950e"] {
            assert_eq!(of(SESSION_ID, id).unwrap().forwarded, [(SESSION_ID, id.to_owned())]);
        }
        for id in ["", "new_session", "-a", "a b", &"a".repeat(257)] {
            let refusal = of(SESSION_ID, id).unwrap_err().to_string();
            assert!(refusal.contains("at 'sessionId' failed"), "{refusal}");
        }
    }

    #[test]
    fn a_stream_names_its_types_in_headers_of_their_own() {
        let check = |headers: &[(&'static str, &str)], content_type, accept| {
            let headers = headers.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            });
            let read = read_for_stream(&HeaderMap::from_iter(headers)).unwrap();
            assert_eq!(
                (read.content_type.as_deref(), read.accept.as_deref()),
                (content_type, accept)
            );
        };
        check(&[], None, None);
        check(&[("content-type", "a/b"), ("accept", "c/d")], Some("a/b"), None);
        check(&[("x-amzn-sagemaker-accept", "c/d")], None, Some("c/d"));
        check(&[("x-amzn-sagemaker-accept", "*/*")], None, None);
        let both = [("content-type", "a/b"), ("x-amzn-sagemaker-content-type", "e/f")];
        check(&both, Some("e/f"), None);
    }
}
