//! What sources were when last looked at. Holds while the object store does not change.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sagebrush_core::artifact::{ArtifactError, ModelData};

/// Names that callers make up must not fill the memory.
const MOST: usize = 10_000;

#[derive(Default)]
pub(crate) struct Versions(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The store's count of changes at which all of this was so.
    changes: u64,
    versions: HashMap<ModelData, Result<String, ArtifactError>>,
}

impl Versions {
    /// The version of `source`, if it was looked up and nothing was written since.
    pub(crate) fn get(
        &self,
        source: &ModelData,
        changes: u64,
    ) -> Option<Result<String, ArtifactError>> {
        let known = self.known();
        let is_fresh = known.changes == changes;
        known.versions.get(source).filter(|_| is_fresh).cloned()
    }

    /// Notes what a look found that began at `changes`. Failures of the store are not kept.
    pub(crate) fn note(
        &self,
        source: &ModelData,
        changes: u64,
        found: &Result<String, ArtifactError>,
    ) {
        let mut known = self.known();
        let is_newer = changes > known.changes;
        if is_newer || known.versions.len() >= MOST {
            known.versions.clear();
        }
        known.changes = known.changes.max(changes);
        let is_final = found.as_ref().err().is_none_or(|error| !error.is_transient());
        if known.changes == changes && is_final {
            known.versions.insert(source.clone(), found.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
