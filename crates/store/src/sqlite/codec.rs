//! What a column holds for a value that SQLite has no type for.

use std::io;

use sagebrush_core::objects::Versioning;
use sagebrush_core::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a document belongs to, for the error when it cannot be read.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) kind: &'a str,
    pub(super) key: &'a str,
}

impl Owner<'_> {
    fn corrupt(self, source: serde_json::Error) -> StoreError {
        StoreError::Corrupt { kind: self.kind.to_owned(), key: self.key.to_owned(), source }
    }

    pub(super) fn to_json<T: Serialize>(self, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|source| self.corrupt(source))
    }

    pub(super) fn of_json<T: DeserializeOwned>(self, json: &str) -> Result<T, StoreError> {
        serde_json::from_str(json).map_err(|source| self.corrupt(source))
    }
}

/// A number as the column of an `i64`.
pub(super) fn to_column(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(out_of_range)
}

/// A number that [`to_column`] made.
pub(super) fn of_column<T: TryFrom<i64, Error = std::num::TryFromIntError>>(
    column: i64,
) -> Result<T, StoreError> {
    T::try_from(column).map_err(out_of_range)
}

fn out_of_range(error: std::num::TryFromIntError) -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::InvalidData, error))
}

pub(super) fn versioning_word(versioning: Versioning) -> &'static str {
    match versioning {
        Versioning::Off => "Off",
        Versioning::Enabled => "Enabled",
        Versioning::Suspended => "Suspended",
    }
}

pub(super) fn versioning_of(word: &str) -> Result<Versioning, StoreError> {
    match word {
        "Off" => Ok(Versioning::Off),
        "Enabled" => Ok(Versioning::Enabled),
        "Suspended" => Ok(Versioning::Suspended),
        word => Err(StoreError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no state of versioning: `{word}`"),
        ))),
    }
}
