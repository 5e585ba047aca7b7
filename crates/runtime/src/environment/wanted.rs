//! What is to be installed: a name for the content, and a copy to install it from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sagebrush_core::task;
use sha2::{Digest as _, Sha256};

use super::{EnvironmentError, Interpreter, Package};

/// Changes when the same requirements must be installed in another way.
const LAYOUT: &str = "1";

/// The name of the file with the requirements of packages, beside those of the model.
const PACKAGES: &str = "sagebrush-packages.txt";

/// The requirements of one model.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The model's own file.
    requirements: Option<PathBuf>,
    /// Requirements that are not in it, one per line.
    packages: String,
    /// It refers to files beside it: to a package, to wheels.
    has_local: bool,
    content: [u8; 32],
}

impl Wanted {
    /// Reads the model's file and what it refers to. `None` if nothing is wanted.
    pub(super) async fn read(
        requirements: Option<&Path>,
        packages: &[Package],
    ) -> Result<Option<Self>, EnvironmentError> {
        let (requirements, packages) = (requirements.map(Path::to_owned), packages.to_vec());
        let read = task::blocking(move || read(requirements, &packages)).await;
        let read = read.map_err(|error| EnvironmentError::machine("It was interrupted", error))?;
        read.map_err(|error| EnvironmentError::machine("Its requirements cannot be read", error))
    }

    /// The name of the content for `interpreter`.
    pub(super) fn name(&self, interpreter: &Interpreter) -> String {
        let real = interpreter.path.canonicalize().unwrap_or_else(|_| interpreter.path.clone());
        let mut hash = Sha256::new();
        let real = real.display().to_string();
        let machine = [std::env::consts::OS, std::env::consts::ARCH];
        for part in [LAYOUT, &real, &interpreter.version].into_iter().chain(machine) {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(self.content);
        hex::encode(hash.finalize())
    }

    /// Copies the files into `folder`, since building a package writes beside its sources. Returns
    /// those that name requirements. Blocks.
    pub(super) fn copy(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        if let Some(requirements) = &self.requirements {
            let from = requirements.parent().unwrap_or_else(|| Path::new("."));
            if self.has_local {
                copy_folder(from, folder)?;
                texts(folder)?.iter().try_for_each(|path| make_whole(path))?;
            } else {
                for path in texts(from)?.iter().chain([requirements]) {
                    fs::copy(path, folder.join(path.file_name().unwrap_or_default()))?;
                }
            }
            files.push(PathBuf::from(requirements.file_name().unwrap_or_default()));
        }
        if !self.packages.is_empty() {
            fs::write(folder.join(PACKAGES), &self.packages)?;
            files.push(PathBuf::from(PACKAGES));
        }
        Ok(files)
    }
}

fn read(requirements: Option<PathBuf>, packages: &[Package]) -> io::Result<Option<Wanted>> {
    let mut hash = Sha256::new();
    let (mut lines, mut has_local) = (Vec::new(), false);
    if let Some(requirements) = &requirements {
        lines = normalised(requirements)?;
        hash_lines(&mut hash, &lines);
        let folder = requirements.parent().unwrap_or_else(|| Path::new("."));
        // Its lines may include any of the others.
        for path in texts(folder)? {
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            let others = normalised(&path)?;
            hash_lines(&mut hash, &others);
            for local in local_paths(folder, &others) {
                has_local = true;
                hash_path(&mut hash, &local)?;
            }
        }
        for local in local_paths(folder, &lines) {
            has_local = true;
            hash_path(&mut hash, &local)?;
        }
    }
    let named: Vec<String> = lines.iter().filter_map(|line| project(line)).collect();
    let is_named = |package: &&Package| {
        project(&package.requirement).is_some_and(|name| named.contains(&name))
    };
    let mut others: Vec<&str> = packages
        .iter()
        .filter(|package| !is_named(package))
        .map(|package| package.requirement.as_str())
        .collect();
    others.sort_unstable();
    others.dedup();
    if lines.is_empty() && others.is_empty() {
        return Ok(None);
    }
    let packages = others.join("\n");
    hash.update(&packages);
    let requirements = requirements.filter(|_| !lines.is_empty());
    Ok(Some(Wanted { requirements, packages, has_local, content: hash.finalize().into() }))
}

/// The lines that say something, in their order.
fn normalised(path: &Path) -> io::Result<Vec<String>> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let text = text.trim_start_matches('\u{feff}');
    let said = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    Ok(said.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

fn hash_lines(hash: &mut Sha256, lines: &[String]) {
    for line in lines {
        hash.update(line);
        hash.update(b"\n");
    }
    hash.update([0]);
}

/// The text files in a folder, in the order of their names.
fn texts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let is_text =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "txt") && path.is_file();
    let mut texts: Vec<PathBuf> = paths.filter(is_text).collect();
    texts.sort();
    Ok(texts)
}

