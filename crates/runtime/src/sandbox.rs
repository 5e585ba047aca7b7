//! Starts programs so that they see and take only what they may.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sagebrush_core::worker::LaunchError;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::tree::Tree;
use crate::tree::family::Limits;
use crate::tree::proc::Process;
use detect::Found;

pub(crate) use detect::executable;

mod detect;
mod group;
mod leftovers;
mod limits;
mod mounts;
mod namespaces;

/// How many processes and threads a container may have. A fork bomb ends here; no server comes
/// near.
pub(crate) const PROCESSES: usize = 4096;

/// Starts programs, each in a confinement of its own.
pub struct Sandbox {
    /// Holds the home of each running program; what a crash left there goes at the next start.
    run_dir: PathBuf,
    mode: Mode,
    found: OnceCell<Found>,
}

/// How programs are to be kept apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// As well as the machine allows.
    #[default]
    Auto,
    /// In namespaces; where there are none, no program is started.
    Namespaces,
    /// As a process group only.
    Group,
}

/// What is to be run.
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// All of its environment: nothing of ours reaches it but `PATH` and the locale.
    pub environment: BTreeMap<String, String>,
    /// Where it starts; its home if `None`.
    pub directory: Option<PathBuf>,
    /// Its standard input; nothing if `None`.
    pub input: Option<OwnedFd>,
}

/// What a program may see and take.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// Folders and files that it may read, each at its own place.
    pub readable: Vec<PathBuf>,
    /// Folders that it may write to, each at its own place.
    pub writable: Vec<PathBuf>,
    /// What it finds at `/opt/ml/<name>`, to read: `model`, `models`.
    pub ml: Vec<(&'static str, PathBuf)>,
    pub network: bool,
    /// What each process may allocate; no limit if `None`.
    pub memory_bytes: Option<u64>,
    /// How many processes and threads it may have together.
    pub processes: Option<usize>,
}

/// How a program is kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces of its own: `/opt/ml` is its own, the system is read-only, `/tmp` private.
    Namespaces,
    /// As a process group only; says why. `/opt/ml` is a folder named by `SAGEMAKER_BASE_DIR`.
    Group { why: String },
}

impl Isolation {
    /// Its name in `ResolvedImage`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Group { .. } => "group",
        }
    }
}

impl Sandbox {
    /// Starts programs below `run_dir`, which no other process may use. Ends and removes what an
    /// earlier run left there. Blocks.
    ///
    /// # Errors
    /// When `run_dir` cannot be made.
    pub fn open(run_dir: PathBuf) -> io::Result<Self> {
        // Orphans of our programs become our children, so that none gets away.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        std::fs::create_dir_all(&run_dir)?;
        // Programs start elsewhere: a relative path would mean another place to them.
        let run_dir = run_dir.canonicalize()?;
        leftovers::sweep(&run_dir)?;
        Ok(Self { run_dir, mode: Mode::Auto, found: OnceCell::new() })
    }

    /// Keeps programs apart as `mode` says.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, found: OnceCell::new(), ..self }
    }

    /// How programs are kept apart on this machine; tried out once.
    pub async fn isolation(&self) -> Isolation {
        match self.found().await {
            Found::Bubblewrap(_) => Isolation::Namespaces,
            Found::Nothing { why } => Isolation::Group { why: why.clone() },
        }
    }

    /// Says why a program cannot be kept from the network, if it cannot.
    ///
    /// # Errors
    /// When it is to have no network, and only namespaces could see to that.
    pub async fn check_network(&self, network: bool) -> Result<(), LaunchError> {
        match self.found().await {
            Found::Nothing { why } if !network => Err(LaunchError::Permanent {
                reason: format!(
                    "EnableNetworkIsolation needs namespaces, and programs here run without: {why}."
                ),
            }),
            Found::Bubblewrap(_) | Found::Nothing { .. } => Ok(()),
        }
    }

    /// Where a program will find `/opt/ml`, before it is started in `home`.
    pub async fn base_dir(&self, home: &Home) -> PathBuf {
        match self.found().await {
            Found::Bubblewrap(_) => PathBuf::from(mounts::BASE_DIR),
            Found::Nothing { .. } => home.path().join("ml"),
        }
    }

    /// A folder for one program, removed when it is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn home(&self) -> io::Result<Home> {
        Home::make(self.run_dir.join(Uuid::new_v4().simple().to_string()))
    }

    /// Starts `program` in `home`, confined; its output is piped.
    ///
    /// A program in namespaces ends with the thread that starts it: call this from one that lives
    /// on, as those of the async runtime do.
    ///
    /// # Errors
    /// When it cannot be started; says which program.
    pub async fn start(
        &self,
        program: Program,
        confinement: &Confinement,
        home: Home,
    ) -> io::Result<Tree> {
        let path = program.path.clone();
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", path.display()))
        };
        let program = Program { path: executable(&path).map_err(named)?, ..program };
        for (_, target) in &confinement.ml {
            let missing = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", target.display()))
            };
            std::fs::metadata(target).map_err(missing).map_err(named)?;
        }
        mounts::make_folders(&home).map_err(named)?;
        let limits =
            Limits { memory_bytes: confinement.memory_bytes, processes: confinement.processes };
        let (child, kind) = match (self.found().await, self.mode) {
            (Found::Bubblewrap(bubblewrap), _) => {
                namespaces::start(bubblewrap, program, confinement, &home).await
            }
            (Found::Nothing { why }, Mode::Namespaces) => Err(io::Error::other(format!(
                "it may only run in namespaces, which this machine does not give: {why}"
            ))),
            (Found::Nothing { .. }, Mode::Auto | Mode::Group) => {
                group::start(program, confinement, &home)
            }
        }
        .map_err(named)?;
        Tree::hold(child, kind, limits, home).map_err(named)
    }

    async fn found(&self) -> &Found {
        self.found
            .get_or_init(|| async {
                match self.mode {
                    Mode::Auto | Mode::Namespaces => detect::bubblewrap(self).await,
                    Mode::Group => Found::Nothing { why: "it is set so".to_owned() },
                }
            })
            .await
    }
}

/// The folder of one program. It goes when this is dropped.
#[derive(Debug)]
pub struct Home(PathBuf);

impl Home {
    /// Makes the folder, for us alone.
    pub(crate) fn make(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a folder in it.
    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Notes beside it which process runs in it, for a start after a crash of ours.
    pub(crate) fn note(&self, root: &Process) -> io::Result<()> {
        leftovers::note(&self.0, root)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = leftovers::remove(&self.0) {
            tracing::warn!(home = %self.0.display(), %error, "a program's folder stays behind");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
