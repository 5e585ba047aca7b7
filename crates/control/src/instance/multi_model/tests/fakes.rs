//! An object store and a host in memory, which see that their contracts are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use sagebrush_core::worker::{
    Call, LaunchError, LoadError, ModelHost, ModelSpec, Payload, Reply, Timings, Usage, Worker,
    WorkerError,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Objects by URI, each with its size and its version.
#[derive(Default)]
pub(super) struct Store {
    objects: Mutex<BTreeMap<String, (u64, u64)>>,
    pub(super) fetch_time: Mutex<Duration>,
}

impl Store {
    pub(super) fn put(&self, target: &str, bytes: u64) {
        let n = self.objects.lock().unwrap().values().map(|(_, n)| *n).max().unwrap_or(0) + 1;
        self.put_version(target, bytes, n);
    }

    pub(super) fn put_version(&self, target: &str, bytes: u64, n: u64) {
        let uri = format!("s3://b/models/{target}");
        self.objects.lock().unwrap().insert(uri, (bytes, n));
    }

    /// The name of the newest version of a target.
    pub(super) fn version_of(&self, target: &str) -> String {
        let uri = format!("s3://b/models/{target}");
        self.look(&ModelData::File { uri }).unwrap().0
    }

    fn look(&self, source: &ModelData) -> Result<(String, u64), ArtifactError> {
        let objects = self.objects.lock().unwrap();
        let uri = source.uri().to_owned();
        let found = objects.iter().find(|(key, _)| match source {
            ModelData::Archive { uri } | ModelData::File { uri } => *key == uri,
            ModelData::Prefix { uri } => key.starts_with(uri),
        });
        let (_, (bytes, n)) = found.ok_or_else(|| ArtifactError::Missing { uri: uri.clone() })?;
        Ok((format!("{uri}#{n}"), *bytes))
    }
}

#[async_trait]
impl Artifacts for Store {
    async fn fetch(&self, source: &ModelData) -> Result<Arc<dyn ArtifactLease>, ArtifactError> {
        let time = *self.fetch_time.lock().unwrap();
        sleep(time).await;
        let (version, bytes) = self.look(source)?;
        Ok(Arc::new(Files { version, bytes }))
    }

    async fn version(&self, source: &ModelData) -> Result<String, ArtifactError> {
        Ok(self.look(source)?.0)
    }
}

struct Files {
    version: String,
    bytes: u64,
}

