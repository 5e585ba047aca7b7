//! Launches workers in process. The first launch opens ONNX Runtime; the start of the server
//! does not wait for it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use ort::environment::Environment;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::per_model::PerModelHost;
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, LaunchSpec, ModelHost, Runtime, Worker};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::batching::Asked;
use crate::cache::Cache;
use crate::graphs::Graphs;
use crate::library::{self, LoadError};
use crate::model::{Model, Options, cpu_time};
use crate::pool::Pool;
use crate::predict::{Journal, Served};
use crate::rows::{self, Rows};
use crate::worker::OnnxWorker;

/// Threads that one run of a model may use; a variable of the container's environment.
pub const INTRA_OP_THREADS: &str = "SAGEBRUSH_INTRA_OP_THREADS";

/// Serves ONNX models in process. Clones share everything.
#[derive(Clone)]
pub struct OnnxRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    library: PathBuf,
    settings: Settings,
    started: OnceCell<Started>,
    cache: Arc<Cache>,
    graphs: Option<Arc<Graphs>>,
}

/// What holds for all models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Calls that compute at once, over all models; one a core by default.
    pub compute_threads: usize,
    /// Threads within one run, unless the model's environment says otherwise. One by default:
    /// with small models more threads a run cost more than they gain.
    pub intra_op_threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let n_cores = thread::available_parallelism().map_or(1, usize::from);
        Self { compute_threads: n_cores, intra_op_threads: 1 }
    }
}

struct Started {
    environment: Environment,
    pool: Arc<Pool>,
}

impl OnnxRuntime {
    /// Opens nothing yet: `library` is loaded at the first launch.
    #[must_use]
    pub fn new(library: PathBuf, settings: Settings) -> Self {
        Self::with(library, settings, None)
    }

    /// Keeps optimized graphs of serverless variants' models in `dir`, for their next starts.
    ///
    /// # Errors
    /// When `dir` cannot be used.
    pub fn keeping_graphs(library: PathBuf, settings: Settings, dir: PathBuf) -> io::Result<Self> {
        Ok(Self::with(library, settings, Some(Arc::new(Graphs::open(dir)?))))
    }

    fn with(library: PathBuf, settings: Settings, graphs: Option<Arc<Graphs>>) -> Self {
        let (started, cache) = (OnceCell::new(), Arc::default());
        Self { shared: Arc::new(Shared { library, settings, started, cache, graphs }) }
    }

    /// Opens ONNX Runtime's library now, to see that it is there and fits.
    ///
    /// # Errors
    /// When it is missing, too old or for another machine; says what to do.
    pub async fn load(&self) -> Result<(), LoadError> {
        self.started().await.map(|_| ())
    }

    async fn started(&self) -> Result<&Started, LoadError> {
        let start = || async {
            let Shared { library, settings, .. } = &*self.shared;
            let (path, n_threads) = (library.clone(), settings.compute_threads);
            let refused = {
                let path = path.clone();
                move |reason: String| LoadError::Refused { path, reason }
            };
            let opened = task::blocking(move || library::open(&path));
            let environment = opened.await.map_err(|error| refused(error.to_string()))??;
            let pool = Pool::start(n_threads).map_err(LoadError::Threads)?;
            Ok(Started { environment, pool: Arc::new(pool) })
        };
        self.shared.started.get_or_try_init(start).await
    }

    fn options(&self, environment: &BTreeMap<String, String>) -> Result<Options, LaunchError> {
        let Some(text) = environment.get(INTRA_OP_THREADS) else {
            return Ok(Options { intra_op_threads: self.shared.settings.intra_op_threads });
        };
        match text.parse() {
            Ok(intra_op_threads @ 1..=64) => Ok(Options { intra_op_threads }),
            _ => Err(permanent(format!(
                "The environment variable {INTRA_OP_THREADS} must be a number from 1 to 64, not \
                 {text:?}."
            ))),
        }
    }
}

