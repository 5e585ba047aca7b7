//! A container that serves many models, each loaded by a call.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{
    Call, LaunchError, LoadError, ModelHost, ModelSpec, Reply, StreamedReply, Usage, Worker,
    WorkerError,
};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::client::ContractClient;
use super::each;
use super::failure::CallFailure;
use super::health::Pulse;
use super::stream::told_in_parts;
use crate::models::{self, ModelFolder, Move, Moving};
use crate::sandbox::Home;

/// An unload that was begun is not cut shorter than this: else its memory would count as free.
const SHORTEST_UNLOAD: Duration = Duration::from_secs(5);

/// A process or a container that keeps the contract.
#[async_trait]
pub(crate) trait Contracted: Worker {
    fn client(&self) -> &ContractClient;

    fn pulse(&self) -> &Arc<Pulse>;

    /// How it ended, once it has: `The process ended with exit code 3`.
    fn cause(&self) -> BoxFuture<'static, String>;
}

/// Brings a call to its end, seen by those who watch the container's health.
pub(crate) async fn told(
    container: &impl Contracted,
    call: impl Future<Output = Result<Reply, CallFailure>>,
) -> Result<Reply, WorkerError> {
    let beat = container.pulse().begin();
    let reply = match call.await {
        Ok(reply) => Ok(reply),
        Err(failure) => Err(failure.explained(container.cause()).await),
    };
    beat.end(&reply);
    reply
}

/// Loads models into one container.
pub(crate) struct ContractHost<C>(Arc<Hosting<C>>);

struct Hosting<C> {
    container: C,
    /// The folder of its models, which is outside of anything that it may write to: it may read
    /// the files, which are those of the cache, and must not change them.
    models: Home,
    /// Where it sees them.
    seen: PathBuf,
    moving: Moving,
    /// Its models end with it.
    is_stopped: AtomicBool,
}

impl<C: Contracted> ContractHost<C> {
    /// Loads models into `container`, which sees the folder `models` at `seen`.
    pub(crate) fn new(container: C, models: Home, seen: PathBuf) -> Self {
        let (moving, is_stopped) = (Moving::default(), AtomicBool::new(false));
        Self(Arc::new(Hosting { container, models, seen, moving, is_stopped }))
    }
}

#[async_trait]
impl<C: Contracted> ModelHost for ContractHost<C> {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let hosting = &self.0;
        let moving = hosting.moving.begin(&model.name).await;
        let (folder, moving) = models::fill(hosting.models.path(), model, moving).await?;
        let name = model.name.clone();
        let stay = Stay { hosting: hosting.clone(), name, held: Some((folder, Some(moving))) };
        let url = hosting.seen.join(&model.name).join("model");
        let (client, url) = (hosting.container.client(), url.to_string_lossy());
        let cause = hosting.container.cause();
        match client.load_model(&model.name, &url, model.deadline, cause).await {
            Ok(()) => {
                let (name, hosting) = (model.name.clone(), hosting.clone());
                let (stay, files) = (Mutex::new(Some(stay.settled())), model.files.clone());
                Ok(Arc::new(HostedModel { name, hosting, stay, files }))
            }
            Err(error) => {
                match &error {
                    // It may be loading still.
                    LoadError::Launch(LaunchError::Transient { .. }) => {
                        stay.end(Instant::now() + SHORTEST_UNLOAD).await;
                    }
                    LoadError::Launch(LaunchError::Permanent { .. }) | LoadError::NoRoom => {
                        stay.end_unloaded().await;
                    }
                }
                Err(error)
            }
        }
    }

    async fn ended(&self) -> String {
        self.0.container.ended().await
    }

    fn image(&self) -> Option<String> {
        self.0.container.image()
    }

    fn usage(&self) -> Option<Usage> {
        self.0.container.usage()
    }

    async fn stop(&self, deadline: Instant) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
        self.0.container.stop(deadline).await;
    }
}

/// The stay of a model in its container, from the first attempt to load it on. Dropped, it is
/// unloaded in the background.
struct Stay<C: Contracted> {
    hosting: Arc<Hosting<C>>,
    name: String,
    /// Its files, and the load while that is under way. `None` once it is over.
    held: Option<(ModelFolder, Option<Move>)>,
}

impl<C: Contracted> Stay<C> {
    /// The model is loaded.
    fn settled(mut self) -> Self {
        if let Some((_, moving)) = &mut self.held {
            *moving = None;
        }
        self
    }

    /// Unloads it, and removes its files then.
    async fn end(mut self, until: Instant) {
        if let Some(held) = self.held.take() {
            unload(self.hosting.clone(), self.name.clone(), held, until).await;
        }
    }

    /// Removes the files of a model that the container does not have.
    async fn end_unloaded(mut self) {
        let held = self.held.take();
        drop(task::blocking(move || drop(held)).await);
    }
}

impl<C: Contracted> Drop for Stay<C> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if !self.hosting.is_stopped.load(Ordering::Relaxed) && Handle::try_current().is_ok() {
            let (hosting, name) = (self.hosting.clone(), self.name.clone());
            let until = Instant::now() + SHORTEST_UNLOAD;
            task::spawn("model unload", unload(hosting, name, held, until));
        }
    }
}

async fn unload<C: Contracted>(
    hosting: Arc<Hosting<C>>,
    name: String,
    held: (ModelFolder, Option<Move>),
    until: Instant,
) {
    let (folder, moving) = held;
    let moving = moving.or_else(|| hosting.moving.try_begin(&name));
    if let Err(failure) = hosting.container.client().unload_model(&name, until).await {
        let reason = failure.reason();
        tracing::warn!(model = name, reason, "a container did not unload a model");
    }
    drop(task::blocking(move || drop((folder, moving))).await);
}

struct HostedModel<C: Contracted> {
    name: String,
    hosting: Arc<Hosting<C>>,
    stay: Mutex<Option<Stay<C>>>,
    files: Arc<dyn ArtifactLease>,
}

#[async_trait]
impl<C: Contracted> Worker for HostedModel<C> {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let container = &self.hosting.container;
        let invoke = |call| told(container, container.client().invoke_model(&self.name, call));
        each(calls, invoke).await
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let container = &self.hosting.container;
        told_in_parts(container, container.client().stream_model(&self.name, call)).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.hosting.container.ping().await
    }

    fn concurrency(&self) -> usize {
        self.hosting.container.concurrency()
    }

    /// Its files' size: what a model's code makes of them, the container alone knows.
    fn memory(&self) -> u64 {
        self.files.bytes()
    }

    async fn ended(&self) -> String {
        self.hosting.container.ended().await
    }

    fn image(&self) -> Option<String> {
        self.hosting.container.image()
    }

    async fn stop(&self, deadline: Instant) {
        let stay = self.stay.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stay) = stay {
            stay.end(deadline.max(Instant::now() + SHORTEST_UNLOAD)).await;
        }
    }
}
