//! What a client says about an object besides its bytes.

use std::collections::BTreeMap;

use s3s::dto::{Metadata, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use super::tags::{self, OBJECT_TAGS};

/// AWS: the keys and values of user metadata, in UTF-8.
const MAX_METADATA: usize = 2048;

const STORAGE_CLASSES: [&str; 10] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "OUTPOSTS",
    "EXPRESS_ONEZONE",
];

/// Reads the attributes out of any input that makes an object, and refuses what we cannot do.
macro_rules! attributes_of {
    ($input:expr) => {{
        let input = &$input;
        $crate::front::attributes::refuse_customer_keys(input.sse_customer_algorithm.is_some())?;
        $crate::front::acl::check_canned(input.acl.as_ref().map(|acl| acl.as_str()))?;
        sagebrush_core::objects::Attributes {
            content_type: input.content_type.as_ref().map(ToString::to_string),
            content_encoding: $crate::front::attributes::encoding(
                input.content_encoding.as_deref(),
            ),
            content_disposition: input.content_disposition.clone(),
            content_language: input.content_language.clone(),
            cache_control: input.cache_control.clone(),
            expires: input.expires.as_ref().map($crate::front::conditions::http_date),
            storage_class: $crate::front::attributes::storage_class(
                input.storage_class.as_ref().map(|class| class.as_str()),
            )?,
            website_redirect: input.website_redirect_location.clone(),
            metadata: $crate::front::attributes::metadata(input.metadata.as_ref())?,
            tags: $crate::front::attributes::tags(input.tagging.as_deref())?,
            ..sagebrush_core::objects::Attributes::default()
        }
    }};
}

pub(super) use attributes_of;

/// `aws-chunked` says how the bytes travelled, not what they are.
pub(super) fn encoding(content_encoding: Option<&str>) -> Option<String> {
    let kept: Vec<&str> = content_encoding?
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// `STANDARD` is what an object without a class is in.
pub(super) fn storage_class(class: Option<&str>) -> S3Result<Option<String>> {
    let Some(class) = class else {
        return Ok(None);
    };
    if !STORAGE_CLASSES.contains(&class) {
        return Err(s3_error!(InvalidStorageClass, "The storage class you specified is not valid"));
    }
    Ok((class != "STANDARD").then(|| class.to_owned()))
}

pub(super) fn metadata(given: Option<&Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> =
        given.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let size: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_METADATA {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size"
        ));
    }
    Ok(metadata)
}

pub(super) fn tags(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let pairs = header.map(tags::read_header).transpose()?;
    tags::checked(pairs.unwrap_or_default(), OBJECT_TAGS)
}

/// We do not encrypt, and must not seem to with a key of the client's.
pub(super) fn refuse_customer_keys(asked: bool) -> S3Result<()> {
    if asked {
        return Err(s3_error!(
            NotImplemented,
            "Server-side encryption with customer-provided keys is not implemented"
        ));
    }
    Ok(())
}

/// AWS refuses longer ones before anything else; `s3s` has checked the length of those in paths.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.contains('\0') {
        // No XML can carry it, so no listing could show it.
        return Err(s3_error!(InvalidArgument, "A key must not contain a NUL character"));
    }
    if key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    Ok(())
}

pub(super) fn read_expires(stored: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, stored?).ok()
}

#[cfg(test)]
mod tests {
    use super::{encoding, metadata, storage_class};

    #[test]
    fn chunking_is_no_encoding() {
        assert_eq!(encoding(Some("aws-chunked")), None);
        assert_eq!(encoding(Some("aws-chunked,gzip")), Some("gzip".to_owned()));
        assert_eq!(encoding(Some("gzip")), Some("gzip".to_owned()));
        assert_eq!(encoding(None), None);
    }

    #[test]
    fn classes() {
        assert_eq!(storage_class(Some("STANDARD")).unwrap(), None);
        assert_eq!(storage_class(Some("GLACIER")).unwrap(), Some("GLACIER".to_owned()));
        assert!(storage_class(Some("CHEAP")).is_err());
    }

    #[test]
    fn metadata_is_limited_to_2_kb() {
        let of = |length: usize| {
            metadata(Some(&[("k".to_owned(), "v".repeat(length))].into_iter().collect()))
        };
        assert!(of(2047).is_ok());
        assert!(of(2048).is_err());
    }
}
