//! The files of one model of many, in the folder that its host sees.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A model's folder. It goes when this is dropped, which blocks.
#[derive(Debug)]
pub(crate) struct ModelFolder(PathBuf);

impl ModelFolder {
    /// Fills `<models>/<name>/model` with what is in `from`. Blocks.
    pub(crate) fn fill(models: &Path, name: &str, from: &Path) -> io::Result<Self> {
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
}
