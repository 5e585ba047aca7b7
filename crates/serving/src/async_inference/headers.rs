//! The headers of `InvokeEndpointAsync`, parsed and checked.

use std::ops::RangeInclusive;
use std::str::FromStr as _;

use http::HeaderMap;
use sagebrush_core::objects::ObjectRef;

use crate::error::InvokeError;
use crate::headers::{CUSTOM_ATTRIBUTES, INFERENCE_ID, matching, text};

const CONTENT_TYPE: &str = "x-amzn-sagemaker-content-type";
const ACCEPT: &str = "x-amzn-sagemaker-accept";
const INPUT_LOCATION: &str = "x-amzn-sagemaker-inputlocation";
const TTL: &str = "x-amzn-sagemaker-requestttlseconds";
const TIMEOUT: &str = "x-amzn-sagemaker-invocationtimeoutseconds";
const EXTENSION: &str = "x-amzn-sagemaker-s3outputpathextension";
const FILENAME: &str = "x-amzn-sagemaker-filename";

/// What the API takes, and what holds where the call says nothing.
const TTL_SECONDS: (RangeInclusive<u32>, u32) = (60..=21_600, 21_600);
const TIMEOUT_SECONDS: (RangeInclusive<u32>, u32) = (1..=3600, 900);

/// What the headers say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AsyncHeaders {
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) custom_attributes: Option<String>,
    pub(super) inference_id: Option<String>,
    pub(super) input: Option<ObjectRef>,
    pub(super) ttl_s: u32,
    pub(super) timeout_s: u32,
    /// `S3OutputPathExtension`.
    pub(super) extension: Option<String>,
    pub(super) filename: Option<String>,
}

/// Reads the headers of the API; all others are left out.
///
/// # Errors
/// For a header that breaks its constraint.
pub(super) fn read(headers: &HeaderMap) -> Result<AsyncHeaders, InvokeError> {
    let accept = text(headers, ACCEPT, "accept", 1024)?;
    let like = |name: &'static str, member, longest, is_good: fn(&str) -> bool, pattern| {
        text(headers, name, member, longest)?
            .map(|value| matching(value, member, is_good, pattern))
            .transpose()
    };
    let input = like(INPUT_LOCATION, "inputLocation", 1024, is_location, LOCATION)?;
    Ok(AsyncHeaders {
        content_type: text(headers, CONTENT_TYPE, "contentType", 1024)?,
        accept: accept.filter(|accept| accept != "*/*"),
        custom_attributes: text(headers, CUSTOM_ATTRIBUTES, "customAttributes", 1024)?,
        inference_id: like(INFERENCE_ID, "inferenceId", 64, is_id, r"\A\S[\p{Print}]*\z")?,
        input: input.map(|uri| object(&uri)).transpose()?,
        ttl_s: seconds(headers, TTL, "requestTTLSeconds", TTL_SECONDS)?,
        timeout_s: seconds(headers, TIMEOUT, "invocationTimeoutSeconds", TIMEOUT_SECONDS)?,
        extension: like(EXTENSION, "s3OutputPathExtension", 512, is_extension, EXTENSION_PATTERN)?,
        filename: like(FILENAME, "filename", 32, is_filename, FILENAME_PATTERN)?,
    })
}

const LOCATION: &str = "^(https|s3)://([^/]+)/?(.*)$";
const EXTENSION_PATTERN: &str = "^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$";
const FILENAME_PATTERN: &str = r"^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$";

