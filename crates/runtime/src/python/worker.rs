//! The worker that the data plane sees: a template with its crew.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, Reply, StreamedReply, Usage, Worker, WorkerError,
};
use tokio::time::Instant;

use super::PythonShared;
use super::crew::{Crew, CrewPlan};
use super::parked::{Kept, Key, Parked};
use super::plan::Launch;
use super::template::Template;

pub(super) struct PythonWorker {
    crew: Crew,
    kept: Kept,
    /// Where the template goes when the worker rests; of a serverless variant.
    rest: Option<Rest>,
}

struct Rest {
    key: Key,
    parked: Arc<Parked>,
    /// What each call may have of memory.
    memory_bytes: u64,
}

impl PythonWorker {
    pub(super) async fn start(
        shared: &PythonShared,
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
        let plan = CrewPlan {
            model_dir,
            n_workers: settings.n_workers,
            most_workers: settings.most_workers,
            call_timeout: settings.call_timeout,
            load_timeout: spec.startup_timeout,
            max_batch: settings.max_batch,
            max_batch_delay: settings.max_batch_delay,
            retries_after_death: settings.retries_after_death,
        };
        let files = spec.model.iter().chain(&spec.code).cloned().collect();
        Self::fork(shared, Kept { template, plan, image, files }, spec, deadline).await
    }

    /// Forks the workers of a template that is there already; on error nothing of it is left.
    pub(super) async fn fork(
        shared: &PythonShared,
        kept: Kept,
        spec: &LaunchSpec,
        deadline: Instant,
    ) -> Result<Self, LaunchError> {
        match Crew::start(kept.template.clone(), kept.plan.clone(), deadline).await {
            Ok(crew) => {
                let parked = shared.parked.clone();
                let memory_bytes = spec.resources.memory_bytes;
                let rest = Key::of(spec).map(|key| Rest { key, parked, memory_bytes });
                Ok(Self { crew, kept, rest })
            }
            Err(error) => {
                kept.template.stop(Instant::now()).await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Worker for PythonWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let answers = self.crew.ask_all(calls).await;
        let Some(rest) = &self.rest else { return answers };
        let told = |error| about_memory(error, rest.memory_bytes);
        answers.into_iter().map(|answer| answer.map_err(told)).collect()
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        self.crew.stream(call).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.kept.plan.most_workers
    }

    fn max_batch(&self) -> usize {
        self.crew.max_batch()
    }

    fn max_batch_delay(&self) -> Duration {
        self.crew.max_batch_delay()
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.kept.template.usage())
    }

    async fn ended(&self) -> String {
        self.kept.template.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.kept.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        self.crew.stop(deadline).await;
        self.kept.template.stop(deadline).await;
    }

    async fn rest(&self, deadline: Instant) {
        let rest = self.rest.as_ref().filter(|_| !self.kept.template.is_over());
        if let Some(rest) = rest {
            // First, for the next launch may come while these workers still end.
            rest.parked.park(rest.key.clone(), self.kept.clone());
        }
        self.crew.stop(deadline).await;
        match rest {
            Some(rest) => rest.parked.settle(&self.kept.template),
            None => self.kept.template.stop(deadline).await,
        }
    }
}

/// Says what a call may have that wanted more memory.
fn about_memory(error: WorkerError, bytes: u64) -> WorkerError {
    let is_about =
        |message: &str| message.contains("MemoryError") || message.contains("for want of memory");
    let explained = |message: &str| {
        format!(
            "{}\nEach call may have {} MB of memory: the MemorySizeInMB of its variant's \
             ServerlessConfig.",
            message.trim_end(),
            bytes >> 20
        )
    };
    match error {
        WorkerError::Model { status, message, content_type } if is_about(&message) => {
            WorkerError::Model { status, message: explained(&message), content_type }
        }
        WorkerError::Died { message, once_more } if is_about(&message) => {
            WorkerError::Died { message: explained(&message), once_more }
        }
        WorkerError::Model { .. }
        | WorkerError::Died { .. }
        | WorkerError::TimedOut
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. }
        | WorkerError::At { .. }
        | WorkerError::Gone { .. } => error,
    }
}
