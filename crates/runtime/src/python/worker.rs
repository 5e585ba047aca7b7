//! The worker that the data plane sees: a template with its crew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::worker::{Call, LaunchError, LaunchSpec, Reply, Worker, WorkerError};
use tokio::time::Instant;

use super::crew::{Crew, CrewPlan};
use super::plan::Launch;
use super::template::Template;

pub(super) struct PythonWorker {
    crew: Crew,
    template: Arc<Template>,
    concurrency: usize,
    image: String,
    /// What each call may have of memory, of a serverless variant.
    memory_bytes: Option<u64>,
    /// The files stay while the processes may read them.
    _files: Vec<Arc<dyn ArtifactLease>>,
}

impl PythonWorker {
    pub(super) async fn start(
        launch: Launch,
        spec: &LaunchSpec,
        deadline: Instant,
    ) -> Result<Self, LaunchError> {
        let Launch { plan, home, sandbox, settings, image } = launch;
        let Some(model_dir) = plan.model_dir.clone().or_else(|| plan.submit_dir.clone()) else {
            let reason = "The container has neither a ModelDataUrl nor code to run.".to_owned();
            return Err(LaunchError::Permanent { reason });
        };
        let log = (&spec.log, &spec.log_stream);
        let template = Template::start(&sandbox, plan, home, log, deadline).await?;
        let crew_plan = CrewPlan {
            model_dir,
            n_workers: settings.n_workers,
            most_workers: settings.most_workers,
            call_timeout: settings.call_timeout,
            load_timeout: spec.startup_timeout,
            max_batch: settings.max_batch,
            max_batch_delay: settings.max_batch_delay,
        };
        match Crew::start(template.clone(), crew_plan, deadline).await {
            Ok(crew) => {
                let _files = spec.model.iter().chain(&spec.code).cloned().collect();
                let concurrency = settings.most_workers;
                let resources = spec.resources;
                let memory_bytes = resources.concurrency.map(|_| resources.memory_bytes);
                Ok(Self { crew, template, concurrency, image, memory_bytes, _files })
            }
            Err(error) => {
                template.stop(Instant::now()).await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Worker for PythonWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let answers = self.crew.ask_all(calls).await;
        match self.memory_bytes {
            None => answers,
            Some(bytes) => answers
                .into_iter()
                .map(|answer| answer.map_err(|error| about_memory(error, bytes)))
                .collect(),
        }
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn max_batch(&self) -> usize {
        self.crew.max_batch()
    }

    fn max_batch_delay(&self) -> Duration {
        self.crew.max_batch_delay()
    }

    async fn ended(&self) -> String {
        self.template.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        self.crew.stop(deadline).await;
        self.template.stop(deadline).await;
    }
}

/// Says what a call may have that wanted more memory.
fn about_memory(error: WorkerError, bytes: u64) -> WorkerError {
    match error {
        WorkerError::Model { status, message, content_type }
            if message.contains("MemoryError") || message.contains("for want of memory") =>
        {
            let mib = bytes >> 20;
            let message = format!(
                "{}\nEach call may have {mib} MB of memory: the MemorySizeInMB of its variant's \
                 ServerlessConfig.",
                message.trim_end()
            );
            WorkerError::Model { status, message, content_type }
        }
        WorkerError::Model { .. }
        | WorkerError::TimedOut
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. }
        | WorkerError::At { .. }
        | WorkerError::Gone { .. } => error,
    }
}
