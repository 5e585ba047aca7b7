//! Python interpreters, and the packages that a model asks for, installed once per content.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::sandbox::Mode;
use installer::Installer;
use interpreter::Interpreters;
use shelf::Shelf;
use wanted::Wanted;

mod installer;
mod interpreter;
mod settings;
mod shelf;
mod wanted;

/// Finds interpreters and installs packages for them.
pub struct Environments {
    /// Installed packages, a folder per content.
    dir: PathBuf,
    options: Options,
    interpreters: Interpreters,
    /// Opened when first something is to be installed.
    shelf: OnceCell<Shelf>,
    /// What is being installed or was, by its content.
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// How packages are installed.
#[derive(Default)]
struct Options {
    uv: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    mode: Mode,
    budget: Option<u64>,
}

/// One content: only one caller installs it, the others share what came of it.
#[derive(Default)]
struct Slot {
    runs: AtomicU64,
    failure: AsyncMutex<Option<EnvironmentError>>,
}

/// A Python interpreter, asked once what it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Interpreter {
    pub path: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// The folders that it needs to run: its prefixes, where its packages are.
    pub readable: Vec<PathBuf>,
}

/// What a recipe's image would have had installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What code imports: `sklearn`.
    pub module: String,
    /// What is installed where the interpreter has no such module: `scikit-learn`.
    pub requirement: String,
}

/// Why there is no environment. Display is fit for a `FailureReason`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnvironmentError {
    #[error("The Python interpreter {path} cannot be used: {reason}.")]
    Interpreter { path: String, reason: String },
    #[error("Installing the model's requirements failed: {reason}")]
    Install { reason: String },
}

impl Environments {
    /// Keeps what is installed below `dir`, which no other process may use.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            options: Options::default(),
            interpreters: Interpreters::default(),
            shelf: OnceCell::new(),
            slots: Mutex::default(),
        }
    }

    /// Installs with the `uv` at that path; where it is not there, with the one on the `PATH`, and
    /// where there is none, with the interpreter's pip.
    #[must_use]
    pub fn with_uv(mut self, uv: PathBuf) -> Self {
        self.options.uv = Some(uv);
        self
    }

    /// Gives installers these variables of ours, of which only those count that
    /// [`Self::is_setting`] names.
    #[must_use]
    pub fn with_installer_environment(mut self, environment: BTreeMap<String, String>) -> Self {
        let settings = environment.into_iter().filter(|(name, _)| Self::is_setting(name));
        self.options.environment = settings.collect();
        self
    }

    /// Keeps installers apart as `mode` says: packages may run code of their own to be built.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// Keeps what is installed below so many bytes, if what is in use allows it.
    #[must_use]
    pub fn with_budget(mut self, bytes: u64) -> Self {
        self.options.budget = Some(bytes);
        self
    }

    /// True for the environment variables that set up pip and uv: indexes, proxies, certificates.
    #[must_use]
    pub fn is_setting(name: &str) -> bool {
        settings::is_setting(name)
    }

    /// Asks `program`, a path or a name on the `PATH`, what it is; once.
    ///
    /// # Errors
    /// When it is not there or is no Python of version 3.9 or newer.
    pub async fn interpreter(&self, program: &str) -> Result<Arc<Interpreter>, EnvironmentError> {
        self.interpreters.find(program).await
    }

    /// Installs the model's `requirements` and those of `packages` whose module is missing; once
    /// per content. Returns the folder to put first on `sys.path`; `None` if nothing is wanted. The
    /// folder stays while this process runs.
    ///
    /// # Errors
    /// When the installer fails, with its own words.
    pub async fn install(
        &self,
        interpreter: &Interpreter,
        requirements: Option<&Path>,
        packages: &[Package],
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Option<PathBuf>, EnvironmentError> {
        let missing = self.interpreters.missing(interpreter, packages).await?;
        let Some(wanted) = Wanted::read(requirements, &missing).await? else { return Ok(None) };
        let name = wanted.name(interpreter);
        let slot = self.slot(&name);
        let seen = slot.runs.load(Ordering::Acquire);
        if slot.failure.try_lock().is_err() {
            progress("Waiting for the same requirements, which are being installed.");
        }
        let mut failure = slot.failure.lock().await;
        let shelf = self.shelf().await?;
        if let Some(site) = shelf.find(&name).await? {
            return Ok(Some(site));
        }
        let was_tried_meanwhile = slot.runs.load(Ordering::Acquire) != seen;
        if let Some(failure) = failure.as_ref().filter(|_| was_tried_meanwhile) {
            return Err(failure.clone());
        }
        let installer = Installer::new(&self.options, interpreter).await;
        let outcome = installer.run(shelf, &wanted, &name, progress).await;
        *failure = outcome.as_ref().err().cloned();
        slot.runs.fetch_add(1, Ordering::Release);
        outcome.map(Some)
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(name.to_owned()).or_default().clone()
    }

    async fn shelf(&self) -> Result<&Shelf, EnvironmentError> {
        let open = || Shelf::open(self.dir.clone(), self.options.mode, self.options.budget);
        self.shelf.get_or_try_init(open).await
    }
}

impl EnvironmentError {
    /// A fault of this machine.
    fn machine(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Install { reason: format!("{what}: {error}") }
    }
}

#[cfg(test)]
mod tests;
