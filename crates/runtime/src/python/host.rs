//! A host of many models: one template, a crew of workers for each model.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, LoadError, ModelHost, ModelSpec, Reply, Worker, WorkerError,
};
use tokio::time::Instant;

use super::crew::{Crew, CrewPlan};
use super::plan::{Launch, Models, Settings};
use super::template::Template;
use super::{PythonRecipe, PythonShared};
use crate::models::ModelFolder;

pub(super) struct PythonHost {
    template: Arc<Template>,
    /// Where models are put, and where the template sees them.
    models: PathBuf,
    seen: PathBuf,
    settings: Settings,
    image: String,
    _files: Vec<Arc<dyn ArtifactLease>>,
}

impl PythonHost {
    pub(super) async fn start(
        shared: &PythonShared,
        recipe: &PythonRecipe,
        spec: &LaunchSpec,
    ) -> Result<Self, LaunchError> {
        let deadline = Instant::now() + spec.startup_timeout;
        let io = |error: std::io::Error| LaunchError::Transient {
            reason: format!("The folder for models cannot be made: {error}"),
        };
        let home = shared.sandbox.home().map_err(io)?;
        let models = home.path().join("models");
        std::fs::create_dir(&models).map_err(io)?;
        let place = Models { home, dir: models.clone() };
        let launch = Launch::prepare(shared, recipe, spec, Some(place)).await?;
        let Launch { plan, home, sandbox, mut settings, image } = launch;
        if !spec.environment.contains_key("SAGEMAKER_MODEL_SERVER_WORKERS") {
            settings.n_workers = 1; // Of each model.
        }
        let seen = shared.sandbox.base_dir(&home).await.join("models");
        let log = (&spec.log, &spec.log_stream);
        let template = Template::start(&sandbox, plan, home, log, deadline).await?;
        let _files = spec.model.iter().chain(&spec.code).cloned().collect();
        Ok(Self { template, models, seen, settings, image, _files })
    }
}

#[async_trait]
impl ModelHost for PythonHost {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let folder = ModelFolder::make(&self.models, &model.name, &model.files).await;
        let folder = folder.map_err(|error| LaunchError::Transient {
            reason: format!("The files of model {} cannot be placed: {error}", model.target),
        })?;
        let plan = CrewPlan {
            model_dir: self.seen.join(&model.name).join("model"),
            n_workers: self.settings.n_workers,
            call_timeout: self.settings.call_timeout,
            load_timeout: model.deadline.saturating_duration_since(Instant::now()),
        };
        let crew = Crew::start(self.template.clone(), plan).await?;
        let n_workers = self.settings.n_workers;
        Ok(Arc::new(HostedModel { crew, template: self.template.clone(), n_workers, folder }))
    }

    async fn ended(&self) -> String {
        self.template.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        self.template.stop(deadline).await;
    }
}

/// One model of a host.
struct HostedModel {
    crew: Crew,
    template: Arc<Template>,
    n_workers: usize,
    folder: ModelFolder,
}

#[async_trait]
impl Worker for HostedModel {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            replies.push(self.crew.ask(call).await);
        }
        replies
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.n_workers
    }

    async fn stop(&self, deadline: Instant) {
        self.crew.stop(deadline).await;
        self.folder.remove().await;
    }
}