/// The files and folders that lines refer to.
fn local_paths(folder: &Path, lines: &[String]) -> Vec<PathBuf> {
    let words = lines.iter().flat_map(|line| line.split([' ', '\t', '=', '@', '[', ';']));
    let paths = words.filter_map(|word| {
        let word = word.strip_prefix("file:").unwrap_or(word);
        let is_path = word.starts_with('.') || word.contains('/') || is_archive(word);
        let path = Path::new(word);
        let found = (is_path && path.is_relative()).then(|| folder.join(path))?;
        found.try_exists().unwrap_or(false).then_some(found)
    });
    // The texts right beside it count anyway.
    let is_beside = |path: &Path| path.parent() == Some(folder);
    let is_text = |path: &Path| path.extension().is_some_and(|end| end == "txt");
    paths.filter(|path| !(is_beside(path) && is_text(path))).collect()
}

fn is_archive(word: &str) -> bool {
    [".whl", ".zip", ".tar.gz"].iter().any(|end| word.ends_with(end))
}

/// What is installed from its sources is installed whole: they do not stay where they are. Texts
/// that say nothing of it stay as they are, to the byte.
fn make_whole(path: &Path) -> io::Result<()> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    without_editable(&text).map_or(Ok(()), |text| fs::write(path, text))
}

fn without_editable(text: &str) -> Option<String> {
    let marks = ["-e ", "-e=", "--editable ", "--editable="];
    let source = |line: &str| {
        let said = line.trim_start();
        Some(marks.iter().find_map(|mark| said.strip_prefix(mark))?.trim_start().to_owned())
    };
    text.lines().any(|line| source(line).is_some()).then(|| {
        let lines = text.lines().map(|line| source(line).unwrap_or_else(|| line.to_owned()));
        lines.map(|line| line + "\n").collect()
    })
}

/// The project that a requirement names, as indexes compare names.
fn project(line: &str) -> Option<String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let name = line.split(|letter| !is_letter(letter)).next()?;
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    starts_well.then(|| name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

/// Hashes a file, or all files of a folder with their names.
fn hash_path(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        hash.update(fs::read(path)?);
        hash.update([0]);
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.iter().filter(|entry| !entry.path().is_symlink()) {
        hash.update(entry.file_name().as_encoded_bytes());
        hash.update([0]);
        hash_path(hash, &entry.path())?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{local_paths, project, without_editable};

    #[test]
    fn nothing_stays_editable() {
        let text = "-e ./package\n numpy\n--editable=.\n-r other.txt";
        let wanted = "./package\n numpy\n.\n-r other.txt\n";
        assert_eq!(without_editable(text).as_deref(), Some(wanted));
        assert_eq!(without_editable("-r other.txt\r\n"), None);
    }

    #[test]
    fn projects_compare_as_on_an_index() {
        let cases = [
            ("Scikit_Learn>=1.2", Some("scikit-learn")),
            ("zope.interface[test] ; python_version > '3'", Some("zope-interface")),
            ("./package", None),
            ("-r other.txt", None),
            ("--index-url https://x/", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(project(line).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn files_beside_it_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["package", "wheels", "numpy"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("a-1-py3-none-any.whl"), "").unwrap();
        std::fs::write(folder.path().join("other.txt"), "").unwrap();
        let cases = [
            ("./package", vec!["./package"]),
            ("-e ./package[extra]", vec!["./package"]),
            ("name @ file:./package", vec!["./package"]),
            ("--find-links=./wheels", vec!["./wheels"]),
            ("a-1-py3-none-any.whl", vec!["a-1-py3-none-any.whl"]),
            ("numpy", vec![]),
            ("-r ./other.txt", vec![]),
            ("./missing", vec![]),
        ];
        for (line, wanted) in cases {
            let wanted: Vec<_> = wanted.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(local_paths(folder.path(), &[line.to_owned()]), wanted, "{line}");
        }
    }
}
