//! What a launch needs, decided before anything is started.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagebrush_core::fleet::retries_after_death;
use sagebrush_core::worker::{Call, LaunchError, LaunchSpec, Resources};
use tokio::time::Instant;

use super::template::Plan;
use super::{PythonRecipe, PythonShared};
use crate::environment::EnvironmentError;
use crate::sandbox::{Confinement, Home, PROCESSES};

/// SageMaker: a container must respond within 60 seconds. Calls with a later deadline, which were
/// not made at the real-time door, have until then.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Each takes descriptors and memory of ours, too.
const MOST_WORKERS: usize = 512;
const LARGEST_BATCH: usize = 1024;
const LONGEST_DELAY_MS: u64 = 1000;
/// What a worker needs beside its model's files, as a guess before it runs.
const WORKER_BYTES: u64 = 256 << 20;

/// A launch that is ready to go.
pub(super) struct Launch {
    pub(super) plan: Plan,
    pub(super) home: Home,
    pub(super) sandbox: std::sync::Arc<crate::sandbox::Sandbox>,
    pub(super) settings: Settings,
    /// For `ResolvedImage`.
    pub(super) image: String,
}

/// What the container's environment says about its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) n_workers: usize,
    /// How many there may be while calls wait.
    pub(super) most_workers: usize,
    pub(super) call_timeout: CallTimeout,
    /// How many calls may go to a worker together, if that is given.
    pub(super) max_batch: Option<usize>,
    pub(super) max_batch_delay: Duration,
    /// Whether the code may get a call twice.
    pub(super) retries_after_death: bool,
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallTimeout {
    /// What the container's environment says, whatever the call's own deadline.
    Given(Duration),
    /// SageMaker's, or the call's own if that is longer.
    Usual,
}

impl CallTimeout {
    /// The longest that a part of a streamed reply may take.
    pub(super) fn of_a_part(self) -> Duration {
        match self {
            Self::Given(timeout) => timeout,
            Self::Usual => CALL_TIMEOUT,
        }
    }

    /// The longest that one of `calls` may take from `now` on.
    pub(super) fn of(self, calls: &[Call], now: Instant) -> Duration {
        match self {
            Self::Given(timeout) => timeout,
            Self::Usual => {
                let last = calls.iter().map(|call| call.deadline).max().unwrap_or(now);
                last.saturating_duration_since(now).max(CALL_TIMEOUT)
            }
        }
    }
}

impl Launch {
    /// Finds the interpreter and has the model's requirements installed. `models` is the folder
    /// of a host of many models.
    pub(super) async fn prepare(
        shared: &PythonShared,
        recipe: &PythonRecipe,
        spec: &LaunchSpec,
        models: Option<&Path>,
    ) -> Result<Self, LaunchError> {
        let io = |error: std::io::Error| LaunchError::Transient {
            reason: format!("The container's folder cannot be made: {error}"),
        };
        // What this machine offers is tried out at the first launch: both at once, then.
        let (allowed, interpreter) = tokio::join!(
            shared.sandbox.check_network(!spec.network_isolation),
            shared.environments.interpreter(&recipe.interpreter),
        );
        allowed?;
        let memory = memory_bytes(&spec.environment, spec.resources)?;
        let settings = settings(&spec.environment, spec.resources, memory, model_bytes(spec))?;
        let interpreter = interpreter.map_err(permanent)?;
        let (model, code) = (spec.model.as_ref(), spec.code.as_ref());
        let (model, code) = (model.map(|lease| lease.dir()), code.map(|lease| lease.dir()));
        let requirements = requirements(code.as_deref(), model.as_deref());
        let say = |line: &str| spec.log.write(&spec.log_stream, line);
        let packages = recipe.packages.as_slice();
        let installed =
            shared.environments.install(&interpreter, requirements.as_deref(), packages, &say);
        let installed = installed.await.map_err(permanent)?;
        let home = shared.sandbox.home().map_err(io)?;
        let base = shared.sandbox.base_dir(&home).await;
        let mut paths = vec![shared.package.clone()];
        paths.extend(installed);
        let mut readable = interpreter.readable.clone();
        readable.extend(paths.iter().cloned());
        readable.extend(code.clone());
        let confinement = Confinement {
            readable,
            ml: ml(model.as_deref(), models),
            network: !spec.network_isolation,
            memory_bytes: Some(memory),
            processes: Some(PROCESSES),
            ..Confinement::default()
        };
        let mut environment = environment(recipe, spec, &base, &home, settings.n_workers);
        if models.is_some() {
            environment.insert("SAGEMAKER_MULTI_MODEL".to_owned(), "true".to_owned());
        }
        let plan = Plan {
            interpreter: interpreter.path.clone(),
            environment,
            confinement,
            framework: recipe.framework.clone(),
            model_dir: model.map(|_| base.join("model")),
            submit_dir: code,
            paths,
        };
        let isolation = shared.sandbox.isolation().await;
        let isolation = isolation.name();
        let image = format!(
            "python@{};framework={};isolation={isolation}",
            interpreter.version, recipe.framework
        );
        Ok(Self { plan, home, sandbox: shared.sandbox.clone(), settings, image })
    }
}

fn ml(model: Option<&Path>, models: Option<&Path>) -> Vec<(&'static str, PathBuf)> {
    let model = model.map(|dir| ("model", dir.to_owned()));
    let models = models.map(|dir| ("models", dir.to_owned()));
    model.into_iter().chain(models).collect()
}

/// The model's `requirements.txt`: beside its code, wherever that is.
pub(super) fn requirements(code: Option<&Path>, model: Option<&Path>) -> Option<PathBuf> {
    let beside = code.map(|dir| dir.join("requirements.txt"));
    let inside = model.map(|dir| dir.join("code/requirements.txt"));
    beside.into_iter().chain(inside).find(|path| path.is_file())
}

