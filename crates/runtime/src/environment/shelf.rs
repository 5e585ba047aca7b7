//! Where installed packages are kept: a folder per content, there only when it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sagebrush_core::task;

use super::EnvironmentError;
use crate::sandbox::{Mode, Sandbox};

/// What may lie here when the server starts.
const BUDGET: u64 = 32 << 30;
/// The ending of what is being moved here.
const PART: &str = "part";
/// Its time of change is that of the last use; it says how large the folder is.
const USED: &str = "used";

pub(super) struct Shelf {
    dir: PathBuf,
    /// Where installers run.
    pub(super) sandbox: Sandbox,
}

impl Shelf {
    /// Opens the shelf, ends and sweeps what was interrupted, and removes what was not used for
    /// longest while there is more than `budget`. Only here is something removed: later, anything
    /// may be in use.
    pub(super) async fn open(
        dir: PathBuf,
        mode: Mode,
        budget: Option<u64>,
    ) -> Result<Self, EnvironmentError> {
        let open = move || -> io::Result<Self> {
            fs::create_dir_all(&dir)?;
            let dir = dir.canonicalize()?;
            let sandbox = Sandbox::open(dir.join("run"))?.with_mode(mode);
            sweep(&dir, budget.unwrap_or(BUDGET))?;
            Ok(Self { dir, sandbox })
        };
        blocking(open).await
    }

    /// The folder of that name, if it is there; marks it as used.
    pub(super) async fn find(&self, name: &str) -> Result<Option<PathBuf>, EnvironmentError> {
        let folder = self.dir.join(name);
        blocking(move || {
            if !folder.try_exists()? {
                return Ok(None);
            }
            touch(&folder)?;
            Ok(Some(folder.join("site")))
        })
        .await
    }

    /// A folder to install into, removed when it is dropped unless it was kept.
    pub(super) async fn part(&self, name: &str) -> Result<Part, EnvironmentError> {
        let path = self.dir.join(name).with_extension(PART);
        blocking(move || {
            remove(&path)?;
            let part = Part(path);
            fs::create_dir_all(part.site())?;
            fs::create_dir_all(part.code())?;
            Ok(part)
        })
        .await
    }

    /// Removes what could not be installed.
    pub(super) async fn discard(&self, part: Part) -> Result<(), EnvironmentError> {
        blocking(move || remove(part.path())).await
    }

    /// Keeps what was installed under its name; returns the folder with the packages.
    pub(super) async fn keep(&self, part: Part) -> Result<PathBuf, EnvironmentError> {
        let keep = move || {
            fs::remove_dir_all(part.code())?;
            remove(&part.cache())?;
            fs::write(part.path().join(USED), size(part.path())?.to_string())?;
            // The name must not be there before what it stands for.
            rustix::fs::syncfs(File::open(part.path())?)?;
            let folder = part.path().with_extension("");
            fs::rename(part.path(), &folder)?;
            Ok(folder.join("site"))
        };
        blocking(keep).await
    }
}

/// What is being installed.
pub(super) struct Part(PathBuf);

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the packages come.
    pub(super) fn site(&self) -> PathBuf {
        self.0.join("site")
    }

    /// Where uv unpacks what it then links: on the same mount, else it would have to copy.
    pub(super) fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Where the files with the requirements are.
    pub(super) fn code(&self) -> PathBuf {
        self.0.join("code")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(part = %self.0.display(), %error, "a part of an environment stays");
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, EnvironmentError> {
    let done = task::blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| EnvironmentError::machine("Its packages cannot be kept", error))
}

fn touch(folder: &Path) -> io::Result<()> {
    let used = File::options().append(true).create(true).open(folder.join(USED))?;
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::futimens(used, &times)?)
}

/// Removes what is not whole, and the longest unused while there is too much.
fn sweep(dir: &Path, budget: u64) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == PART) {
            fs::remove_dir_all(&path)?;
        } else if let Ok(used) = fs::metadata(path.join(USED)) {
            let bytes = fs::read_to_string(path.join(USED))?.parse().unwrap_or(0);
            kept.push((used.modified()?, bytes, path));
        }
    }
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, folder) in kept {
        if bytes <= budget {
            return Ok(());
        }
        // First out of the way by its name, so that half of it is never found.
        let part = folder.with_extension(PART);
        fs::rename(&folder, &part)?;
        fs::remove_dir_all(&part)?;
        tracing::info!(folder = %folder.display(), bytes = size, "unused packages removed");
        bytes = bytes.saturating_sub(size);
    }
    Ok(())
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{PART, USED, sweep};

    fn add(dir: &Path, name: &str, bytes: u64, age: u64) {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join(USED), bytes.to_string()).unwrap();
        let file = File::options().write(true).open(dir.join(name).join(USED)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9999 - age)).unwrap();
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), "old", 10, 300);
        add(dir.path(), "older", 10, 400);
        add(dir.path(), "new", 10, 100);
        fs::create_dir(dir.path().join("x").with_extension(PART)).unwrap();
        let left = |budget| {
            sweep(dir.path(), budget).unwrap();
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(left(30), ["new", "old", "older"]);
        assert_eq!(left(29), ["new", "old"]);
        assert_eq!(left(10), ["new"]);
        assert!(left(0).is_empty());
    }
}
