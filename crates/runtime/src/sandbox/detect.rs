//! What this machine offers, found out by trying.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::{Confinement, Program, Sandbox, mounts, namespaces};
use crate::tree::family::Limits;
use crate::tree::{Exit, Tree};

/// How long the trial may take; it is a matter of milliseconds.
const TRIAL: Duration = Duration::from_secs(10);
/// Where programs are when we have no `PATH` ourselves.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) enum Found {
    Bubblewrap(Bubblewrap),
    Nothing { why: String },
}

#[derive(Debug, Clone)]
pub(super) struct Bubblewrap {
    pub(super) path: PathBuf,
    /// It can give a size to what lies in memory, as it does from version 0.7 on.
    pub(super) has_sizes: bool,
}

/// Looks for bubblewrap and tries whether it may do here what we want it to do.
pub(super) async fn bubblewrap(sandbox: &Sandbox) -> Found {
    let Ok(path) = executable(Path::new("bwrap")) else {
        return Found::Nothing { why: "bubblewrap is not installed".to_owned() };
    };
    let newest = Bubblewrap { path: path.clone(), has_sizes: true };
    let mut why = String::new();
    for bubblewrap in [newest, Bubblewrap { path, has_sizes: false }] {
        match timeout(TRIAL, try_out(&bubblewrap, sandbox)).await {
            Ok(Ok(())) => return Found::Bubblewrap(bubblewrap),
            Ok(Err(reason)) => why = reason.to_string(),
            Err(_) => return Found::Nothing { why: "bubblewrap hangs here".to_owned() },
        }
    }
    Found::Nothing { why: format!("bubblewrap does not work here: {why}") }
}

async fn try_out(bubblewrap: &Bubblewrap, sandbox: &Sandbox) -> io::Result<()> {
    let confinement = Confinement { memory_bytes: Some(1 << 30), ..Confinement::default() };
    let program = Program {
        path: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".into(), "exit 0".into()],
        environment: BTreeMap::new(),
        directory: None,
        input: None,
    };
    let home = sandbox.home()?;
    mounts::make_folders(&home)?;
    let (child, kind) = namespaces::start(bubblewrap, program, &confinement, &home).await?;
    let tree = Tree::hold(child, kind, Limits::default(), home)?;
    let mut said = String::new();
    if let Some((_, mut stderr)) = tree.output() {
        stderr.read_to_string(&mut said).await?;
    }
    let exit = tree.ended().await;
    if exit == Exit::Code(0) {
        return Ok(());
    }
    let said = said.trim().trim_start_matches("bwrap: ");
    Err(io::Error::other(if said.is_empty() { format!("it {exit}") } else { said.to_owned() }))
}

/// The place of `program`, a path or a name on the `PATH`.
pub(crate) fn executable(program: &Path) -> io::Result<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.components().count() > 1 || program.is_absolute() {
        let path = std::path::absolute(program)?;
        std::fs::metadata(&path)?;
        let refused = || io::Error::new(io::ErrorKind::PermissionDenied, "it is no program");
        return Some(path).filter(runs).ok_or_else(refused);
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut paths = std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program));
    let missing = || io::Error::new(io::ErrorKind::NotFound, "it is not on the PATH");
    paths.find(runs).ok_or_else(missing)
}

/// What programs get of our environment.
pub(super) fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    let is_ours_to_give =
        |name: &str| matches!(name, "PATH" | "LANG" | "LANGUAGE" | "TZ") || name.starts_with("LC_");
    let has_path = std::env::var_os("PATH").is_some();
    let default = (!has_path).then(|| ("PATH".into(), DEFAULT_PATH.into()));
    std::env::vars_os()
        .filter(move |(name, _)| name.to_str().is_some_and(is_ours_to_give))
        .chain(default)
}
