//! Packs a model into a `model.tar.gz`, always the same bytes for the same files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::failure::Failure;

/// Files of a model's folder that belong to its development, not to the model.
const LEFT_OUT: &[&str] = &["__pycache__", "target", "node_modules"];

/// The archive of `path`: a folder's files, a `.onnx` file as `model.onnx`, or an archive as it is.
pub(crate) fn pack(path: &Path) -> Result<Vec<u8>, Failure> {
    let meta = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if meta.is_dir() {
        return pack_files(&files_below(path)?);
    }
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        return std::fs::read(path).map_err(|error| cannot_read(path, &error));
    }
    if name.ends_with(".onnx") {
        return pack_files(&[(PathBuf::from("model.onnx"), path.to_owned())]);
    }
    Err(Failure::Other(format!(
        "cannot deploy {}: give a folder, a .onnx file or a model.tar.gz",
        path.display()
    )))
}

/// The image that fits what is in an archive: our own for its framework.
pub(crate) fn image(archive: &[u8]) -> &'static str {
    let names = names(archive).unwrap_or_default(); // The server says what is wrong with it.
    let has = |wanted: &str| names.iter().any(|name| name == Path::new(wanted));
    let ends = |suffix: &str| names.iter().any(|name| name.to_string_lossy().ends_with(suffix));
    let has_code = has("code/inference.py") || has("inference.py");
    match () {
        () if has("model.onnx") && !has_code => "sagebrush/onnx",
        () if has("xgboost-model") => "sagebrush/xgboost",
        () if ends(".joblib") => "sagebrush/sklearn",
        () if ends(".pth") || ends(".pt") => "sagebrush/pytorch",
        () if has_code => "sagebrush/python",
        () => "sagebrush/onnx",
    }
}

fn names(archive: &[u8]) -> std::io::Result<Vec<PathBuf>> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let entries = archive.entries()?;
    entries.map(|entry| Ok(entry?.path()?.components().collect())).collect()
}

type Files = Vec<(PathBuf, PathBuf)>;

/// The regular files below `root`, by their path in the archive, sorted.
fn files_below(root: &Path) -> Result<Files, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        let entries = std::fs::read_dir(&here).map_err(|error| cannot_read(&here, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| cannot_read(&here, &error))?;
            let name = entry.file_name();
            let is_left_out =
                name.to_str().is_none_or(|name| name.starts_with('.') || LEFT_OUT.contains(&name));
            if is_left_out {
                continue;
            }
            // Links are followed: what they point at is packed, never the link.
            let meta = std::fs::metadata(entry.path());
            let meta = meta.map_err(|error| cannot_read(&entry.path(), &error))?;
            let inside = folder.join(&name);
            if meta.is_dir() {
                folders.push(inside);
            } else if meta.is_file() {
                files.push((inside, entry.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn pack_files(files: &[(PathBuf, PathBuf)]) -> Result<Vec<u8>, Failure> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (inside, outside) in files {
        let bytes = std::fs::read(outside).map_err(|error| cannot_read(outside, &error))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0); // The same files make the same archive, and so the same model.
        archive.append_data(&mut header, inside, bytes.as_slice())?;
    }
    let mut gzip = archive.into_inner()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{image, pack};

    #[test]
    fn the_same_files_make_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.onnx"), b"model").unwrap();
        std::fs::write(folder.path().join(".hidden"), b"no").unwrap();
        std::fs::create_dir(folder.path().join("code")).unwrap();
        std::fs::write(folder.path().join("code/labels.txt"), b"a").unwrap();
        let first = pack(folder.path()).unwrap();
        assert_eq!(first, pack(folder.path()).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(first.as_slice()));
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["code/labels.txt", "model.onnx"]);
    }

    #[test]
    fn the_image_fits_what_is_in_the_archive() {
        let check = |files: &[&str], wanted| {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                let path = folder.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, b"x").unwrap();
            }
            assert_eq!(image(&pack(folder.path()).unwrap()), wanted, "{files:?}");
        };
        check(&["model.onnx"], "sagebrush/onnx");
        check(&["model.onnx", "code/inference.py"], "sagebrush/python");
        check(&["code/inference.py"], "sagebrush/python");
        check(&["inference.py", "model.joblib"], "sagebrush/sklearn");
        check(&["xgboost-model"], "sagebrush/xgboost");
        check(&["model.pth", "code/inference.py"], "sagebrush/pytorch");
        check(&["weights.bin"], "sagebrush/onnx");
        assert_eq!(image(b"no archive"), "sagebrush/onnx");
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, b"x").unwrap();
        assert!(pack(&file).unwrap_err().to_string().contains("give a folder"));
        assert!(pack(&folder.path().join("gone")).unwrap_err().to_string().contains("cannot read"));
    }
}
