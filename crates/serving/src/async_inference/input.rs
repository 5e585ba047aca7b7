//! The payload of a call: from its row, or from the object that it names.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use sagebrush_core::objects::{ObjectError, ObjectRef, ObjectStore};
use sagebrush_core::worker::Payload;

use super::call::{CallSpec, Input};
use super::mapped::Spool;

/// SageMaker: asynchronous payloads have up to 1 GB.
const LONGEST: u64 = 1 << 30;

/// Longer ones are not kept in memory.
const LONGEST_IN_MEMORY: u64 = 4 << 20;

/// What S3 says of objects of which nothing is known.
const UNKNOWN: &str = "binary/octet-stream";

/// Why a call has no payload.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("The input cannot be read: {}.", said(.0))]
    Object(#[from] ObjectError),
    #[error("The input {at} has {size} bytes, and at most {LONGEST} are allowed.")]
    TooLong { at: ObjectRef, size: u64 },
    #[error("The input {0} was cut off while it was read.")]
    Cut(ObjectRef),
    #[error("The input cannot be kept while it is computed: {0}.")]
    Spool(#[source] io::Error),
    #[error("The input that came with the call cannot be read: {0}.")]
    Row(#[from] base64::DecodeError),
}

/// The role's permissions are the client's business; other troubles of the store are ours.
fn said(error: &ObjectError) -> String {
    match error {
        ObjectError::Io(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            cause.to_string()
        }
        ObjectError::NoSuchBucket(_)
        | ObjectError::NoSuchKey(_)
        | ObjectError::Full
        | ObjectError::Io(_)
        | ObjectError::Index(_) => error.to_string(),
    }
}

impl InputError {
    /// True if another try may find it well.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Object(error) => match error {
                ObjectError::NoSuchBucket(_) | ObjectError::NoSuchKey(_) => false,
                ObjectError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
                ObjectError::Full | ObjectError::Io(_) | ObjectError::Index(_) => true,
            },
            Self::Cut(_) | Self::Spool(_) => true,
            Self::TooLong { .. } | Self::Row(_) => false,
        }
    }
}

/// The payload that the call's worker gets.
pub(super) async fn load(
    call: &CallSpec,
    objects: &dyn ObjectStore,
    spool: &Path,
) -> Result<Payload, InputError> {
    let (body, found_type) = match &call.input {
        Input::Text(text) => (Bytes::from(text.clone()), None),
        Input::Base64(text) => (Bytes::from(STANDARD.decode(text)?), None),
        Input::Object(at) => fetch(&at.0, objects, spool).await?,
    };
    let found_type = found_type.filter(|found| found != UNKNOWN);
    Ok(Payload { content_type: call.content_type.clone().or(found_type), body })
}

async fn fetch(
    at: &ObjectRef,
    objects: &dyn ObjectStore,
    spool: &Path,
) -> Result<(Bytes, Option<String>), InputError> {
    let (meta, mut parts) = objects.get(at, None).await?;
    if meta.size > LONGEST {
        return Err(InputError::TooLong { at: at.clone(), size: meta.size });
    }
    let body = if meta.size <= LONGEST_IN_MEMORY {
        let mut body = BytesMut::with_capacity(usize::try_from(meta.size).unwrap_or(0));
        while let Some(part) = parts.next().await {
            body.extend_from_slice(&part.map_err(ObjectError::Io)?);
        }
        body.freeze()
    } else {
        let mut file = Spool::new(spool).map_err(InputError::Spool)?;
        while let Some(part) = parts.next().await {
            file.write(&part.map_err(ObjectError::Io)?).await.map_err(InputError::Spool)?;
        }
        file.into_bytes().await.map_err(InputError::Spool)?
    };
    if u64::try_from(body.len()).ok() != Some(meta.size) {
        return Err(InputError::Cut(at.clone()));
    }
    Ok((body, meta.content_type))
}
