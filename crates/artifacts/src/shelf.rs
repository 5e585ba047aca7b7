//! The unpacked models on the disk: who brings one, who uses one, which ones go.
//!
//! `<dir>/entries/<key>` holds `model/` and `entry.json`. It is made below `<dir>/tmp` and renamed
//! when it is whole, so what stands in `entries` is whole, and what stands in `tmp` at the start
//! was left behind.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::LoadError;

/// An entry on its way, for all who wait for it.
pub(crate) type Loading = Shared<BoxFuture<'static, Result<Arc<Lease>, LoadError>>>;

pub(crate) fn loading(
    future: impl Future<Output = Result<Arc<Lease>, LoadError>> + Send + 'static,
) -> Loading {
    future.boxed().shared()
}

pub(crate) struct Shelf {
    dir: PathBuf,
    budget: u64,
    slots: Mutex<HashMap<String, Slot>>,
    /// Counts uses, so that they have an order.
    uses: AtomicU64,
}

enum Slot {
    Loading(Loading),
    Ready(Arc<Entry>),
}

/// An unpacked model.
struct Entry {
    /// The folder that holds `model/`.
    dir: PathBuf,
    bytes: u64,
    leases: AtomicUsize,
    last_use: AtomicU64,
}

impl Entry {
    fn model(&self) -> PathBuf {
        self.dir.join("model")
    }
}

/// What `entry.json` says.
#[derive(Serialize, Deserialize)]
struct Label {
    uri: String,
    bytes: u64,
}

/// What [`Shelf::claim`] found.
pub(crate) enum Claimed {
    Ready(Arc<Lease>),
    Loading(Loading),
}

impl Shelf {
    pub(crate) fn open(dir: PathBuf, budget: u64) -> io::Result<Self> {
        let uses = AtomicU64::new(0);
        let shelf = Self { dir, budget, slots: Mutex::default(), uses };
        shelf.take_over()?;
        Ok(shelf)
    }

    /// Reads what an earlier run left: whole entries stay, the rest goes.
    fn take_over(&self) -> io::Result<()> {
        remove(&self.tmp());
        fs::create_dir_all(self.tmp())?;
        fs::create_dir_all(self.entries())?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.entries())? {
            let path = entry?.path();
            match read_label(&path) {
                Ok((label, labelled_at)) => found.push((labelled_at, path, label.bytes)),
                Err(_) => remove(&path),
            }
        }
        found.sort();
        let mut slots = self.slots();
        for (_, dir, bytes) in found {
            let Some(key) = dir.file_name().map(|key| key.to_string_lossy().into_owned()) else {
                continue;
            };
            slots.insert(key, Slot::Ready(Arc::new(self.entry(dir, bytes))));
        }
        Ok(())
    }

    /// Returns the entry `key`, or joins those who wait for it, or has `start` bring it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: &str,
        start: impl FnOnce(Claim) -> Loading,
    ) -> Claimed {
        let mut slots = self.slots();
        match slots.get(key) {
            // Somebody may have cleared the disk by hand.
            Some(Slot::Ready(entry)) if entry.model().is_dir() => {
                return Claimed::Ready(self.lease(entry));
            }
            Some(Slot::Loading(loading)) => return Claimed::Loading(loading.clone()),
            Some(Slot::Ready(_)) | None => {}
        }
        let tmp = self.tmp().join(Uuid::new_v4().to_string());
        let claim = Claim { shelf: self.clone(), key: key.to_owned(), tmp, is_settled: false };
        let loading = start(claim);
        slots.insert(key.to_owned(), Slot::Loading(loading.clone()));
        Claimed::Loading(loading)
    }

    /// Takes entries off the shelf that nobody uses, those first that were used longest ago,
    /// until `extra` bytes fit beside the rest. Blocks.
    fn make_room(&self, extra: u64) {
        let removed: Vec<PathBuf> = {
            let mut slots = self.slots();
            let room = self.budget.saturating_sub(extra);
            let mut removed = Vec::new();
            while total(&slots) > room {
                let Some(key) = least_used(&slots) else { break };
                let Some(Slot::Ready(entry)) = slots.remove(&key) else { break };
                // Renamed under the lock, so that the key is free for whoever brings it again.
                removed.extend(self.discard(&entry.dir));
            }
            removed
        };
        removed.iter().for_each(|path| remove(path));
    }

    /// Moves an entry to where it is rubbish and returns that path.
    fn discard(&self, dir: &Path) -> Option<PathBuf> {
        let rubbish = self.tmp().join(Uuid::new_v4().to_string());
        match fs::rename(dir, &rubbish) {
            Ok(()) => Some(rubbish),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "model is not removable");
                None
            }
        }
    }

    fn is_over_budget(&self) -> bool {
        let slots = self.slots();
        total(&slots) > self.budget && least_used(&slots).is_some()
    }

    fn entry(&self, dir: PathBuf, bytes: u64) -> Entry {
        let last_use = AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed));
        Entry { dir, bytes, leases: AtomicUsize::new(0), last_use }
    }

    /// Only under the lock of `slots`, or before the entry is in there: whoever removes entries
    /// counts leases under that lock.
    fn lease(self: &Arc<Self>, entry: &Arc<Entry>) -> Arc<Lease> {
        entry.leases.fetch_add(1, Ordering::SeqCst);
        entry.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Arc::new(Lease { shelf: self.clone(), entry: entry.clone() })
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn entries(&self) -> PathBuf {
        self.dir.join("entries")
    }
}

