//! From a plan to a program that answered its first ping.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, LaunchSpec};
use tokio::time::Instant;

use super::plan::{Places, Plan};
use super::port::{PortClaim, Ports, is_free};
use super::proc::{self, Owner};
use super::readable;
use crate::contract::{Address, ContractClient, NotReady, first_ping};
use crate::output::{self, Tail};
use crate::sandbox::{Confinement, Home, Isolation, PROCESSES, Program, Sandbox};
use crate::tree::Tree;

/// How many ports are tried: another program may take one before ours does.
const PORTS: usize = 3;
/// The longest path of a Unix socket, without the NUL at its end.
const LONGEST_SOCKET: usize = 107;
/// How many idle connections are kept where the recipe does not say.
pub(super) const CONCURRENCY: usize = 64;

/// Starts programs.
pub(super) struct Starter<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) ports: &'a Arc<Ports>,
    pub(super) plan: &'a Plan,
    pub(super) spec: &'a LaunchSpec,
    /// The folder that models come and go in, if it is to host many.
    pub(super) models: Option<&'a Path>,
}

/// A program that answered.
pub(super) struct Started {
    pub(super) tree: Arc<Tree>,
    pub(super) client: Arc<ContractClient>,
    /// Its models' folder, as it sees it.
    pub(super) model_dir: PathBuf,
    pub(super) isolation: Isolation,
    pub(super) port: Option<PortClaim>,
}

enum Fault {
    Launch(LaunchError),
    /// Another program has the port.
    PortTaken,
}

impl From<LaunchError> for Fault {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}

