//! The page in which a worker notes which of several calls it begins.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::pread;

/// The length of the mark.
const MARK: usize = size_of::<u32>();

/// What a worker says without a system call: it writes a number into memory that we share.
pub(super) struct Page(OwnedFd);

impl Page {
    pub(super) fn new() -> io::Result<Self> {
        let page = memfd_create("sagebrush-mark", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&page, MARK as u64)?;
        // It is no place to put more into.
        fcntl_add_seals(&page, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(page))
    }

    /// The worker's own descriptor of it.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    pub(super) fn mark(&self) -> Option<usize> {
        let mut mark = [0; MARK];
        let n = pread(&self.0, &mut mark, 0).ok()?;
        usize::try_from(u32::from_le_bytes(mark)).ok().filter(|_| n == MARK)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::ftruncate;
    use rustix::io::pwrite;

    use super::{MARK, Page};

    #[test]
    fn says_what_was_written_and_keeps_its_size() {
        let page = Page::new().unwrap();
        let theirs = page.share().unwrap();
        assert_eq!(page.mark(), Some(0));
        pwrite(&theirs, &7_u32.to_le_bytes(), 0).unwrap();
        assert_eq!(page.mark(), Some(7));
        for length in [0, MARK as u64 + 1] {
            ftruncate(&theirs, length).unwrap_err();
        }
        pwrite(&theirs, b"more", 1 << 20).unwrap_err();
    }
}