impl ArtifactLease for Files {
    fn dir(&self) -> PathBuf {
        PathBuf::from(&self.version)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Loads models that answer with the version of their files.
#[derive(Default)]
pub(super) struct Host {
    pub(super) load_time: Mutex<BTreeMap<String, Duration>>,
    pub(super) call_time: Arc<Mutex<Duration>>,
    pub(super) unload_time: Mutex<Duration>,
    /// By target, what its next loads come to.
    pub(super) refusals: Mutex<BTreeMap<String, Vec<LoadError>>>,
    /// Beyond so many bytes there is no room.
    pub(super) capacity: Mutex<Option<u64>>,
    /// The next so many calls find their model gone.
    pub(super) n_gone: AtomicUsize,
    pub(super) loads: Mutex<Vec<String>>,
    memory: Arc<Memory>,
}

#[derive(Default)]
struct Memory {
    models: Mutex<BTreeMap<String, Arc<Model>>>,
    loading: Mutex<BTreeSet<String>>,
    faults: Mutex<Vec<String>>,
    peak: Mutex<u64>,
}

pub(super) struct Model {
    spec: ModelSpec,
    call_time: Arc<Mutex<Duration>>,
    unload_time: Duration,
    n_under_way: AtomicUsize,
    n_calls: AtomicUsize,
    is_gone: bool,
    end: watch::Sender<bool>,
    memory: Arc<Memory>,
}

impl Host {
    pub(super) fn takes(&self, target: &str, time: Duration) {
        self.load_time.lock().unwrap().insert(target.to_owned(), time);
    }

    pub(super) fn n_loads(&self, target: &str) -> usize {
        self.loads.lock().unwrap().iter().filter(|loaded| *loaded == target).count()
    }

    /// The names of the models in memory.
    pub(super) fn resident(&self) -> BTreeSet<String> {
        self.memory.models().keys().cloned().collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    pub(super) fn peak(&self) -> u64 {
        *self.memory.peak.lock().unwrap()
    }

    /// What went against the contract of a host.
    pub(super) fn faults(&self) -> Vec<String> {
        self.memory.faults.lock().unwrap().clone()
    }

    /// Ends a model as a crash would.
    pub(super) fn end(&self, name: &str) {
        self.memory.models().get(name).unwrap().end.send_replace(true);
    }

    fn refusal(&self, model: &ModelSpec) -> Option<LoadError> {
        let mut refusals = self.refusals.lock().unwrap();
        let due = refusals.get_mut(&model.target).filter(|due| !due.is_empty());
        if let Some(due) = due {
            return Some(due.remove(0));
        }
        let capacity = (*self.capacity.lock().unwrap())?;
        (self.bytes() + model.files.bytes() > capacity).then_some(LoadError::NoRoom)
    }
}

impl Memory {
    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Model>>> {
        self.models.lock().unwrap()
    }

    fn bytes(&self) -> u64 {
        self.models().values().map(|model| model.spec.files.bytes()).sum()
    }

    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }
}

#[async_trait]
impl ModelHost for Host {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let is_there = self.memory.models().contains_key(&model.name);
        if is_there || !self.memory.loading.lock().unwrap().insert(model.name.clone()) {
            self.memory.fault(format!("{} is loaded twice", model.name));
        }
        self.loads.lock().unwrap().push(model.target.clone());
        let time = self.load_time.lock().unwrap().get(&model.target).copied();
        sleep(time.unwrap_or_default()).await;
        self.memory.loading.lock().unwrap().remove(&model.name);
        if let Some(refusal) = self.refusal(model) {
            return Err(refusal);
        }
        let is_gone = self
            .n_gone
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok();
        let loaded = Arc::new(Model {
            spec: model.clone(),
            call_time: self.call_time.clone(),
            unload_time: *self.unload_time.lock().unwrap(),
            n_under_way: AtomicUsize::new(0),
            n_calls: AtomicUsize::new(0),
            is_gone,
            end: watch::Sender::new(false),
            memory: self.memory.clone(),
        });
        self.memory.models().insert(model.name.clone(), loaded.clone());
        let bytes = self.memory.bytes();
        let mut peak = self.memory.peak.lock().unwrap();
        *peak = bytes.max(*peak);
        Ok(loaded)
    }

    async fn stop(&self, deadline: Instant) {
        let models: Vec<_> = self.memory.models().values().cloned().collect();
        for model in models {
            model.stop(deadline).await;
        }
    }
}

#[async_trait]
impl Worker for Model {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        if self.is_gone {
            let gone = || WorkerError::Gone { reason: "exit 1".to_owned() };
            return calls.iter().map(|_| Err(gone())).collect();
        }
        self.n_under_way.fetch_add(1, Ordering::SeqCst);
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        let time = *self.call_time.lock().unwrap();
        sleep(time).await;
        if !self.memory.models().contains_key(&self.spec.name) {
            self.memory.fault(format!("{} answers, but is not in memory", self.spec.name));
        }
        self.n_under_way.fetch_sub(1, Ordering::SeqCst);
        let body = Bytes::from(self.spec.files.dir().display().to_string());
        let payload = Payload { content_type: None, body };
        let reply =
            Reply { payload, custom_attributes: None, session: None, timings: Timings::default() };
        calls.iter().map(|_| Ok(reply.clone())).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        4
    }

    fn memory(&self) -> u64 {
        self.spec.files.bytes()
    }

    /// A second for each call.
    fn usage(&self) -> Option<Usage> {
        let n_calls = u64::try_from(self.n_calls.load(Ordering::SeqCst)).unwrap();
        Some(Usage { cpu: Duration::from_secs(n_calls), memory_bytes: self.memory() })
    }

    async fn ended(&self) -> String {
        let mut end = self.end.subscribe();
        drop(end.wait_for(|end| *end).await);
        "exit 137".to_owned()
    }

    async fn stop(&self, _deadline: Instant) {
        if self.n_under_way.load(Ordering::SeqCst) > 0 {
            self.memory.fault(format!("{} is stopped in use", self.spec.name));
        }
        sleep(self.unload_time).await;
        self.memory.models().remove(&self.spec.name);
    }
}

pub(super) fn broken() -> LoadError {
    LoadError::Launch(LaunchError::Permanent { reason: "no model.onnx".to_owned() })
}
