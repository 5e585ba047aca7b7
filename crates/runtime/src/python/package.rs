//! Our Python package: inside the binary, and on the disk where interpreters find it.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

macro_rules! package {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../python/", $path)))),*]
    };
}

/// The files by their path below the folder that goes on `sys.path`.
const FILES: &[(&str, &str)] = package![
    "sagebrush/__init__.py",
    "sagebrush/arity.py",
    "sagebrush/batch.py",
    "sagebrush/code.py",
    "sagebrush/codecs.py",
    "sagebrush/context.py",
    "sagebrush/errors.py",
    "sagebrush/frameworks/__init__.py",
    "sagebrush/frameworks/files.py",
    "sagebrush/frameworks/huggingface.py",
    "sagebrush/frameworks/python.py",
    "sagebrush/frameworks/pytorch.py",
    "sagebrush/frameworks/sklearn.py",
    "sagebrush/frameworks/xgboost.py",
    "sagebrush/frameworks/xgboost_algorithm.py",
    "sagebrush/frameworks/xgboost_input.py",
    "sagebrush/frameworks/xgboost_model.py",
    "sagebrush/frameworks/xgboost_output.py",
    "sagebrush/handlers.py",
    "sagebrush/jsontext.py",
    "sagebrush/media.py",
    "sagebrush/output.py",
    "sagebrush/parts.py",
    "sagebrush/replies.py",
    "sagebrush/several.py",
    "sagebrush/streams.py",
    "sagebrush/template.py",
    "sagebrush/transformer.py",
    "sagebrush/worker.py",
];

/// Writes the package below `dir`, unless it is there, and returns the folder for `sys.path`. Its
/// name is that of its content: another version of the binary brings another one. Blocks.
pub(super) fn unpack(dir: &Path) -> io::Result<PathBuf> {
    let place = dir.join(version());
    if place.is_dir() {
        return Ok(place);
    }
    let scratch = dir.join(format!("tmp-{}", Uuid::new_v4().simple()));
    for (path, text) in FILES {
        let path = scratch.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&scratch))?;
        std::fs::write(path, text)?;
    }
    match std::fs::rename(&scratch, &place) {
        Ok(()) => Ok(place),
        Err(_) if place.is_dir() => {
            std::fs::remove_dir_all(&scratch)?; // Somebody else was faster.
            Ok(place)
        }
        Err(error) => Err(error),
    }
}

fn version() -> String {
    let mut hash = Sha256::new();
    for (path, text) in FILES {
        hash.update(path);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    let mut name = hex::encode(hash.finalize());
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{FILES, unpack};

    /// A file that is not on the list would be missing from the binary.
    #[test]
    fn every_file_of_the_package_is_on_the_list() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut found = BTreeSet::new();
        let mut folders = vec![root.join("sagebrush")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "py") {
                    let path = path.strip_prefix(&root).unwrap();
                    found.insert(path.to_string_lossy().into_owned());
                }
            }
        }
        let listed: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, listed);
    }

    #[test]
    fn is_unpacked_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = unpack(dir.path()).unwrap();
        assert_eq!(unpack(dir.path()).unwrap(), first);
        assert!(first.join("sagebrush/worker.py").is_file());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
