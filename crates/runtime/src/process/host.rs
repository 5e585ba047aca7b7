//! A program that serves many models, each loaded by a call.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{
    Call, LaunchError, LoadError, ModelHost, ModelSpec, Reply, Worker, WorkerError,
};
use tokio::time::Instant;

use super::running::Running;
use crate::contract::each;
use crate::models::ModelFolder;
use crate::sandbox::Home;

/// An unload that was begun is not cut shorter than this: else its memory would count as free.
const SHORTEST_UNLOAD: Duration = Duration::from_secs(5);

pub(super) struct ProcessHost {
    /// Where models are, as the program sees it.
    pub(super) seen: PathBuf,
    pub(super) process: Arc<HostProcess>,
}

/// The program with the folder of its models, which is outside of its home: it may read the
/// files, which are those of the cache, and must not change them.
pub(super) struct HostProcess {
    pub(super) running: Running,
    pub(super) models: Home,
}

#[async_trait]
impl ModelHost for ProcessHost {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let folder = self.fill(model).await?;
        let url = self.seen.join(&model.name).join("model");
        let running = &self.process.running;
        let (client, url) = (&running.client, url.to_string_lossy());
        let loaded = client.load_model(&model.name, &url, model.deadline, running.cause());
        if let Err(error) = loaded.await {
            if matches!(error, LoadError::Launch(LaunchError::Transient { .. })) {
                // It may be loading still.
                let until = Instant::now() + SHORTEST_UNLOAD;
                drop(client.unload_model(&model.name, until).await);
            }
            return Err(error);
        }
        Ok(Arc::new(HostedModel {
            name: model.name.clone(),
            process: self.process.clone(),
            folder: Mutex::new(Some(folder)),
            files: model.files.clone(),
        }))
    }

    async fn ended(&self) -> String {
        self.process.running.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.process.running.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        self.process.running.stop(deadline).await;
    }
}

impl ProcessHost {
    async fn fill(&self, model: &ModelSpec) -> Result<ModelFolder, LaunchError> {
        let (name, from) = (model.name.clone(), model.files.dir());
        let models = self.process.models.path().to_owned();
        let filled = task::blocking(move || ModelFolder::fill(&models, &name, &from)).await;
        filled.map_err(std::io::Error::other).flatten().map_err(|error| LaunchError::Transient {
            reason: format!("The files of {} cannot be put in place: {error}.", model.target),
        })
    }
}

struct HostedModel {
    name: String,
    process: Arc<HostProcess>,
    folder: Mutex<Option<ModelFolder>>,
    files: Arc<dyn ArtifactLease>,
}

#[async_trait]
impl Worker for HostedModel {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        each(calls, |call| self.call(call)).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.process.running.ping().await
    }

    fn concurrency(&self) -> usize {
        self.process.running.concurrency
    }

    /// Its files' size: what a model's code makes of them, the container alone knows.
    fn memory(&self) -> u64 {
        self.files.bytes()
    }

    async fn ended(&self) -> String {
        self.process.running.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.process.running.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        let until = deadline.max(Instant::now() + SHORTEST_UNLOAD);
        if let Err(failure) = self.process.running.client.unload_model(&self.name, until).await {
            let reason = failure.reason();
            tracing::warn!(model = self.name, reason, "a container did not unload a model");
        }
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(task::blocking(move || drop(folder)).await);
    }
}

impl HostedModel {
    async fn call(&self, call: Call) -> Result<Reply, WorkerError> {
        let running = &self.process.running;
        let beat = running.pulse.begin();
        let reply = match running.client.invoke_model(&self.name, call).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Err(failure.explained(running.cause()).await),
        };
        beat.end(&reply);
        reply
    }
}
