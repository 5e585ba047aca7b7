//! A model's files: fetched from the object store, unpacked where nothing can escape, cached by
//! `ETag` and shared.
//!
//! The way of a fetch:
//! 1. [`plan`] asks the object store what is there now, and names the entry after it;
//! 2. [`shelf`] has the entry, or lets one caller bring it while the others wait;
//! 3. [`download`] streams the bytes to a blocking thread;
//! 4. [`gunzip`] inflates and [`extract`] unpacks them there, within [`Limits`];
//! 5. [`names`] says which paths an entry may have, [`folder`] writes below one folder only.
//!
//! [`versions`] answers which version is there now without a look, while nothing is written.
//!
//! An archive is refused as a whole or unpacked as a whole: nothing is skipped or put right.

mod plan;
mod shelf;
mod versions;
mod download;
mod gunzip;
mod extract;
mod names;
mod folder;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use sagebrush_core::objects::ObjectStore;
use sagebrush_core::task;

use crate::plan::Plan;
use crate::shelf::{Claim, Claimed, Shelf};
use crate::versions::Versions;

/// How often a fetch starts over when the object is overwritten meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// How large model data may be, and how much of it is kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Files and folders of one model.
    pub entries: usize,
    /// Bytes of one model's files.
    pub unpacked_bytes: u64,
    /// How many times its packed size an archive may grow to ..
    pub ratio: u64,
    /// .. once it is larger than this.
    pub ratio_free_bytes: u64,
    /// What all unpacked models may take. Those in use stay even beyond it.
    pub disk_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            unpacked_bytes: 20 << 30,
            ratio: 200,
            ratio_free_bytes: 64 << 20,
            disk_bytes: 20 << 30,
        }
    }
}

/// Unpacked models on the local disk, by the version of their objects.
pub struct ArtifactCache {
    objects: Arc<dyn ObjectStore>,
    shelf: Arc<Shelf>,
    versions: Versions,
    limits: Limits,
}

impl ArtifactCache {
    /// Takes over what an earlier run unpacked below `dir` and removes what it left unfinished.
    /// No other process may use `dir`. Blocks.
    ///
    /// # Errors
    /// When `dir` cannot be made or read.
    pub fn open(objects: Arc<dyn ObjectStore>, dir: PathBuf, limits: Limits) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::open(dir, limits.disk_bytes)?);
        Ok(Self { objects, shelf, versions: Versions::default(), limits })
    }

    /// Fetches what is there now. `None` if it was overwritten before it was read.
    async fn attempt(
        &self,
        source: &ModelData,
    ) -> Result<Option<Arc<dyn ArtifactLease>>, ArtifactError> {
        let plan = plan::resolve(&*self.objects, source, &self.limits).await?;
        let entry = match self.shelf.claim(&plan.key, |claim| self.start(plan.clone(), claim)) {
            Claimed::Ready(lease) => return Ok(Some(lease)),
            Claimed::Loading(loading) => loading.await,
        };
        match entry {
            Ok(lease) => Ok(Some(lease)),
            Err(LoadError::Overwritten) => Ok(None),
            Err(LoadError::Failed(error)) => Err(error),
        }
    }

    /// Brings an entry in a task of its own, so that it outlives a caller who goes away.
    fn start(&self, plan: Plan, claim: Claim) -> shelf::Loading {
        let (objects, limits) = (self.objects.clone(), self.limits.clone());
        let uri = plan.uri.clone();
        let task = task::spawn("artifact", async move {
            claim.make_room(plan.packed_bytes()).await;
            let brought = download::bring(&*objects, &plan, claim.folder(), &limits).await;
            claim.settle(&plan.uri, brought).await
        });
        shelf::loading(async move {
            let interrupted = |_| LoadError::unavailable(&uri, "the download was interrupted");
            task.await.map_err(interrupted)?
        })
    }
}

#[async_trait]
impl Artifacts for ArtifactCache {
    async fn fetch(&self, source: &ModelData) -> Result<Arc<dyn ArtifactLease>, ArtifactError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(lease) = self.attempt(source).await? {
                return Ok(lease);
            }
        }
        let uri = source.uri().to_owned();
        Err(ArtifactError::Unavailable { uri, reason: "it is overwritten again and again".into() })
    }

    async fn version(&self, source: &ModelData) -> Result<String, ArtifactError> {
        let changes = self.objects.changes(); // Before the look: it may be stale at once.
        if let Some(known) = self.versions.get(source, changes) {
            return known;
        }
        let plan = plan::resolve(&*self.objects, source, &self.limits).await;
        let version = plan.map(|plan| plan.key);
        self.versions.note(source, changes, &version);
        version
    }
}

/// Why an entry was not brought.
#[derive(Debug, Clone)]
enum LoadError {
    /// The object is not the one of the plan any more.
    Overwritten,
    Failed(ArtifactError),
}

impl LoadError {
    fn unavailable(uri: &str, reason: impl Into<String>) -> Self {
        Self::Failed(ArtifactError::Unavailable { uri: uri.to_owned(), reason: reason.into() })
    }

    fn refused(uri: &str, reason: impl Into<String>) -> Self {
        Self::Failed(ArtifactError::Refused { uri: uri.to_owned(), reason: reason.into() })
    }
}
