//! A host of many models: one template, a crew of workers for each model.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, LoadError, ModelHost, ModelSpec, Reply, StreamedReply, Usage,
    Worker, WorkerError,
};
use tokio::time::Instant;

use super::crew::{Crew, CrewPlan};
use super::plan::{Launch, Settings};
use super::template::Template;
use super::{PythonRecipe, PythonShared};
use crate::models::{self, ModelFolder, Moving};
use crate::sandbox::Home;

/// How often a model that is called is measured.
const MEASURE_AFTER: Duration = Duration::from_secs(2);

pub(super) struct PythonHost {
    template: Arc<Template>,
    /// Where models are put: outside of the template's own folder, for it may read the files,
    /// which are those of the cache, and must not change them.
    models: Home,
    moving: Moving,
    /// Where the template sees them.
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
        let io = |error: std::io::Error| LaunchError::Transient {
            reason: format!("The folder for models cannot be made: {error}"),
        };
        let models = shared.sandbox.home().map_err(io)?;
        let launch = Launch::prepare(shared, recipe, spec, Some(models.path())).await?;
        let deadline = Instant::now() + spec.startup_timeout; // Without what was installed first.
        let Launch { plan, home, sandbox, mut settings, image } = launch;
        if !spec.environment.contains_key("SAGEMAKER_MODEL_SERVER_WORKERS") {
            settings.n_workers = 1; // Of each model.
        }
        let seen = shared.sandbox.base_dir(&home).await.join("models");
        let log = (&spec.log, &spec.log_stream);
        let template = Template::start(&sandbox, plan, home, log, deadline).await?;
        let _files = spec.model.iter().chain(&spec.code).cloned().collect();
        Ok(Self { template, models, moving: Moving::default(), seen, settings, image, _files })
    }
}

#[async_trait]
impl ModelHost for PythonHost {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let moving = self.moving.begin(&model.name).await;
        // The move ends when this returns or is given up.
        let (folder, _moving) = models::fill(self.models.path(), model, moving).await?;
        let plan = CrewPlan {
            model_dir: self.seen.join(&model.name).join("model"),
            n_workers: self.settings.n_workers,
            most_workers: self.settings.n_workers,
            call_timeout: self.settings.call_timeout,
            load_timeout: model.deadline.saturating_duration_since(Instant::now()),
            max_batch: self.settings.max_batch,
            max_batch_delay: self.settings.max_batch_delay,
            retries_after_death: self.settings.retries_after_death,
        };
        let crew = Arc::new(Crew::start(self.template.clone(), plan, model.deadline).await?);
        let memory = Memory { bytes: AtomicU64::new(0), measured_at: Mutex::new(Instant::now()) };
        let memory = Arc::new(memory);
        memory.measure(&crew).await;
        let folder = Mutex::new(Some(folder));
        Ok(Arc::new(HostedModel { crew, n_workers: self.settings.n_workers, folder, memory }))
    }

    async fn ended(&self) -> String {
        self.template.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.image.clone())
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.template.usage())
    }

    async fn stop(&self, deadline: Instant) {
        self.template.stop(deadline).await;
    }
}

/// One model of a host.
struct HostedModel {
    crew: Arc<Crew>,
    n_workers: usize,
    folder: Mutex<Option<ModelFolder>>,
    memory: Arc<Memory>,
}

/// The bytes that a model's processes have for themselves. To look takes milliseconds.
struct Memory {
    bytes: AtomicU64,
    measured_at: Mutex<Instant>,
}

impl Memory {
    async fn measure(&self, crew: &Arc<Crew>) {
        let crew = crew.clone();
        if let Ok(bytes @ 1..) = task::blocking(move || crew.memory()).await {
            self.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// True if it is time to look again.
    fn is_due(&self) -> bool {
        let mut measured_at = self.measured_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = measured_at.elapsed() >= MEASURE_AFTER;
        if is_due {
            *measured_at = Instant::now();
        }
        is_due
    }
}

#[async_trait]
impl Worker for HostedModel {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let replies = self.crew.ask_all(calls).await;
        if self.memory.is_due() {
            let (crew, memory) = (self.crew.clone(), self.memory.clone());
            task::spawn("model-memory", async move { memory.measure(&crew).await });
        }
        replies
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        self.crew.stream(call).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.n_workers
    }

    fn max_batch(&self) -> usize {
        self.crew.max_batch()
    }

    fn max_batch_delay(&self) -> Duration {
        self.crew.max_batch_delay()
    }

    fn memory(&self) -> u64 {
        self.memory.bytes.load(Ordering::Relaxed)
    }

    async fn stop(&self, deadline: Instant) {
        self.crew.stop(deadline).await;
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(task::blocking(move || drop(folder)).await);
    }
}