/// What the workers find in their environment; the container's own says the last word.
fn environment(
    recipe: &PythonRecipe,
    spec: &LaunchSpec,
    base: &Path,
    home: &Home,
    n_workers: usize,
) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let threads = (spec.resources.cpus.min(cores()) / n_workers).max(1).to_string();
    let mut environment: BTreeMap<String, String> = [
        ("HOME", text(home.path())),
        ("LANG", "C.UTF-8".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        // Workers share the cores: more threads than cores only wait for each other.
        ("OMP_NUM_THREADS", threads),
        ("SAGEMAKER_BASE_DIR", text(base)),
        ("SM_MODEL_DIR", text(&base.join("model"))),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", n_workers.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    environment.extend(recipe.environment.clone());
    environment.extend(spec.environment.clone());
    environment
}

fn settings(
    environment: &BTreeMap<String, String>,
    resources: Resources,
    memory: u64,
    model_bytes: u64,
) -> Result<Settings, LaunchError> {
    let given: Option<usize> = number(environment, "SAGEMAKER_MODEL_SERVER_WORKERS")?;
    let n_workers = match given {
        Some(0) | None => {
            let by_memory = memory / WORKER_BYTES.saturating_add(model_bytes.saturating_mul(2));
            let by_memory = usize::try_from(by_memory).unwrap_or(usize::MAX);
            resources.cpus.min(cores()).min(by_memory).max(1)
        }
        Some(n) if n > MOST_WORKERS => {
            let reason = format!(
                "The container's environment has SAGEMAKER_MODEL_SERVER_WORKERS={n}; at most \
                 {MOST_WORKERS} are allowed."
            );
            return Err(LaunchError::Permanent { reason });
        }
        Some(n) => n,
    };
    let (n_workers, most_workers) = match resources.concurrency {
        None => (n_workers, n_workers),
        // A serverless variant has a worker for each call, and begins with those that stay.
        Some(calls) => (calls.warm.max(1), calls.most.max(calls.warm).max(1)),
    };
    // Both are seconds here; multi-model-server takes the first for minutes.
    let seconds: Option<f64> = match number(environment, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS")?
    {
        Some(seconds) => Some(seconds),
        None => number(environment, "SAGEMAKER_MODEL_SERVER_TIMEOUT")?,
    };
    let given = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let given = given.filter(|timeout| !timeout.is_zero());
    let call_timeout = given.map_or(CallTimeout::Usual, CallTimeout::Given);
    let max_batch = within(environment, "SAGEBRUSH_MAX_BATCH_SIZE", 1..=LARGEST_BATCH)?;
    let delay = within(environment, "SAGEBRUSH_MAX_BATCH_DELAY_MS", 0..=LONGEST_DELAY_MS)?;
    let max_batch_delay = Duration::from_millis(delay.unwrap_or(0));
    let retries_after_death =
        retries_after_death(environment).map_err(|reason| LaunchError::Permanent { reason })?;
    Ok(Settings {
        n_workers,
        most_workers,
        call_timeout,
        max_batch,
        max_batch_delay,
        retries_after_death,
    })
}

/// A number that must be in `range`, if it is given.
fn within<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
    environment: &BTreeMap<String, String>,
    name: &str,
    range: RangeInclusive<T>,
) -> Result<Option<T>, LaunchError> {
    let given = number(environment, name)?;
    if let Some(n) = given.as_ref().filter(|n| !range.contains(n)) {
        let (least, most) = range.into_inner();
        let reason = format!(
            "The container's environment has {name}={n}; it must be from {least} to {most}."
        );
        return Err(LaunchError::Permanent { reason });
    }
    Ok(given)
}

/// What each process may allocate: all that the instance type has, unless told otherwise.
fn memory_bytes(
    environment: &BTreeMap<String, String>,
    resources: Resources,
) -> Result<u64, LaunchError> {
    Ok(number(environment, "SAGEBRUSH_WORKER_MEMORY_BYTES")?.unwrap_or(resources.memory_bytes))
}

fn model_bytes(spec: &LaunchSpec) -> u64 {
    spec.model.as_ref().map_or(0, |lease| lease.bytes())
}

fn number<T: std::str::FromStr>(
    environment: &BTreeMap<String, String>,
    name: &str,
) -> Result<Option<T>, LaunchError> {
    let Some(text) = environment.get(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let reason = format!("The container's environment has {name}={text}, which is no number.");
    text.parse().map(Some).map_err(|_| LaunchError::Permanent { reason })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn permanent(error: EnvironmentError) -> LaunchError {
    LaunchError::Permanent { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sagebrush_core::worker::{Call, Payload};
    use tokio::time::Instant;

    use super::CallTimeout;

    fn check(timeout: CallTimeout, deadlines: &[u64], want: u64) {
        let now = Instant::now();
        let call = |seconds: &u64| Call {
            payload: Payload::default(),
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "r".into(),
            deadline: now + Duration::from_secs(*seconds),
        };
        let calls: Vec<_> = deadlines.iter().map(call).collect();
        assert_eq!(timeout.of(&calls, now), Duration::from_secs(want), "{timeout:?} {deadlines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_calls_own_time_counts_if_it_is_longer_and_none_is_given() {
        check(CallTimeout::Usual, &[5], 60);
        check(CallTimeout::Usual, &[5, 900], 900);
        check(CallTimeout::Given(Duration::from_secs(2)), &[900], 2);
        check(CallTimeout::Given(Duration::from_secs(100)), &[5], 100);
    }
}
