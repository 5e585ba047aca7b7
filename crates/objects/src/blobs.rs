//! Files of bytes under random names. A blob is there whole, or it is not there.
//!
//! Names never come from object keys, so no key can reach outside the directory.

pub(crate) mod read;
pub(crate) mod sweep;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod write;

pub use read::BlobReader;
pub use sweep::SweepError;
pub use write::{NewBlob, WriteError};

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::objects::Blob;
use sagebrush_core::task;
use uuid::Uuid;

/// The directory of blobs: `tmp/` for what is being written, `ab/cd/<id>` for what is whole.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    root: PathBuf,
    tmp: PathBuf,
    state: Mutex<State>,
}

/// What the sweep and the removal of blobs must know about work in progress.
#[derive(Default)]
struct State {
    /// Blobs whose row is not committed yet; the sweep leaves them alone.
    writing: HashSet<String>,
    /// Blobs that are being read, and by how many.
    pinned: HashMap<String, usize>,
    /// Blobs to remove once nobody reads them.
    doomed: HashSet<String>,
}

impl Blobs {
    /// Opens the directory and removes what was half-written when the process ended. Blocks.
    ///
    /// Only one process at a time may have it open.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let tmp = root.join("tmp");
        fs::create_dir_all(&tmp)?;
        for entry in fs::read_dir(&tmp)? {
            fs::remove_file(entry?.path())?;
        }
        sync_dir(&root)?;
        Ok(Self(Arc::new(Inner { root, tmp, state: Mutex::default() })))
    }

    /// Removes blobs that no row refers to any more. One that is being read goes afterwards.
    ///
    /// A blob that cannot be removed is left to the next sweep.
    pub async fn remove(&self, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        let blobs = self.clone();
        let removed = task::blocking(move || {
            for id in ids {
                blobs.remove_now(id);
            }
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "removing blobs failed");
        }
    }

    fn remove_now(&self, id: String) {
        let mut state = self.state();
        if state.pinned.contains_key(&id) {
            state.doomed.insert(id);
            return;
        }
        drop(state);
        remove_file(&self.path(&id));
    }

    /// Keeps blobs from being removed until the guard is dropped.
    fn pin(&self, blobs: &[Blob]) -> Pins {
        let mut state = self.state();
        for blob in blobs {
            *state.pinned.entry(blob.id.clone()).or_default() += 1;
        }
        Pins { blobs: self.clone(), ids: blobs.iter().map(|blob| blob.id.clone()).collect() }
    }

    fn new_id(&self) -> String {
        let id = Uuid::new_v4().simple().to_string();
        self.state().writing.insert(id.clone());
        id
    }

    fn tmp_path(&self, id: &str) -> PathBuf {
        self.0.tmp.join(id)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.root.join(&id[..2]).join(&id[2..4]).join(id)
    }

    /// Makes the directory of a blob, durably.
    fn make_dir_of(&self, id: &str) -> io::Result<PathBuf> {
        let outer = self.0.root.join(&id[..2]);
        let inner = outer.join(&id[2..4]);
        if inner.try_exists()? {
            return Ok(inner);
        }
        fs::create_dir_all(&inner)?;
        sync_dir(&self.0.root)?;
        sync_dir(&outer)?;
        Ok(inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one call, so a panic cannot leave it half-made.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds blobs for a reader.
struct Pins {
    blobs: Blobs,
    ids: Vec<String>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut free = Vec::new();
        let mut state = self.blobs.state();
        for id in &self.ids {
            let readers = state.pinned.get(id).copied().unwrap_or(0);
            if readers > 1 {
                state.pinned.insert(id.clone(), readers - 1);
                continue;
            }
            state.pinned.remove(id);
            if state.doomed.remove(id) {
                free.push(self.blobs.path(id));
            }
        }
        drop(state);
        free.iter().for_each(|path| remove_file(path));
    }
}

fn remove_file(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "removing a blob failed"),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The outcome of blocking work whose task could not be joined.
fn lost(error: tokio::task::JoinError) -> io::Error {
    io::Error::other(error)
}
