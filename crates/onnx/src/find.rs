//! Which file of a model's folder is the model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder holds no model that we can name. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(
        "The archive has no model.onnx at its top (nor a single other .onnx file, nor \
         <name>/<version>/model.onnx); it holds: {0}. Put the model there and create the \
         endpoint again."
    )]
    Missing(String),
    #[error(
        "The archive has several ONNX models and none is model.onnx at its top; it holds: {0}. \
         Rename the one to serve to model.onnx."
    )]
    Ambiguous(String),
    #[error("The model's files could not be listed: {0}.")]
    Io(#[from] io::Error),
}

/// Finds the model: `model.onnx`, else the only `*.onnx` at the top, else Triton's
/// `<name>/<version>/model.onnx` with the highest version.
///
/// # Errors
/// When there is none, or it is not clear which.
pub(crate) fn find(dir: &Path) -> Result<PathBuf, FindError> {
    let top = list(dir)?;
    let mut models: Vec<&Entry> = top.iter().filter(|entry| entry.is_model()).collect();
    if let Some(model) = models.iter().find(|entry| entry.name == "model.onnx") {
        return Ok(model.path.clone());
    }
    match models.pop() {
        Some(_) if !models.is_empty() => Err(FindError::Ambiguous(names(&top))),
        Some(only) => Ok(only.path.clone()),
        None => find_in_folders(&top),
    }
}

/// Finds the only model in Triton's layout.
fn find_in_folders(top: &[Entry]) -> Result<PathBuf, FindError> {
    let mut found = Vec::new();
    for folder in top.iter().filter(|entry| entry.is_dir) {
        found.extend(newest_version(&folder.path)?);
    }
    match found.pop() {
        Some(_) if !found.is_empty() => Err(FindError::Ambiguous(names(top))),
        Some(only) => Ok(only),
        None => Err(FindError::Missing(names(top))),
    }
}

/// A name for the model to answer with: the folder's in Triton's layout, else the file's.
pub(crate) fn name_of(dir: &Path, model: &Path) -> String {
    let within = model.strip_prefix(dir).unwrap_or(model);
    let in_a_folder = within.components().count() > 1;
    let name =
        if in_a_folder { within.iter().next() } else { within.file_stem() }.unwrap_or_default();
    name.to_string_lossy().into_owned()
}

struct Entry {
    name: String,
    path: PathBuf,
    is_dir: bool,
}

impl Entry {
    fn is_model(&self) -> bool {
        let ends_in_onnx = Path::new(&self.name).extension().is_some_and(|end| end == "onnx");
        let is_litter = self.name.starts_with("._"); // macOS's tar leaves these.
        !self.is_dir && ends_in_onnx && !is_litter
    }
}

/// `<version>/model.onnx` with the highest version.
fn newest_version(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for version in list(folder)? {
        let Ok(number) = version.name.parse::<u64>() else { continue };
        let model = version.path.join("model.onnx");
        let is_newer = newest.as_ref().is_none_or(|(highest, _)| number > *highest);
        if is_newer && model.try_exists()? {
            newest = Some((number, model));
        }
    }
    Ok(newest.map(|(_, model)| model))
}

/// What a folder holds, by name.
fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        entries.push(Entry { name, path: entry.path(), is_dir: entry.file_type()?.is_dir() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// The first names, for a message.
fn names(entries: &[Entry]) -> String {
    const SHOWN: usize = 12;
    if entries.is_empty() {
        return "nothing".to_owned();
    }
    let shown = entries.iter().take(SHOWN).map(|entry| {
        let slash = if entry.is_dir { "/" } else { "" };
        format!("{}{slash}", entry.name)
    });
    let mut listed = shown.collect::<Vec<_>>().join(", ");
    if entries.len() > SHOWN {
        listed += ", ...";
    }
    listed
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{find, name_of};

    fn check(files: &[&str], expected: Result<(&str, &str), &str>) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        match (find(dir.path()), expected) {
            (Ok(found), Ok((path, name))) => {
                assert_eq!(found, dir.path().join(path), "{files:?}");
                assert_eq!(name_of(dir.path(), &found), name, "{files:?}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{files:?}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn finds_the_model() {
        check(&["model.onnx", "other.onnx"], Ok(("model.onnx", "model")));
        check(&["forest.onnx", "readme.md"], Ok(("forest.onnx", "forest")));
        check(&["forest.onnx", "._forest.onnx"], Ok(("forest.onnx", "forest")));
        check(
            &["iris/2/model.onnx", "iris/10/model.onnx", "iris/config.pbtxt", "iris/11/x"],
            Ok(("iris/10/model.onnx", "iris")),
        );
    }

    #[test]
    fn says_what_is_there_instead() {
        check(&["a.onnx", "b.onnx"], Err("it holds: a.onnx, b.onnx"));
        check(&["a/1/model.onnx", "b/1/model.onnx"], Err("it holds: a/, b/"));
        check(&["model.pkl", "code/inference.py"], Err("it holds: code/, model.pkl"));
        check(&[], Err("it holds: nothing"));
    }
}
