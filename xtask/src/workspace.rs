//! Where things are, and what the machine has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The root of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask lies in the workspace")?.to_owned())
}

/// Cargo's target folder, where virtualenvs and the demo's picture go too.
pub(crate) fn target() -> Result<PathBuf> {
    let root = root()?;
    // `join` keeps an absolute path as it is.
    Ok(root.join(env_of("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())))
}

/// The cargo that runs this chore.
pub(crate) fn cargo() -> Command {
    Command::new(env_of("CARGO").unwrap_or_else(|| "cargo".into()))
}

pub(crate) fn is_ci() -> bool {
    env_of("CI").is_some_and(|value| value == "true")
}

/// True if cargo has the subcommand `name`, as `nextest` or `deny`.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    let mut command = cargo();
    let asked = command.args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

fn env_of(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
