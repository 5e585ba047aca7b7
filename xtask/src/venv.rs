//! Virtualenvs from pinned and hashed locks, made anew only when the lock changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::process::{self, step};
use crate::workspace::{root, target};

/// The file that says which lock a virtualenv was made from. Written last.
const STAMP: &str = "made-from";

/// Makes the virtualenv `target/<name>` from `lock`, a path in the workspace, unless it is there.
/// Returns its Python.
pub(crate) fn ready(name: &str, lock: &str) -> Result<PathBuf> {
    let (dir, lock) = (target()?.join(name), root()?.join(lock));
    let python = dir.join("bin/python");
    let wanted = stamp(&lock)?;
    if fs::read_to_string(dir.join(STAMP)).is_ok_and(|made_from| made_from == wanted) {
        return Ok(python);
    }
    step(&format!("make {}", dir.display()), || make(&dir, &python, &lock))?;
    fs::write(dir.join(STAMP), wanted)?;
    Ok(python)
}

fn stamp(lock: &Path) -> Result<String> {
    let text = fs::read(lock).with_context(|| format!("reading {}", lock.display()))?;
    let version = process::output(Command::new("python3").arg("--version"))?;
    Ok(format!("{} {}", hex::encode(Sha256::digest(text)), version.trim()))
}

fn make(dir: &Path, python: &Path, lock: &Path) -> Result<()> {
    if dir.try_exists()? {
        fs::remove_dir_all(dir)?;
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    // Only wheels whose hash is in the lock: nothing is built, nothing else is resolved.
    process::run(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement"])
            .arg(lock),
    )
}