fn is_location(value: &str) -> bool {
    let rest = value.strip_prefix("s3://").or_else(|| value.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn is_id(value: &str) -> bool {
    !value.starts_with(' ') && !value.is_empty() && value.chars().all(|c| !c.is_ascii_control())
}

fn is_extension(value: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "!_.*'()/-".contains(c);
    !value.is_empty() && value.chars().all(is_fit)
}

fn is_filename(value: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(is_fit)
        && value.matches('.').count() <= 1
}

/// The object that an `InputLocation` names.
fn object(uri: &str) -> Result<ObjectRef, InvokeError> {
    if uri.starts_with("https://") {
        return Err(InvokeError::Invalid(format!(
            "InputLocation {uri} is not served here: name the object by its s3:// URI."
        )));
    }
    let object = ObjectRef::parse(uri).filter(|object| !object.key.is_empty());
    object.ok_or_else(|| {
        InvokeError::Invalid(format!("InputLocation {uri} names a bucket, and no object in it."))
    })
}

fn seconds(
    headers: &HeaderMap,
    name: &'static str,
    member: &str,
    (range, default): (RangeInclusive<u32>, u32),
) -> Result<u32, InvokeError> {
    let Some(value) = text(headers, name, member, 64)? else { return Ok(default) };
    let refuse = |constraint: String| {
        Err(InvokeError::Invalid(format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy \
             constraint: {constraint}"
        )))
    };
    match i64::from_str(&value).map(u32::try_from) {
        Ok(Ok(seconds)) if range.contains(&seconds) => Ok(seconds),
        Ok(Ok(seconds)) if seconds > *range.end() => {
            refuse(format!("Member must have value less than or equal to {}", range.end()))
        }
        Ok(Ok(_) | Err(_)) => {
            refuse(format!("Member must have value greater than or equal to {}", range.start()))
        }
        Err(_) => refuse("Member must be an integer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn of(name: &'static str, value: &str) -> Result<AsyncHeaders, InvokeError> {
        let value = HeaderValue::from_str(value).unwrap();
        read(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
    }

    fn good(name: &'static str, values: &[&str]) {
        for value in values {
            assert!(of(name, value).is_ok(), "{name}: {value}");
        }
    }

    fn bad(name: &'static str, words: &str, values: &[&str]) {
        for value in values {
            let said = of(name, value).unwrap_err().to_string();
            assert!(said.contains(words), "{name}: {value}: {said}");
        }
    }

    #[test]
    fn what_holds_where_nothing_is_said() {
        let read = read(&HeaderMap::new()).unwrap();
        assert_eq!((read.ttl_s, read.timeout_s), (21_600, 900));
        assert_eq!((read.input, read.inference_id, read.filename), (None, None, None));
    }

    #[test]
    fn each_header_within_its_constraint() {
        let long = format!("s3://b/{}", "k".repeat(1018));
        good(INPUT_LOCATION, &["s3://b/k", "s3://b/a b/c.csv"]);
        bad(
            INPUT_LOCATION,
            "'inputLocation' failed",
            &["", "b/k", "s3://", "s3:///k", "ftp://b/k"],
        );
        bad(INPUT_LOCATION, "less than or equal to 1024", &[&long]);
        bad(INPUT_LOCATION, "is not served here", &["https://b.s3.amazonaws.com/k"]);
        bad(INPUT_LOCATION, "no object in it", &["s3://b", "s3://b/"]);
        good(INFERENCE_ID, &["1", "a b/c", &"i".repeat(64)]);
        bad(INFERENCE_ID, "'inferenceId' failed", &["", "a\tb", &"i".repeat(65)]);
        good(TTL, &["60", "21600"]);
        bad(TTL, "greater than or equal to 60", &["59", "0", "-1"]);
        bad(TTL, "less than or equal to 21600", &["21601"]);
        bad(TTL, "must be an integer", &["", "1.5", "an hour"]);
        good(TIMEOUT, &["1", "3600"]);
        bad(TIMEOUT, "greater than or equal to 1", &["0"]);
        bad(TIMEOUT, "less than or equal to 3600", &["3601"]);
        good(EXTENSION, &["a/b", "tenant-1/(x)"]);
        bad(EXTENSION, "'s3OutputPathExtension' failed", &["", "s3:x", "a b", "a%"]);
        good(FILENAME, &["a", "result.json", "A-_0"]);
        bad(FILENAME, "'filename' failed", &["", ".a", "a.b.c", "a/b", &"f".repeat(33)]);
    }

    #[test]
    fn anything_is_accepted_by_a_star() {
        assert_eq!(of(ACCEPT, "*/*").unwrap().accept, None);
        assert_eq!(of(ACCEPT, "text/csv").unwrap().accept.as_deref(), Some("text/csv"));
    }
}
