//! What went wrong, in S3's words.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode, StdError, s3_error};
use sagebrush_core::objects::{IndexError, ObjectVersion};
use sagebrush_core::store::StoreError;

use crate::backend::is_full;
use crate::blobs::WriteError;

pub(super) fn index_error(error: IndexError) -> S3Error {
    match error {
        IndexError::BucketExists(_) => s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        ),
        IndexError::BucketNotEmpty(_) => {
            s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty")
        }
        IndexError::NoSuchBucket(_) => {
            s3_error!(NoSuchBucket, "The specified bucket does not exist")
        }
        IndexError::NoSuchKey(_) => s3_error!(NoSuchKey, "The specified key does not exist."),
        IndexError::NoSuchUpload(_) => no_such_upload(),
        IndexError::ConditionFailed => precondition_failed(),
        IndexError::Store(StoreError::Full) => full(),
        IndexError::Store(error) => internal(Box::new(error)),
    }
}

pub(super) fn io_error(error: io::Error) -> S3Error {
    if is_full(&error) {
        return full();
    }
    internal(Box::new(error))
}

pub(super) fn write_error(error: WriteError<StdError>) -> S3Error {
    match error {
        WriteError::TooLong(_) => too_large(),
        WriteError::Io(error) => io_error(error),
        WriteError::Body(error) => body_error(error),
    }
}

/// `s3s` keeps the types of these errors to itself, so their words are all there is.
fn body_error(error: StdError) -> S3Error {
    let words = error.to_string();
    if words.contains("Sha256Mismatch") {
        return custom(
            "XAmzContentSHA256Mismatch",
            StatusCode::BAD_REQUEST,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    if words.contains("SignatureMismatch") {
        return s3_error!(
            SignatureDoesNotMatch,
            "The signature of a chunk does not match the signature you provided."
        );
    }
    let mut incomplete = s3_error!(
        IncompleteBody,
        "The request body terminated unexpectedly or is not what its headers say."
    );
    incomplete.set_source(error);
    incomplete
}

/// No such version, because it is a delete marker.
pub(super) fn delete_marker(marker: &ObjectVersion, named: bool) -> S3Error {
    let mut error = if named {
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    } else {
        s3_error!(NoSuchKey, "The specified key does not exist.")
    };
    error.set_headers(headers([
        ("x-amz-delete-marker", "true"),
        ("x-amz-version-id", &marker.version_id),
    ]));
    error
}

pub(super) fn not_modified(etag: &str, last_modified: &str) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    let etag = format!("\"{etag}\"");
    error.set_headers(headers([("etag", &etag), ("last-modified", last_modified)]));
    error
}

pub(super) fn invalid_range(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    error.set_headers(headers([("content-range", &format!("bytes */{size}"))]));
    error
}

pub(super) fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

pub(super) fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may \
         have been aborted or completed."
    )
}

pub(super) fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
}

pub(super) fn custom(
    code: &'static str,
    status: StatusCode,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

fn full() -> S3Error {
    custom(
        "InsufficientStorage",
        StatusCode::INSUFFICIENT_STORAGE,
        "No space is left to store this.",
    )
}

/// A fault of ours; handled here, so logged here.
fn internal(error: StdError) -> S3Error {
    tracing::error!(%error, source = ?error.source(), "object storage failed");
    let mut answer =
        s3_error!(InternalError, "We encountered an internal error. Please try again.");
    answer.set_source(error);
    answer
}

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
