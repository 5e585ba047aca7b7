//! Programs that keep the container contract, run without a container: any server that answers
//! `GET /ping` and `POST /invocations`, at those paths or at others.
//!
//! [`recipe`] says how a program is run, `uri` lets an image say it, `plan` makes it definite,
//! `start` starts it and waits for its first ping, `running` watches it; `worker` answers calls
//! through it.

pub mod recipe;

mod plan;
mod port;
mod proc;
mod readable;
mod running;
mod start;
#[cfg(test)]
mod tests;
mod uri;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sagebrush_core::worker::{LaunchError, LaunchSpec, ModelHost, Runtime, Worker};

pub use self::recipe::ProcessRecipe;

use self::plan::Plan;
use self::port::Ports;
use self::running::Running;
use self::start::Starter;
use self::worker::ProcessWorker;
use crate::contract::{ContractHost, HealthCheck};
use crate::sandbox::Sandbox;

/// Starts programs, each as its recipe says.
pub struct ProcessRuntime {
    sandbox: Arc<Sandbox>,
    recipe: ProcessRecipe,
    ports: Arc<Ports>,
    health: HealthCheck,
}

impl ProcessRuntime {
    /// Runs what `recipe` says; without a command in it, what each image says.
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, recipe: ProcessRecipe) -> Self {
        let (ports, health) = (Arc::default(), HealthCheck::default());
        Self { sandbox, recipe, ports, health }
    }

    fn plan(&self, spec: &LaunchSpec) -> Result<Plan, LaunchError> {
        Plan::new(&self.recipe, &spec.image).map_err(|reason| LaunchError::Permanent { reason })
    }

    async fn run(
        &self,
        plan: &Plan,
        spec: &LaunchSpec,
        models: Option<&Path>,
    ) -> Result<(Running, PathBuf), LaunchError> {
        let starter = Starter { sandbox: &self.sandbox, ports: &self.ports, plan, spec, models };
        let started = starter.start().await?;
        let seen = started.model_dir.clone();
        Ok((Running::new(started, plan, spec, self.health), seen))
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        let plan = self.plan(spec)?;
        let (running, _models) = self.run(&plan, spec, None).await?;
        Ok(Arc::new(ProcessWorker(running)))
    }

    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        let plan = self.plan(spec)?;
        if !plan.recipe.multi_model {
            let reason = format!(
                "The image {} cannot serve Mode MultiModel: it is not marked `multi-model`.",
                spec.image
            );
            return Err(LaunchError::Permanent { reason });
        }
        let models = self.sandbox.home().map_err(|error| LaunchError::Transient {
            reason: format!("A folder for models cannot be made: {error}."),
        })?;
        let (running, seen) = self.run(&plan, spec, Some(models.path())).await?;
        Ok(Arc::new(ContractHost::new(ProcessWorker(running), models, seen)))
    }
}
