//! A container from its creation until nothing is left of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use sagebrush_core::task;
use sagebrush_core::worker::Resources;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::cgroup::Cgroup;
use super::create::PORT;
use super::engine::{Engine, EngineError};

/// How long after a broken wait the engine is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// A container of ours. Dropped, it is removed.
pub(super) struct Container {
    engine: Arc<Engine>,
    pub(super) id: String,
    removed: AtomicBool,
}

/// Where a container is on this machine.
pub(super) struct Place {
    /// The port that leads to it; `None` if there is none, as for one that ended.
    pub(super) port: Option<u16>,
    /// Of its first process, as the engine's machine numbers it; 0 if there is none.
    pub(super) pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
    #[serde(default)]
    network_settings: Network,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
    exit_code: i64,
    pid: u32,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    error: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    ports: BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

impl Container {
    /// Goes on when nobody waits any more, and removes it then: only the answer names it.
    pub(super) async fn create(engine: &Arc<Engine>, body: Value) -> Result<Self, EngineError> {
        let engine = engine.clone();
        let create = async move {
            let text = engine.post("/containers/create", Some(&body)).await?;
            let created: Created = serde_json::from_slice(&text)
                .map_err(|error| EngineError::Nonsense(error.to_string()))?;
            Ok(Self { engine, id: created.id, removed: AtomicBool::new(false) })
        };
        let created = task::spawn("container creation", create).await;
        created.unwrap_or_else(|error| Err(EngineError::Nonsense(error.to_string())))
    }

    pub(super) async fn start(&self) -> Result<(), EngineError> {
        self.engine.post(&self.path("start"), None).await.map(drop)
    }

    pub(super) async fn place(&self) -> Result<Place, EngineError> {
        let found = self.inspect().await?;
        let bindings = found.network_settings.ports.get(PORT).and_then(Option::as_ref);
        let port = bindings.and_then(|all| all.iter().find_map(|one| one.host_port.parse().ok()));
        Ok(Place { port, pid: found.state.pid })
    }

    /// What accounts for it, where its kernel is ours.
    pub(super) async fn cgroup(&self, root: &Path, pid: u32) -> Option<Cgroup> {
        let (root, id) = (root.to_owned(), self.id.clone());
        task::blocking(move || Cgroup::find(&root, pid, &id)).await.ok()?
    }

    /// Returns once it has ended, and says how: `ended with exit code 1`.
    pub(super) async fn ended(&self, resources: Resources) -> String {
        loop {
            let wait = async {
                self.engine.flow(Method::POST, &self.path("wait")).await?.all().await.map(drop)
            };
            let waited: Result<(), EngineError> = wait.await;
            match self.inspect().await {
                Ok(found) if !found.state.running => return found.state.cause(resources),
                Err(error) if error.is_not_found() => return "was removed".to_owned(),
                Ok(_) | Err(_) => {}
            }
            tracing::debug!(container = self.id, ?waited, "a wait for a container broke");
            sleep(PAUSE).await;
        }
    }

    /// Asks it to end, and kills it after `grace`.
    pub(super) async fn stop(&self, grace: Duration) {
        let seconds = grace.as_secs_f64().ceil();
        let path = format!("/containers/{}/stop?t={seconds}", self.id);
        let stop = async { self.engine.flow(Method::POST, &path).await?.all().await };
        match timeout(grace + PAUSE * 30, stop).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.is_not_found() => {} // It was killed before.
            Ok(Err(error)) => {
                tracing::warn!(container = self.id, %error, "a container did not stop");
            }
            Err(_late) => tracing::warn!(container = self.id, "a container did not stop in time"),
        }
    }

    /// Ends it, if it runs, and removes all of it.
    pub(super) async fn remove(&self) {
        if !self.removed.load(Ordering::Relaxed) {
            remove(&self.engine, &self.id).await;
            self.removed.store(true, Ordering::Relaxed); // Given up before, it is still to be done.
        }
    }

    async fn inspect(&self) -> Result<Inspected, EngineError> {
        self.engine.get(&self.path("json")).await
    }

    fn path(&self, what: &str) -> String {
        format!("/containers/{}/{what}", self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let left = !self.removed.load(Ordering::Relaxed);
        if left && tokio::runtime::Handle::try_current().is_ok() {
            let (engine, id) = (self.engine.clone(), self.id.clone());
            task::spawn("container removal", async move { remove(&engine, &id).await });
        }
    }
}

pub(super) async fn remove(engine: &Engine, id: &str) {
    match engine.delete(&format!("/containers/{id}?force=1&v=1")).await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(container = id, %error, "a container stays behind");
        }
        Ok(()) | Err(_) => {}
    }
}

impl State {
    fn cause(&self, resources: Resources) -> String {
        let code = self.exit_code;
        let mib = resources.memory_bytes >> 20;
        let error =
            if self.error.is_empty() { String::new() } else { format!(" ({})", self.error) };
        match (self.oom_killed, code) {
            (true, _) => {
                format!(
                    "was killed with exit code {code} for want of memory: it may take {mib} MiB"
                )
            }
            (false, 137) => format!("was killed with exit code 137, as for want of memory{error}"),
            (false, _) => format!("ended with exit code {code}{error}"),
        }
    }
}
