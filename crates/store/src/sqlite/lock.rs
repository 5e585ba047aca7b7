//! The file that says that a database is in use.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::OpenError;

/// Takes `<path>.lock`, until the file that is returned is dropped or the process ends.
///
/// The file itself stays: removing it would let two processes lock two files of one name.
pub(super) fn take(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |source| OpenError::Io { path: name.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
