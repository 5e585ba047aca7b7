//! How much of the disk is left.

use std::path::PathBuf;

/// Says how many bytes are left.
pub trait Space: Send + Sync + 'static {
    /// `None` where nobody knows.
    fn free(&self) -> Option<u64>;
}

/// The file system of a folder.
pub struct DiskSpace(pub PathBuf);

impl Space for DiskSpace {
    fn free(&self) -> Option<u64> {
        let seen = rustix::fs::statvfs(&self.0).ok()?;
        Some(seen.f_bavail.saturating_mul(seen.f_frsize))
    }
}
