//! What holds in every store, whatever it keeps its rows in.

use std::io;

use sagebrush_core::objects::{Condition, IndexError};
use sagebrush_core::store::{Cursor, StoreError};

/// Checks `condition` against the newest version of a key: its etag, and whether it is a marker.
pub(crate) fn check_condition(
    condition: &Condition,
    newest: Option<(&str, bool)>,
) -> Result<(), IndexError> {
    let etag = newest.filter(|(_, is_marker)| !is_marker).map(|(etag, _)| etag);
    let holds = match condition {
        Condition::None => true,
        Condition::Absent => etag.is_none(),
        Condition::Etag(expected) => etag == Some(expected),
    };
    if holds { Ok(()) } else { Err(IndexError::ConditionFailed) }
}

pub(crate) fn conflict(kind: &str, key: &str, expected: u64, stored: u64) -> StoreError {
    StoreError::Conflict { kind: kind.to_owned(), key: key.to_owned(), expected, stored }
}

/// An upload has no longer the part whose blob an object was to be made of.
///
/// Whoever replaced the part was told that nothing refers to that blob, and may have removed it.
pub(crate) fn parts_changed(upload_id: &str) -> IndexError {
    conflict("upload", upload_id, 1, 2).into()
}

/// An upload is there already.
pub(crate) fn upload_exists(upload_id: &str) -> IndexError {
    conflict("upload", upload_id, 0, 1).into()
}

pub(crate) fn no_upload(upload_id: &str) -> IndexError {
    IndexError::NoSuchUpload(upload_id.to_owned())
}

/// The value of a cursor into a list that is sorted by a time.
pub(crate) fn cursor_time(cursor: &Cursor) -> Result<i64, StoreError> {
    let no_time = |error| StoreError::Io(io::Error::new(io::ErrorKind::InvalidInput, error));
    cursor.value.parse().map_err(no_time)
}
