use std::fs;
use std::io;
use std::path::PathBuf;

use sagebrush_core::objects::{IndexError, ObjectIndex};
use sagebrush_core::task;

use super::{Blobs, lost};

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("reading the blobs' directory failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Blobs {
    /// Removes the blobs that `index` knows nothing of, and says how many.
    ///
    /// Safe beside writers: a blob whose row is still to come is in `writing`, and it leaves that
    /// set only after its row is there. So the set is asked before the index is.
    ///
    /// # Errors
    /// When the directory or the index cannot be read.
    pub async fn sweep(&self, index: &dyn ObjectIndex) -> Result<usize, SweepError> {
        let mut removed = 0;
        for dir in list(self.0.root.clone()).await? {
            let blobs = self.clone();
            let found = task::blocking(move || blobs.ids_below(dir)).await.map_err(lost)??;
            let settled = self.not_being_written(found);
            if settled.is_empty() {
                continue;
            }
            let unreferenced = index.unreferenced(settled).await?;
            removed += unreferenced.len();
            self.remove(unreferenced).await;
        }
        Ok(removed)
    }

    fn not_being_written(&self, mut ids: Vec<String>) -> Vec<String> {
        let state = self.state();
        ids.retain(|id| !state.writing.contains(id));
        ids
    }

    fn ids_below(&self, outer: PathBuf) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        if outer == self.0.tmp {
            return Ok(ids);
        }
        for inner in fs::read_dir(outer)? {
            for file in fs::read_dir(inner?.path())? {
                ids.extend(file?.file_name().into_string());
            }
        }
        Ok(ids)
    }
}

async fn list(dir: PathBuf) -> io::Result<Vec<PathBuf>> {
    let listed = task::blocking(move || {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    });
    listed.await.map_err(lost)?
}
