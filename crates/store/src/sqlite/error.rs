//! What SQLite's errors mean.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sagebrush_core::store::StoreError;
use sqlx::migrate::MigrateError;

// https://sqlite.org/rescode.html
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;
/// No room to grow the file of shared memory beside the database.
const IO_SHM_SIZE: i32 = 4874;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{0}` is in use by another process")]
    InUse(PathBuf),
    #[error("`{0}` was written by a newer version of sagebrush")]
    Newer(PathBuf),
    #[error("`{path}` is damaged, or is no database; restore it from a backup")]
    Corrupt {
        path: PathBuf,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("no space is left for `{0}`")]
    Full(PathBuf),
    #[error("`{path}` cannot be opened")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What sort of failure an error of `SQLite` is.
enum Sort {
    Full,
    Corrupt,
    Other,
}

fn sort(error: &sqlx::Error) -> Sort {
    let code = error.as_database_error().and_then(|error| error.code());
    let Some(code) = code.and_then(|code| code.parse::<i32>().ok()) else {
        return Sort::Other;
    };
    match (code, code & 0xff) {
        (IO_SHM_SIZE, _) | (_, FULL) => Sort::Full,
        (_, CORRUPT | NOT_A_DATABASE) => Sort::Corrupt,
        _ => Sort::Other,
    }
}

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    failed_for_all(&Arc::new(error))
}

/// The error of one of several calls that failed together.
pub(super) fn failed_for_all(error: &Arc<sqlx::Error>) -> StoreError {
    let kind = match (sort(error), &**error) {
        (Sort::Full, _) => return StoreError::Full,
        (Sort::Corrupt, _) => io::ErrorKind::InvalidData,
        (Sort::Other, sqlx::Error::PoolTimedOut) => io::ErrorKind::TimedOut,
        (Sort::Other, _) => io::ErrorKind::Other,
    };
    StoreError::Io(io::Error::new(kind, error.clone()))
}

pub(super) fn not_opened(path: &Path, error: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match sort(&error) {
        Sort::Full => OpenError::Full(path),
        Sort::Corrupt => OpenError::Corrupt { path, source: error.into() },
        Sort::Other => OpenError::Io { path, source: io::Error::other(error) },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum may grow, and is another crate's")]
pub(super) fn not_migrated(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            not_opened(path, error)
        }
        MigrateError::VersionMissing(_) => OpenError::Newer(path.to_owned()),
        error => OpenError::Corrupt { path: path.to_owned(), source: error.into() },
    }
}

pub(super) fn is_full(error: &sqlx::Error) -> bool {
    matches!(sort(error), Sort::Full)
}
