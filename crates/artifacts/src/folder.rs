//! Writes below one folder, and never outside of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
use rustix::io::Errno;

use crate::names::EntryName;

const PLAIN: Mode = Mode::from_raw_mode(0o644);
const RUNNABLE: Mode = Mode::from_raw_mode(0o755);

/// An open folder. Every path is walked component by component from here, and no component may
/// be a symbolic link, so nothing that an archive names lies outside: what `openat2` promises
/// with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`, on every kernel and with folders made on the
/// way.
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Makes the folder `path`, which must not be there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        mkdirat(CWD, path, RUNNABLE)?;
        Ok(Self(open_folder(CWD, path)?))
    }

    /// Makes the folder `name` and those above it, as far as they are not there.
    pub(crate) fn make(&self, name: &EntryName) -> io::Result<()> {
        self.walk(name.components()).map(drop)
    }

    /// Makes a new file, and the folders above it.
    pub(crate) fn file(&self, name: &EntryName, is_runnable: bool) -> io::Result<File> {
        let mut components: Vec<&str> = name.components().collect();
        let last = components.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.walk(components.into_iter())?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = if is_runnable { RUNNABLE } else { PLAIN };
        let file = openat(&parent, last, flags, mode)?;
        fchmod(&file, mode)?; // Whatever the umask is.
        Ok(File::from(file))
    }

    fn walk<'a>(&self, components: impl Iterator<Item = &'a str>) -> io::Result<OwnedFd> {
        let mut at = self.0.try_clone()?;
        for component in components {
            let is_new = match mkdirat(&at, component, RUNNABLE) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            at = open_folder(at.as_fd(), component)?;
            if is_new {
                fchmod(&at, RUNNABLE)?;
            }
        }
        Ok(at)
    }
}

fn open_folder(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn name(raw: &str) -> EntryName {
        EntryName::parse(raw.as_bytes()).unwrap()
    }

    #[test]
    fn writes_no_file_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let root = dir.path().join("root");
        let folder = Folder::create(&root).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("y"), root.join("y")).unwrap();
        assert!(folder.file(&name("link/x"), false).is_err());
        assert!(folder.file(&name("y"), false).is_err());
        assert!(folder.make(&name("link/x")).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn modes_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let folder = Folder::create(&root).unwrap();
        drop(folder.file(&name("a/plain"), false).unwrap());
        drop(folder.file(&name("a/run"), true).unwrap());
        let mode = |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/plain"), mode("a/run")), (0o755, 0o644, 0o755));
    }
}
