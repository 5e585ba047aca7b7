//! The page in which a worker notes which of several calls it begins.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::pread;

/// The length of the mark.
const MARK: usize = size_of::<u32>();

/// What a worker says without a system call: it writes a number into memory that we share.
pub(super) struct Page(OwnedFd);

impl Page {
    pub(super) fn new() -> io::Result<Self> {
        let page = memfd_create("sagebrush-mark", MemfdFlags::CLOEXEC)?;
        ftruncate(&page, MARK as u64)?;
        Ok(Self(page))
    }

    /// The worker's own descriptor of it.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// `None` if the worker took the page apart.
    pub(super) fn mark(&self) -> Option<usize> {
        let mut mark = [0; MARK];
        let n = pread(&self.0, &mut mark, 0).ok()?;
        usize::try_from(u32::from_le_bytes(mark)).ok().filter(|_| n == MARK)
    }
}