impl Starter<'_> {
    pub(super) async fn start(&self) -> Result<Started, LaunchError> {
        self.refuse_the_impossible().await?;
        let deadline = Instant::now() + self.spec.startup_timeout;
        for _attempt in 0..PORTS {
            match self.attempt(deadline).await {
                Ok(started) => return Ok(started),
                Err(Fault::Launch(error)) => return Err(error),
                Err(Fault::PortTaken) => {}
            }
        }
        let reason =
            format!("{PORTS} ports in a row were taken by other programs while it started.");
        Err(LaunchError::Transient { reason })
    }

    async fn refuse_the_impossible(&self) -> Result<(), LaunchError> {
        if !self.network() && !self.plan.socket {
            let reason = format!(
                "The image {} listens on a TCP port, which nothing reaches under network \
                 isolation. Let its program listen on a Unix socket: name {{socket}} in its \
                 command.",
                self.spec.image
            );
            return Err(LaunchError::Permanent { reason });
        }
        self.sandbox.check_network(self.network()).await?;
        let program = self.path();
        if !program.is_absolute() {
            return Ok(()); // It is looked for on the `PATH`.
        }
        let looked_at = program.clone();
        let fault = task::blocking(move || readable::fault(&looked_at)).await;
        match fault.map_err(|error| transient(error.to_string()))? {
            Some(fault) => Err(not_startable(&program, &fault)),
            None => Ok(()),
        }
    }

    fn network(&self) -> bool {
        !self.spec.network_isolation && !self.plan.recipe.isolated
    }

    async fn attempt(&self, deadline: Instant) -> Result<Started, Fault> {
        let failed = |error: io::Error| transient(format!("It cannot be started: {error}."));
        let home = self.sandbox.home().map_err(failed)?;
        let port = match self.plan.socket {
            true => None,
            false => Some(self.ports.claim().map_err(failed)?),
        };
        let places = self.places(&home, port.as_ref()).await?;
        let confinement = self.confinement(&home).await.map_err(failed)?;
        let program = self.program(&places);
        let path = program.path.clone();
        let tree = self.sandbox.start(program, &confinement, home).await;
        let tree = Arc::new(tree.map_err(|error| not_started(&path, &error))?);
        let tail = output::follow(&tree, &self.spec.log, &self.spec.log_stream);
        let idle = self.plan.recipe.concurrency.unwrap_or(CONCURRENCY);
        let paths = self.plan.paths.clone();
        let client = Arc::new(ContractClient::new(places.address.clone(), paths, idle));
        self.answered(&tree, &tail, &client, port.as_ref(), deadline).await?;
        let isolation = self.sandbox.isolation().await;
        Ok(Started { tree, client, model_dir: places.model_dir(), isolation, port })
    }

    async fn places(&self, home: &Home, port: Option<&PortClaim>) -> Result<Places, LaunchError> {
        let address = match port {
            Some(claim) => Address::Port(claim.port()),
            None => Address::Socket(socket(home.path())?),
        };
        Ok(Places {
            address,
            safe_ports: port.map(PortClaim::safe_range),
            base_dir: self.sandbox.base_dir(home).await,
            home: home.path().to_owned(),
            hosts_models: self.models.is_some(),
        })
    }

    async fn confinement(&self, home: &Home) -> io::Result<Confinement> {
        let mut ml = Vec::new();
        let empty = home.path().join("model");
        match (self.models, &self.spec.model) {
            (Some(models), Some(beside)) => {
                ml.push(("models", models.to_owned()));
                ml.push(("model", beside.dir()));
            }
            (Some(models), None) => ml.push(("models", models.to_owned())),
            (None, Some(model)) => ml.push(("model", model.dir())),
            (None, None) => ml.push(("model", empty.clone())),
        }
        ml.extend(self.spec.code.as_ref().map(|code| ("code", code.dir())));
        let tmp = home.path().join("tmp");
        let (recipe, program) = (self.plan.recipe.clone(), self.path());
        let words: Vec<String> = self.plan.command.iter().skip(1).cloned().collect();
        let readable = task::blocking(move || {
            std::fs::create_dir_all(&empty)?;
            std::fs::create_dir_all(&tmp)?;
            let mut readable = recipe.readable;
            readable.extend(recipe.directory);
            readable.extend(readable::folders(&program));
            readable.extend(readable::named(&words));
            Ok::<_, io::Error>(readable)
        });
        Ok(Confinement {
            readable: readable.await.map_err(io::Error::other)??,
            writable: Vec::new(),
            ml,
            network: self.network(),
            memory_bytes: Some(self.spec.resources.memory_bytes),
            processes: Some(PROCESSES),
        })
    }

    fn path(&self) -> PathBuf {
        self.plan.program(self.spec.model.as_ref().map(|model| model.dir()).as_deref())
    }

    fn program(&self, places: &Places) -> Program {
        let words = self.plan.command.iter().skip(1).map(|word| OsString::from(places.fill(word)));
        let mut environment =
            places.environment(&self.plan.recipe.environment, &self.spec.environment);
        if self.spec.code.is_some() {
            let code = places.base_dir.join("code").to_string_lossy().into_owned();
            environment.insert("SAGEMAKER_SUBMIT_DIRECTORY".to_owned(), code);
        }
        Program {
            path: self.path(),
            arguments: words.collect(),
            environment,
            directory: self.plan.recipe.directory.clone(),
            input: None,
        }
    }

    /// Waits for the first ping, and makes sure that it is ours who answers. On error nothing is
    /// left running.
    async fn answered(
        &self,
        tree: &Tree,
        tail: &Tail,
        client: &ContractClient,
        port: Option<&PortClaim>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let ended = async { tree.ended().await.to_string() };
        let outcome = first_ping(client, ended, deadline).await;
        let root = tree.root();
        let taken = match (&outcome, port.map(PortClaim::port)) {
            (_, None) => false,
            (Ok(()), Some(port)) => {
                let owner = task::blocking(move || proc::owner(port, root)).await;
                matches!(owner, Ok(Owner::Stranger))
            }
            (Err(NotReady::Ended(_)), Some(port)) => !is_free(port),
            (Err(NotReady::TooLate(_)), Some(_)) => false,
        };
        if outcome.is_ok() && !taken {
            return Ok(());
        }
        client.close();
        tree.kill().await;
        match outcome {
            _ if taken => Err(Fault::PortTaken),
            Ok(()) => Ok(()),
            Err(NotReady::Ended(how)) => {
                let reason = format!("The process {how} before it answered its first ping.");
                Err(transient(with_tail(reason, tail).await).into())
            }
            Err(NotReady::TooLate(last)) => {
                let reason = format!(
                    "The process did not answer GET {} with 200 on {} within {} s ({last}).",
                    self.plan.paths.ping,
                    client.address(),
                    self.spec.startup_timeout.as_secs_f32(),
                );
                Err(transient(with_tail(reason, tail).await).into())
            }
        }
    }
}

fn socket(home: &Path) -> Result<PathBuf, LaunchError> {
    let socket = home.join("s");
    if socket.as_os_str().len() <= LONGEST_SOCKET {
        return Ok(socket);
    }
    let reason = format!(
        "The path of the socket {} is longer than the {LONGEST_SOCKET} bytes that the system \
         allows. Choose a shorter data directory.",
        socket.display()
    );
    Err(LaunchError::Permanent { reason })
}

fn not_started(program: &Path, error: &io::Error) -> LaunchError {
    let at_fault = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
    if at_fault.contains(&error.kind()) {
        return not_startable(program, &error.to_string());
    }
    transient(format!("The program {} cannot be started: {error}.", program.display()))
}

fn not_startable(program: &Path, fault: &str) -> LaunchError {
    let reason = format!("The program {} cannot be started: {fault}.", program.display());
    LaunchError::Permanent { reason }
}

fn transient(reason: String) -> LaunchError {
    LaunchError::Transient { reason }
}

/// A failure with what the program said last.
async fn with_tail(reason: String, tail: &Tail) -> String {
    match tail.complete().await {
        text if text.is_empty() => reason,
        text => format!("{reason} Its last lines:\n{text}"),
    }
}
