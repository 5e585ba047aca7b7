//! The files of the tree: how they differ from what is wanted, and how they come to be that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Texts by their path below the root.
pub(super) type Files = BTreeMap<PathBuf, String>;

/// A file that is not as it should be.
pub(super) struct Difference {
    path: PathBuf,
    seen: Option<String>,
    /// Nothing if there should be no such file.
    wanted: Option<String>,
}

/// Compares the wanted files with the tree. In `folder` nothing else may lie.
pub(super) fn compare(root: &Path, folder: &str, wanted: &Files) -> Result<Vec<Difference>> {
    let mut paths: BTreeSet<PathBuf> = files_in(root, folder)?;
    paths.extend(wanted.keys().cloned());
    let mut differences = Vec::new();
    for path in paths {
        let seen = read(&root.join(&path))?;
        let wanted = wanted.get(&path).cloned();
        if seen != wanted {
            differences.push(Difference { path, seen, wanted });
        }
    }
    Ok(differences)
}

pub(super) fn write(root: &Path, differences: &[Difference]) -> Result<()> {
    for Difference { path, wanted, .. } in differences {
        let path = root.join(path);
        let Some(wanted) = wanted else {
            fs::remove_file(path)?;
            continue;
        };
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        fs::write(path, wanted)?;
    }
    Ok(())
}

/// Formats a Rust source under the workspace's `rustfmt.toml`.
pub(super) fn rustfmt(root: &Path, source: &str) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("running rustfmt")?;
    // It reads all before it writes, so the pipes do not fill up against each other.
    child.stdin.take().context("stdin is piped")?.write_all(source.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn files_in(root: &Path, folder: &str) -> Result<BTreeSet<PathBuf>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(Path::new(folder).join(entry?.file_name()))).collect()
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match (&self.seen, &self.wanted) {
            (None, _) => f.write_str("is missing"),
            (_, None) => f.write_str("should not be there"),
            (Some(seen), Some(wanted)) => write_first_difference(f, seen, wanted),
        }
    }
}

fn write_first_difference(f: &mut fmt::Formatter<'_>, seen: &str, wanted: &str) -> fmt::Result {
    let n_same =
        seen.lines().zip(wanted.lines()).take_while(|(seen, wanted)| seen == wanted).count();
    let line = |text: &str| text.lines().nth(n_same).unwrap_or("(end of file)").to_owned();
    let (at, seen, wanted) = (n_same + 1, line(seen), line(wanted));
    write!(f, "first at line {at}\n  -{seen}\n  +{wanted}")
}