#[async_trait]
impl Runtime for OnnxRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        let Some(lease) = spec.model.clone() else {
            return Err(permanent("The model names no ModelDataUrl; an ONNX model needs one."));
        };
        check_memory(spec, &*lease)?;
        let options = self.options(&spec.environment)?;
        let asked = Asked::of(&spec.environment)?;
        let started = self.started().await.map_err(transient)?;
        let began = Instant::now();
        let journal = Journal { sink: Arc::clone(&spec.log), stream: spec.log_stream.clone() };
        let cache = Arc::clone(&self.shared.cache);
        let graphs = self.shared.graphs.clone().filter(|_| spec.resources.concurrency.is_some());
        let load = Load { cache, environment: started.environment.clone(), lease, options, graphs };
        let load = load.run(asked, journal);
        let served = timeout(spec.startup_timeout, load).await.map_err(|_| {
            let limit = spec.startup_timeout.as_secs_f64();
            transient(format!("The model did not load within {limit} s."))
        })??;
        announce(spec, &served, began);
        Ok(Arc::new(OnnxWorker::new(served, Arc::clone(&started.pool))))
    }

    /// Models share the compute threads and nothing else: each is a launch of its own.
    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        self.options(&spec.environment)?;
        Asked::of(&spec.environment)?;
        self.started().await.map_err(transient)?;
        Ok(Arc::new(PerModelHost::new(Arc::new(self.clone()), spec.clone())))
    }
}

/// What a model is loaded with.
struct Load {
    cache: Arc<Cache>,
    environment: Environment,
    lease: Arc<dyn ArtifactLease>,
    options: Options,
    graphs: Option<Arc<Graphs>>,
}

impl Load {
    /// Loads the model and runs it once, which is the worker's first ping.
    async fn run(self, asked: Asked, journal: Journal) -> Result<Served, LaunchError> {
        let loaded = task::blocking(move || self.run_here(asked, journal)).await;
        loaded.map_err(|_| permanent("ONNX Runtime crashed while it loaded the model."))?
    }

    fn run_here(self, asked: Asked, journal: Journal) -> Result<Served, LaunchError> {
        let Self { cache, environment, lease, options, graphs } = self;
        let before = cpu_time();
        let model = cache.load(&environment, &lease.dir(), options, graphs.as_deref());
        let model = model.map_err(permanent)?;
        let took = cpu_time().saturating_sub(before);
        let warm_up = model.warm_up().unwrap_or_else(|error| {
            tracing::debug!(%error, "a model failed on zeros"); // It may well take other values.
            None
        });
        let is_quick = warm_up.is_some_and(|run| rows::is_quick(took, run));
        let look = |model: &Model| {
            let look = || if is_quick { rows::look(model) } else { Rows::Unknown };
            model.rows.get_or_init(look).clone()
        };
        Served::new(model, lease, asked, journal, look).map_err(permanent)
    }
}

/// Models share this process, so a serverless one is held to its memory before it takes any.
fn check_memory(spec: &LaunchSpec, lease: &dyn ArtifactLease) -> Result<(), LaunchError> {
    let (bytes, most) = (lease.bytes(), spec.resources.memory_bytes);
    if spec.resources.concurrency.is_none() || bytes <= most {
        return Ok(());
    }
    Err(permanent(format!(
        "The model's files have {} MB, which is more memory than the MemorySizeInMB of its \
         ServerlessConfig: {}.",
        bytes >> 20,
        most >> 20
    )))
}

fn announce(spec: &LaunchSpec, served: &Served, began: Instant) {
    let list = |ports: &[crate::port::Port]| {
        ports.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let model = &served.model;
    let line = format!(
        "loaded ONNX model {} in {} ms; inputs: {}; outputs: {}",
        model.name,
        began.elapsed().as_millis(),
        list(&model.inputs),
        list(&model.outputs)
    );
    spec.log.write(&spec.log_stream, &line);
}

fn permanent(reason: impl ToString) -> LaunchError {
    LaunchError::Permanent { reason: reason.to_string() }
}

fn transient(reason: impl ToString) -> LaunchError {
    LaunchError::Transient { reason: reason.to_string() }
}
