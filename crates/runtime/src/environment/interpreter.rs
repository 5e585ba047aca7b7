//! What an interpreter is, and which modules it has, as it says itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{EnvironmentError, Interpreter, Package};
use crate::sandbox::executable;

/// The oldest version whose syntax and library our own Python code may use.
const OLDEST: (u32, u32) = (3, 9);
/// A cold disk may take seconds; a program that is no Python may wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// `sys.executable` is the real one even if a script of pyenv was asked. `sys.path` holds what
/// `.pth` files added, such as the packages of the environment below a virtual one.
const WHAT: &str = "\
import json, os, site, sys, sysconfig
folders = set(sys.path[1:]) | set(sysconfig.get_paths().values())
for name in ('prefix', 'base_prefix', 'exec_prefix', 'base_exec_prefix'):
    folders.add(getattr(sys, name, None))
if hasattr(site, 'getsitepackages'):
    folders.update(site.getsitepackages() + [site.getusersitepackages()])
folders.add(os.path.dirname(os.path.realpath(sys.executable)))
print(json.dumps({'path': sys.executable, 'version': '.'.join(map(str, sys.version_info[:3])),
    'readable': sorted(f for f in folders if f and os.path.isabs(f) and os.path.exists(f))}))
";

/// Without the folder that it is asked in and, as where models run, without the user's packages.
const MISSING: &str = "\
import importlib.util, json, sys
sys.path = sys.path[1:]
def has(module):
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:
        return False
print(json.dumps([module for module in sys.argv[1:] if not has(module)]))
";

/// A program at one moment: its path, when it was changed and how long it is.
type Identity = (PathBuf, Option<SystemTime>, u64);

/// Which of these modules does an interpreter not have?
type Question = (Identity, Vec<String>);

/// What was found out before.
#[derive(Default)]
pub(super) struct Interpreters {
    found: Mutex<HashMap<Identity, Arc<Interpreter>>>,
    missing: Mutex<HashMap<Question, Vec<String>>>,
}

impl Interpreters {
    pub(super) async fn find(&self, program: &str) -> Result<Arc<Interpreter>, EnvironmentError> {
        let unusable =
            |reason: String| EnvironmentError::Interpreter { path: program.to_owned(), reason };
        let path = executable(Path::new(program)).map_err(|error| unusable(error.to_string()))?;
        let identity = identity(path);
        // Held while it is asked: those that come meanwhile wait for the answer.
        let mut found = self.found.lock().await;
        if let Some(found) = found.get(&identity) {
            return Ok(found.clone());
        }
        let mut interpreter: Interpreter =
            ask(&identity.0, &["-c", WHAT]).await.map_err(unusable)?;
        if version(&interpreter.version) < OLDEST {
            let (major, minor) = OLDEST;
            let old = &interpreter.version;
            let reason = format!("it is Python {old}, and {major}.{minor} or newer is needed");
            return Err(unusable(reason));
        }
        interpreter.readable = outermost(interpreter.readable);
        let interpreter = Arc::new(interpreter);
        found.insert(identity, interpreter.clone());
        Ok(interpreter)
    }

    /// The packages whose module the interpreter does not have.
    pub(super) async fn missing(
        &self,
        interpreter: &Interpreter,
        packages: &[Package],
    ) -> Result<Vec<Package>, EnvironmentError> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        let mut modules: Vec<String> =
            packages.iter().map(|package| package.module.clone()).collect();
        modules.sort();
        modules.dedup();
        let identity = identity(interpreter.path.clone());
        let key = (identity, modules);
        let mut answers = self.missing.lock().await;
        if !answers.contains_key(&key) {
            let arguments =
                ["-s", "-c", MISSING].into_iter().chain(key.1.iter().map(String::as_str));
            let arguments: Vec<&str> = arguments.collect();
            let path = interpreter.path.display().to_string();
            let answer = ask(&interpreter.path, &arguments).await;
            let answer: Vec<String> =
                answer.map_err(|reason| EnvironmentError::Interpreter { path, reason })?;
            answers.insert(key.clone(), answer);
        }
        let missing = answers.get(&key).cloned().unwrap_or_default();
        let is_missing = |package: &&Package| missing.contains(&package.module);
        Ok(packages.iter().filter(is_missing).cloned().collect())
    }
}

/// Runs Python code that prints JSON.
async fn ask<T: DeserializeOwned>(python: &Path, arguments: &[&str]) -> Result<T, String> {
    let mut command = Command::new(python);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Models run without them, too.
    for name in ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH"] {
        command.env_remove(name);
    }
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| "it does not answer".to_owned())?;
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason");
        return Err(format!("it failed with: {}", last.trim().trim_end_matches('.')));
    }
    // Start-up code of the machine may have printed before it.
    let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    serde_json::from_slice(last.unwrap_or_default()).map_err(|_| "it is no Python".to_owned())
}

fn identity(path: PathBuf) -> Identity {
    let about = std::fs::metadata(&path).ok();
    let changed = about.as_ref().and_then(|about| about.modified().ok());
    (path, changed, about.map_or(0, |about| about.len()))
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Without those that are inside others. `folders` is sorted.
fn outermost(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let is_inside = kept.iter().any(|outer| folder.starts_with(outer));
        if !is_inside && folder != Path::new("/") {
            kept.push(folder);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{outermost, version};

    #[test]
    fn versions_compare_by_number() {
        assert!(version("3.10.1") > version("3.9.18"));
        assert_eq!(version("3.11.0rc1"), (3, 11));
        assert_eq!(version("x"), (0, 0));
    }

    #[test]
    fn inner_folders_come_with_outer_ones() {
        let folders = ["/", "/a", "/a/b", "/ab", "/c/d"].map(PathBuf::from).to_vec();
        assert_eq!(outermost(folders), ["/a", "/ab", "/c/d"].map(PathBuf::from));
    }
}
