//! `inference.py`, behind a template process that forks workers.
//!
//! 1. `PythonRuntime::launch` finds the interpreter, has `requirements.txt` installed, and starts
//!    a template in its confinement ([`plan`], [`template`]).
//! 2. The template imports the code and its libraries once. A [`crew`] of workers is forked from
//!    it; each loads the model and says so, and is replaced when it ends.
//! 3. A call takes an idle worker from the [`pool`]; one frame goes each way ([`conn`], [`frame`]).
//!
//! When a serverless variant goes to zero its template is [`parked`] for a while.
//!
//! `python/sagebrush/` holds the other side: `template.py`, `worker.py`, and what user code meets.

mod conn;
mod control;
mod crew;
mod frame;
mod host;
mod line;
mod pace;
mod package;
mod page;
mod parked;
mod plan;
mod pool;
mod template;
mod trip;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sagebrush_core::worker::{LaunchError, LaunchSpec, ModelHost, Runtime, Worker};
use tokio::time::Instant;

use crate::environment::{Environments, Package};
use crate::sandbox::Sandbox;

/// What all Python recipes share.
pub struct PythonShared {
    sandbox: Arc<Sandbox>,
    environments: Arc<Environments>,
    /// Where our Python package is.
    package: PathBuf,
    parked: Arc<parked::Parked>,
}

impl PythonShared {
    /// Unpacks our Python package below `dir`. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(
        sandbox: Arc<Sandbox>,
        environments: Arc<Environments>,
        dir: &Path,
    ) -> io::Result<Arc<Self>> {
        let package = package::unpack(dir)?;
        Ok(Arc::new(Self { sandbox, environments, package, parked: Arc::default() }))
    }
}

/// How an image's models are served.
#[derive(Debug, Clone)]
pub struct PythonRecipe {
    /// Whose defaults stand in for functions that the code leaves out: `sklearn`.
    pub framework: String,
    /// A path, or a name on the `PATH`.
    pub interpreter: String,
    /// What the image would have had installed.
    pub packages: Vec<Package>,
    /// Below the container's own environment.
    pub environment: BTreeMap<String, String>,
}

/// Serves models of one recipe.
pub struct PythonRuntime {
    shared: Arc<PythonShared>,
    recipe: PythonRecipe,
}

impl PythonRuntime {
    #[must_use]
    pub fn new(shared: Arc<PythonShared>, recipe: PythonRecipe) -> Self {
        Self { shared, recipe }
    }
}

#[async_trait]
impl Runtime for PythonRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        let key = parked::Key::of(spec);
        if let Some(kept) = key.as_ref().and_then(|key| self.shared.parked.take(key)) {
            let deadline = Instant::now() + spec.startup_timeout;
            match worker::PythonWorker::fork(&self.shared, kept, spec, deadline).await {
                Ok(worker) => return Ok(Arc::new(worker)),
                Err(error) => tracing::debug!(%error, "a parked template was of no use"),
            }
        }
        let launch = plan::Launch::prepare(&self.shared, &self.recipe, spec, None).await?;
        let deadline = Instant::now() + spec.startup_timeout; // Without what was installed first.
        Ok(Arc::new(worker::PythonWorker::start(&self.shared, launch, spec, deadline).await?))
    }

    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        Ok(Arc::new(host::PythonHost::start(&self.shared, &self.recipe, spec).await?))
    }

    async fn forget(&self, region: &str, log_group: &str) {
        self.shared.parked.forget(region, log_group);
    }
}