fn total(slots: &HashMap<String, Slot>) -> u64 {
    ready(slots).fold(0, |sum, (_, entry)| sum.saturating_add(entry.bytes))
}

fn least_used(slots: &HashMap<String, Slot>) -> Option<String> {
    ready(slots)
        .filter(|(_, entry)| entry.leases.load(Ordering::SeqCst) == 0)
        .min_by_key(|(_, entry)| entry.last_use.load(Ordering::Relaxed))
        .map(|(key, _)| key.clone())
}

fn ready(slots: &HashMap<String, Slot>) -> impl Iterator<Item = (&String, &Arc<Entry>)> {
    slots.iter().filter_map(|(key, slot)| match slot {
        Slot::Ready(entry) => Some((key, entry)),
        Slot::Loading(_) => None,
    })
}

/// The right and duty to bring one entry. Dropped unsettled, it lets the next caller try.
pub(crate) struct Claim {
    shelf: Arc<Shelf>,
    key: String,
    tmp: PathBuf,
    is_settled: bool,
}

impl Claim {
    /// The folder to make and fill.
    pub(crate) fn folder(&self) -> PathBuf {
        self.tmp.join("model")
    }

    /// Frees room for `bytes` and makes the temporary folder.
    pub(crate) async fn make_room(&self, bytes: u64) {
        let (shelf, tmp) = (self.shelf.clone(), self.tmp.clone());
        let made = task::blocking(move || {
            shelf.make_room(bytes);
            fs::create_dir_all(tmp)
        });
        // Where this fails, filling the folder fails too, and says so.
        drop(made.await);
    }

    /// Puts the folder on the shelf if it was filled, removes it if not.
    pub(crate) async fn settle(
        mut self,
        uri: &str,
        brought: Result<u64, LoadError>,
    ) -> Result<Arc<Lease>, LoadError> {
        let of = uri.to_owned();
        let settled = task::blocking(move || {
            let lease = self.shelve(&of, brought?)?;
            self.is_settled = true;
            self.shelf.make_room(0);
            Ok(lease)
        });
        let interrupted = |_| LoadError::unavailable(uri, "unpacking was interrupted");
        settled.await.map_err(interrupted)?
    }

    fn shelve(&self, uri: &str, bytes: u64) -> Result<Arc<Lease>, LoadError> {
        let dir = self.shelf.entries().join(&self.key);
        write_label(&self.tmp, uri, bytes).and_then(|()| self.replace(&dir)).map_err(|error| {
            tracing::warn!(%uri, %error, "keeping model data failed");
            LoadError::unavailable(uri, "its files could not be kept")
        })?;
        let entry = Arc::new(self.shelf.entry(dir, bytes));
        let lease = self.shelf.lease(&entry);
        self.shelf.slots().insert(self.key.clone(), Slot::Ready(entry));
        Ok(lease)
    }

    /// Renames the folder to its place. Only half an entry can stand there, cleared by hand.
    fn replace(&self, dir: &Path) -> io::Result<()> {
        remove(dir);
        fs::rename(&self.tmp, dir)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled {
            remove(&self.tmp);
            self.shelf.slots().remove(&self.key);
        }
    }
}

/// Holds an entry on the shelf.
pub(crate) struct Lease {
    shelf: Arc<Shelf>,
    entry: Arc<Entry>,
}

impl ArtifactLease for Lease {
    fn dir(&self) -> PathBuf {
        self.entry.model()
    }

    fn bytes(&self) -> u64 {
        self.entry.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let was_last = self.entry.leases.fetch_sub(1, Ordering::SeqCst) == 1;
        if !(was_last && self.shelf.is_over_budget()) {
            return;
        }
        let shelf = self.shelf.clone();
        // A lease is dropped anywhere, also where nothing may block. Without a thread, the next
        // fetch makes room.
        drop(task::thread("artifacts", move || shelf.make_room(0)));
    }
}

fn write_label(dir: &Path, uri: &str, bytes: u64) -> io::Result<()> {
    let label = serde_json::to_vec(&Label { uri: uri.to_owned(), bytes })?;
    fs::write(dir.join("entry.json"), label)
}

fn read_label(dir: &Path) -> io::Result<(Label, std::time::SystemTime)> {
    let path = dir.join("entry.json");
    let label = serde_json::from_slice(&fs::read(&path)?)?;
    Ok((label, fs::metadata(path)?.modified()?))
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "folder is not removable");
        }
    }
}
