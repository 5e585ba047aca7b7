//! The folder of one model below `/opt/ml/models`, for hosts of many models.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;

/// `<models>/<name>/model`, made of links to a model's files; removed when this is dropped.
#[derive(Debug)]
pub struct ModelFolder(PathBuf);

impl ModelFolder {
    /// Makes the folder of `name` below `models`, in the place of one of that name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn make(
        models: &Path,
        name: &str,
        files: &Arc<dyn ArtifactLease>,
    ) -> io::Result<Self> {
        let (place, from) = (models.join(name), files.dir());
        let made = task::blocking(move || {
            let folder = Self(place);
            folder.clear();
            link_tree(&from, &folder.0.join("model"))?;
            Ok(folder)
        });
        made.await.map_err(io::Error::other)?
    }

    /// Removes the folder; what has a file open keeps it.
    pub async fn remove(&self) {
        let folder = Self(self.0.clone());
        drop(task::blocking(move || drop(folder)).await);
    }

    fn clear(&self) {
        match std::fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(folder = %self.0.display(), %error, "a model's folder stays");
            }
        }
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Hard links cost neither time nor room; across file systems the files are copied.
fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &place)?;
        } else if std::fs::hard_link(entry.path(), &place).is_err() {
            std::fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}
