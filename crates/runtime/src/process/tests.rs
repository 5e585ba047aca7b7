//! Programs as users bring them: a Python server plays them all.

mod calls;
mod hosts;
mod lives;
mod starts;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sagebrush_core::logs::MemoryLog;
use sagebrush_core::worker::{LaunchError, LaunchSpec, Runtime as _, Worker};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{ProcessRecipe, ProcessRuntime};
use crate::contract::testing::spec;
use crate::sandbox::Sandbox;

/// A runtime in a folder of its own, with the recipe of the Python server.
struct Bench {
    dir: TempDir,
    sandbox: Arc<Sandbox>,
    runtime: ProcessRuntime,
    spec: LaunchSpec,
    log: Arc<MemoryLog>,
}

impl Bench {
    /// The server gets these arguments.
    fn new(arguments: &[&str]) -> Self {
        Self::with(arguments, |_recipe| {})
    }

    fn with(arguments: &[&str], change: impl FnOnce(&mut ProcessRecipe)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("server.py");
        fs::write(&script, include_str!("tests/server.py")).unwrap();
        let mut command = vec![text(python()), text(script)];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut recipe = ProcessRecipe {
            command: Some(command),
            // The interpreter of the script that comes with a model is not seen from outside.
            readable: vec![
                dir.path().join("server.py"),
                python().ancestors().nth(2).unwrap().into(),
            ],
            grace: Duration::from_secs(10),
            ..ProcessRecipe::default()
        };
        change(&mut recipe);
        let sandbox = Arc::new(Sandbox::open(dir.path().join("run")).unwrap());
        let log = Arc::new(MemoryLog::default());
        let (runtime, spec) = (ProcessRuntime::new(sandbox.clone(), recipe), spec("app", &log));
        Self { dir, sandbox, runtime, spec, log }
    }

    async fn launch(&self) -> Arc<dyn Worker> {
        self.runtime.launch(&self.spec).await.unwrap()
    }

    async fn failure(&self) -> LaunchError {
        match self.runtime.launch(&self.spec).await {
            Ok(_worker) => panic!("it was launched"),
            Err(error) => error,
        }
    }

    /// How many homes are left.
    fn homes(&self) -> usize {
        let homes = fs::read_dir(self.dir.path().join("run")).unwrap().flatten();
        homes.filter(|home| home.path().is_dir()).count()
    }
}

/// The interpreter itself: on the `PATH` there may be a script that looks for it.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let code = "import os, sys; print(os.path.realpath(sys.executable), end='')";
        let found = Command::new("python3").args(["-c", code]).output().unwrap();
        PathBuf::from(String::from_utf8(found.stdout).unwrap())
    };
    PYTHON.get_or_init(find).clone()
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

/// The most that a stop in a test may take.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(10)
}
