//! The files of one model of many, in the folder that its host sees.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, ModelSpec};
use tokio::sync::watch;

/// The models of one host that come or go just now. A load that was given up ends in the
/// background: the next one of the same model waits for that.
#[derive(Clone, Default)]
pub(crate) struct Moving(Arc<watch::Sender<BTreeSet<String>>>);

/// A model that comes or goes, until this is dropped.
pub(crate) struct Move {
    of: Moving,
    name: String,
}

/// A model's folder. It goes when this is dropped, which blocks.
#[derive(Debug)]
pub(crate) struct ModelFolder(PathBuf);

impl Moving {
    /// Begins a move, once no other of the same model is under way.
    pub(crate) async fn begin(&self, name: &str) -> Move {
        let mut moving = self.0.subscribe();
        loop {
            if let Some(begun) = self.try_begin(name) {
                return begun;
            }
            // It cannot fail: the sender is here.
            let _free = moving.wait_for(|moving| !moving.contains(name)).await.is_ok();
        }
    }

    /// `None` if another move of the same model is under way.
    pub(crate) fn try_begin(&self, name: &str) -> Option<Move> {
        let is_new = self.0.send_if_modified(|moving| moving.insert(name.to_owned()));
        is_new.then(|| Move { of: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        self.of.0.send_if_modified(|moving| moving.remove(&self.name));
    }
}

/// Fills `<models>/<name>/model` with the files of `model`.
pub(crate) async fn fill(
    models: &Path,
    model: &ModelSpec,
    moving: Move,
) -> Result<(ModelFolder, Move), LaunchError> {
    let (models, name, from) = (models.to_owned(), model.name.clone(), model.files.dir());
    // It goes on when nobody waits any more: the folder goes first then, and the move ends.
    let fill = move || ModelFolder::fill(&models, &name, &from).map(|folder| (folder, moving));
    let filled = task::blocking(fill).await.map_err(io::Error::other).flatten();
    filled.map_err(|error| LaunchError::Transient {
        reason: format!("The files of {} cannot be put in place: {error}.", model.target),
    })
}

impl ModelFolder {
    /// Fills `<models>/<name>/model` with what is in `from`. Blocks.
    fn fill(models: &Path, name: &str, from: &Path) -> io::Result<Self> {
        let folder = Self(models.join(name));
        folder.remove()?; // What a load that was given up left there.
        fs::create_dir(&folder.0)?;
        copy(from, &folder.0.join("model"))?;
        Ok(folder)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(folder = %self.0.display(), %error, "a model's files stay behind");
        }
    }
}

/// Links the files of a tree into another, or copies those that cannot be linked.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?; // Another file system, or links are not allowed.
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_filled_again_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("code")).unwrap();
        fs::write(from.join("code/a.py"), "1").unwrap();
        std::os::unix::fs::symlink("code/a.py", from.join("link")).unwrap();
        let models = dir.path().join("models");
        fs::create_dir(&models).unwrap();
        std::mem::forget(ModelFolder::fill(&models, "m", &from).unwrap());
        let folder = ModelFolder::fill(&models, "m", &from).unwrap();
        let linked = fs::read_to_string(models.join("m/model/link")).unwrap();
        assert_eq!(linked, "1");
        drop(folder);
        assert!(!models.join("m").try_exists().unwrap());
        assert!(from.join("code/a.py").try_exists().unwrap());
    }

    #[tokio::test]
    async fn a_move_waits_for_the_one_before_it() {
        let moving = Moving::default();
        let first = moving.begin("a").await;
        assert!(moving.try_begin("a").is_none());
        drop(moving.begin("b").await);
        let mut second = std::pin::pin!(moving.begin("a"));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(moving.try_begin("a").is_some());
    }
}
