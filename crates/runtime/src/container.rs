//! Images, run through a Docker-compatible socket: Docker's own, or that of Podman's service.

mod create;
mod engine;
mod image;
mod logs;
mod pull;
mod running;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, LaunchSpec, Runtime, Worker};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use self::engine::{Engine, EngineError};
use self::image::Reference;
use self::running::Container;
use self::worker::{ContainerWorker, Exit};
use crate::contract::{Address, ContractClient, NotReady, Paths, first_ping};
use crate::output::Tail;

/// How long the last lines of an ended container are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What may be set about containers.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// Whether an image that is not on this machine is pulled.
    pub pull: bool,
    /// Tells our containers from those of other servers on this machine, and is the same after a
    /// restart: the data directory.
    pub owner: String,
    /// How long a container may take to end after SIGTERM.
    pub grace: Duration,
    /// How many calls a container takes at once.
    pub concurrency: usize,
}

impl ContainerSettings {
    /// SageMaker's, for the server whose data directory is `owner`; nothing is pulled.
    #[must_use]
    pub fn new(owner: String) -> Self {
        Self { pull: false, owner, grace: Duration::from_secs(30), concurrency: 64 }
    }
}

/// Starts containers.
pub struct ContainerRuntime {
    engine: Arc<Engine>,
    settings: ContainerSettings,
    /// The name of this run of the server.
    run: String,
    swept: OnceCell<()>,
}

impl ContainerRuntime {
    /// Starts containers through the engine that listens at `socket`. Containers that an earlier
    /// run left behind are removed before the first start.
    #[must_use]
    pub fn new(socket: PathBuf, settings: ContainerSettings) -> Self {
        let run = Uuid::new_v4().simple().to_string();
        Self { engine: Arc::new(Engine::new(socket)), settings, run, swept: OnceCell::new() }
    }

    /// Removes what an earlier run left behind; the first launch does it too.
    ///
    /// # Errors
    /// When the engine cannot be used.
    pub async fn sweep(&self) -> Result<(), LaunchError> {
        let sweep = self.swept.get_or_try_init(|| self.remove_leftovers()).await;
        let nothing = |error| failed("What an earlier run left cannot be removed", &error);
        sweep.map_err(nothing).copied()
    }

    async fn remove_leftovers(&self) -> Result<(), EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Found {
            id: String,
        }
        let owner = format!("{}={}", create::OWNER, self.settings.owner);
        let filters = json!({"label": [owner]}).to_string();
        let filters = utf8_percent_encode(&filters, NON_ALPHANUMERIC);
        let path = format!("/containers/json?all=1&filters={filters}");
        for found in self.engine.get::<Vec<Found>>(&path).await? {
            tracing::info!(container = found.id, "removing what an earlier run left");
            running::remove(&self.engine, &found.id).await;
        }
        Ok(())
    }

    /// Makes sure that the image is there; returns its digest.
    async fn image(&self, spec: &LaunchSpec) -> Result<String, LaunchError> {
        let Some(image) = Reference::parse(&spec.image) else {
            return Err(permanent(format!("{} is no name of an image.", spec.image)));
        };
        let fault = |error| failed(&format!("The image {} cannot be used", spec.image), &error);
        if let Some(digest) = image.resolve(&self.engine).await.map_err(fault)? {
            return Ok(digest);
        }
        if !self.settings.pull {
            let reason = format!(
                "The image {} is not on this machine, and the server's settings allow no pull. \
                 Bring it there: docker pull {}",
                spec.image, spec.image
            );
            return Err(permanent(reason));
        }
        pull::pull(&self.engine, &image, spec).await?;
        let digest = image.resolve(&self.engine).await.map_err(fault)?;
        digest.ok_or_else(|| permanent(format!("The image {} was not pulled.", spec.image)))
    }

    async fn start(&self, spec: &LaunchSpec, digest: String) -> Result<Running, LaunchError> {
        let deadline = Instant::now() + spec.startup_timeout;
        let body = create::body(spec, &self.settings.owner, &self.run);
        let fault = |error| failed(&format!("The image {} cannot be run", spec.image), &error);
        let container = Container::create(&self.engine, &body).await.map_err(fault)?;
        let container = Arc::new(container);
        let started = match container.start().await {
            Ok(()) => self.answered(&container, spec, deadline).await,
            Err(error) => Err(fault(error)),
        };
        match started {
            Ok((client, exit)) => Ok(Running { container, client, exit, digest }),
            Err(error) => {
                container.remove().await;
                Err(error)
            }
        }
    }

    async fn answered(
        &self,
        container: &Arc<Container>,
        spec: &LaunchSpec,
        deadline: Instant,
    ) -> Result<(ContractClient, Exit), LaunchError> {
        let tail = Tail::default();
        let (engine, id) = (self.engine.clone(), container.id.clone());
        let log = logs::follow(engine, id, spec.clone(), tail.clone());
        let log = task::spawn("container log", log);
        let exit = Exit::of(container, spec.resources);
        let port = container.port().await;
        let port = port.map_err(|error| failed("The container's port is unknown", &error))?;
        let outcome = match port {
            Some(port) => {
                let (address, idle) = (Address::Port(port), self.settings.concurrency);
                let client = ContractClient::new(address, Paths::default(), idle);
                first_ping(&client, exit.cause(), deadline).await.map(|()| client)
            }
            // One that has ended has no port any more.
            None => match timeout_at(deadline, exit.cause()).await {
                Ok(how) => Err(NotReady::Ended(how)),
                Err(_late) => Err(NotReady::TooLate("the engine gave it no port".to_owned())),
            },
        };
        let reason = match outcome {
            Ok(client) => return Ok((client, exit)),
            Err(NotReady::Ended(how)) => format!("{how} before it answered its first ping."),
            Err(NotReady::TooLate(last)) => format!(
                "The container did not answer GET /ping with 200 on its port 8080 within {} s \
                 ({last}).",
                spec.startup_timeout.as_secs_f32()
            ),
        };
        container.remove().await;
        let _late = timeout(LAST_WORDS, log).await;
        let reason = match tail.text() {
            text if text.is_empty() => reason,
            text => format!("{reason} Its last lines:\n{text}"),
        };
        Err(LaunchError::Transient { reason })
    }
}

struct Running {
    container: Arc<Container>,
    client: ContractClient,
    exit: Exit,
    digest: String,
}

#[async_trait]
impl Runtime for ContainerRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        if spec.network_isolation {
            return Err(permanent(format!(
                "The image {} cannot be run with EnableNetworkIsolation: a container without a \
                 network cannot be called. Run its program as a process that listens on a Unix \
                 socket, or do without the isolation.",
                spec.image
            )));
        }
        self.sweep().await?;
        let digest = self.image(spec).await?;
        let Running { container, client, exit, digest } = self.start(spec, digest).await?;
        let settings = &self.settings;
        Ok(Arc::new(ContainerWorker::new(container, client, exit, digest, settings, spec)))
    }
}

fn permanent(reason: String) -> LaunchError {
    LaunchError::Permanent { reason }
}

fn failed(what: &str, error: &EngineError) -> LaunchError {
    let reason = format!("{what}: {error}.");
    if error.is_permanent() { permanent(reason) } else { LaunchError::Transient { reason } }
}
