//! Images, run through a Docker-compatible socket: Docker's own, or that of Podman's service.

mod cgroup;
mod create;
mod engine;
mod image;
mod logs;
mod pull;
mod running;
#[cfg(test)]
mod tests;
mod worker;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, LaunchSpec, ModelHost, Runtime, Worker};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use self::engine::{Engine, EngineError};
use self::image::{Found, Reference};
use self::running::Container;
use self::worker::{Answering, ContainerWorker, Exit};
use crate::contract::{Address, ContractClient, ContractHost, NotReady, Paths, first_ping};
use crate::output::Tail;
use crate::sandbox::Home;

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
    /// Where the files of models lie that containers of many models load. No other process may
    /// use it; best on the file system of the models themselves.
    pub models: PathBuf,
    /// Where the `proc` and the `sys` of the containers' kernel are.
    pub root: PathBuf,
}

impl ContainerSettings {
    /// SageMaker's, for the server whose data directory is `owner`; nothing is pulled.
    #[must_use]
    pub fn new(owner: String) -> Self {
        let models = Path::new(&owner).join("container-models");
        let (grace, root) = (Duration::from_secs(30), PathBuf::from("/"));
        Self { pull: false, owner, grace, concurrency: 64, models, root }
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
        let (engine, swept) = (Arc::new(Engine::new(socket)), OnceCell::new());
        Self { engine, settings, run, swept }
    }

    /// Removes what an earlier run left behind; the first launch does it too.
    ///
    /// # Errors
    /// When the engine cannot be used.
    pub async fn sweep(&self) -> Result<(), LaunchError> {
        self.swept.get_or_try_init(|| self.remove_leftovers()).await.copied()
    }

    async fn remove_leftovers(&self) -> Result<(), LaunchError> {
        let nothing = |error| failed("What an earlier run left cannot be removed", &error);
        self.remove_containers().await.map_err(nothing)?;
        let models = self.settings.models.clone();
        let swept = task::blocking(move || sweep_models(&models)).await;
        swept.map_err(io::Error::other).flatten().map_err(|error| LaunchError::Transient {
            reason: format!("The models that an earlier run left cannot be removed: {error}."),
        })
    }

    async fn remove_containers(&self) -> Result<(), EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Left {
            id: String,
        }
        let owner = format!("{}={}", create::OWNER, self.settings.owner);
        let filters = json!({"label": [owner]}).to_string();
        let filters = utf8_percent_encode(&filters, NON_ALPHANUMERIC);
        let path = format!("/containers/json?all=1&filters={filters}");
        for left in self.engine.get::<Vec<Left>>(&path).await? {
            tracing::info!(container = left.id, "removing what an earlier run left");
            running::remove(&self.engine, &left.id).await;
        }
        Ok(())
    }

    /// Makes sure that the image is there.
    async fn image(&self, spec: &LaunchSpec) -> Result<Found, LaunchError> {
        let Some(image) = Reference::parse(&spec.image) else {
            return Err(permanent(format!("{} is no name of an image.", spec.image)));
        };
        let fault = |error| failed(&format!("The image {} cannot be used", spec.image), &error);
        if let Some(found) = image.find(&self.engine).await.map_err(fault)? {
            return Ok(found);
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
        let found = image.find(&self.engine).await.map_err(fault)?;
        found.ok_or_else(|| permanent(format!("The image {} was not pulled.", spec.image)))
    }

    /// Refuses what cannot be done, and makes sure that the image is there.
    async fn prepare(&self, spec: &LaunchSpec) -> Result<Found, LaunchError> {
        if spec.network_isolation {
            return Err(permanent(format!(
                "The image {} cannot be run with EnableNetworkIsolation: a container without a \
                 network cannot be called. Run its program as a process that listens on a Unix \
                 socket, or do without the isolation.",
                spec.image
            )));
        }
        self.sweep().await?;
        self.image(spec).await
    }

    async fn start(
        &self,
        spec: &LaunchSpec,
        digest: String,
        models: Option<&Path>,
    ) -> Result<ContainerWorker, LaunchError> {
        let deadline = Instant::now() + spec.startup_timeout;
        let body = create::body(spec, &self.settings.owner, &self.run, models);
        let fault = |error| failed(&format!("The image {} cannot be run", spec.image), &error);
        let container = Container::create(&self.engine, body).await.map_err(fault)?;
        let container = Arc::new(container);
        let started = match container.start().await {
            Ok(()) => self.answered(&container, spec, deadline).await,
            Err(error) => Err(fault(error)),
        };
        match started {
            Ok(answering) => {
                Ok(ContainerWorker::new(container, answering, digest, &self.settings, spec))
            }
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
    ) -> Result<Answering, LaunchError> {
        let tail = Tail::default();
        let (engine, id) = (self.engine.clone(), container.id.clone());
        let log = logs::follow(engine, id, spec.clone(), tail.clone());
        let log = task::spawn("container log", log);
        let exit = Exit::of(container, spec.resources);
        let place = container.place().await;
        let place = place.map_err(|error| failed("The container's port is unknown", &error))?;
        let outcome = match place.port {
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
            Ok(client) => {
                let cgroup = container.cgroup(&self.settings.root, place.pid).await;
                return Ok(Answering { client, exit, cgroup });
            }
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

#[async_trait]
impl Runtime for ContainerRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        let found = self.prepare(spec).await?;
        Ok(Arc::new(self.start(spec, found.digest, None).await?))
    }

    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        let found = self.prepare(spec).await?;
        if !found.hosts_models {
            return Err(permanent(format!(
                "The image {} cannot serve Mode MultiModel: it has no label {}=true.",
                spec.image,
                image::HOSTS_MODELS
            )));
        }
        let dir = self.settings.models.clone();
        let models = task::blocking(move || models_of_one(&dir)).await;
        let models = models.map_err(io::Error::other).flatten();
        let models = models.map_err(|error| LaunchError::Transient {
            reason: format!("A folder for models cannot be made: {error}."),
        })?;
        let worker = self.start(spec, found.digest, Some(models.path())).await?;
        Ok(Arc::new(ContractHost::new(worker, models, PathBuf::from(create::MODELS))))
    }
}

/// Empties the folder that containers' models lie in. Blocks.
fn sweep_models(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A folder for the models of one container. Its program may have any user. Blocks.
fn models_of_one(dir: &Path) -> io::Result<Home> {
    fs::create_dir_all(dir)?;
    let models = Home::make(dir.canonicalize()?.join(Uuid::new_v4().simple().to_string()))?;
    fs::set_permissions(models.path(), fs::Permissions::from_mode(0o755))?;
    Ok(models)
}

fn permanent(reason: String) -> LaunchError {
    LaunchError::Permanent { reason }
}

fn failed(what: &str, error: &EngineError) -> LaunchError {
    let reason = format!("{what}: {error}.");
    if error.is_permanent() { permanent(reason) } else { LaunchError::Transient { reason } }
}
