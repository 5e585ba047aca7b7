//! Stand-ins for the seams, for the tests of this crate.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::access::AllowAll;
use sagebrush_core::alarms::SetAlarms;
use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use sagebrush_core::cloudwatch::{DataQuery, Datapoint, MemoryMetrics, MetricMath};
use sagebrush_core::events::MemoryEvents;
use sagebrush_core::fleet::Fleet;
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::per_model::PerModelHost;
use sagebrush_core::store::MetaStore;
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, ModelHost, Payload, Reply, Resources, Runtime, Timings, Worker,
    WorkerError,
};
use sagebrush_core::{AccountId, Region, SystemClock, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Parts, Watched};

/// A worker that answers with what it is asked.
#[derive(Default)]
pub(crate) struct EchoWorker {
    pub(crate) stopped: AtomicBool,
    /// The status of the error that it answers all with.
    pub(crate) error: Option<u16>,
    /// Why it has ended, once it has.
    pub(crate) end: watch::Sender<Option<String>>,
}

#[async_trait]
impl Worker for EchoWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let reply = |call: Call| {
            if let Some(status) = self.error {
                let message = "deaf".to_owned();
                return Err(WorkerError::Model { status, message, content_type: None });
            }
            let payload = Payload { content_type: None, body: call.payload.body };
            Ok(Reply {
                payload,
                custom_attributes: None,
                session: None,
                timings: Timings::default(),
            })
        };
        calls.into_iter().map(reply).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        2
    }

    async fn ended(&self) -> String {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    fn image(&self) -> Option<String> {
        Some("fake@sha256:1".to_owned())
    }

    async fn stop(&self, _deadline: Instant) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

/// Room for a few calls.
pub(crate) const LIMITS: Limits = Limits { waiting: 16, bytes: 1 << 20 };

pub(crate) fn ready_instance() -> Arc<Instance> {
    Instance::new("i-0".to_owned(), Arc::new(EchoWorker::default()), LIMITS)
}

/// A runtime whose starts fail as `failures` says, by image and in order, and then succeed.
#[derive(Default)]
pub(crate) struct FakeRuntime {
    pub(crate) failures: Mutex<BTreeMap<String, Vec<LaunchError>>>,
    pub(crate) n_launches: AtomicUsize,
    pub(crate) workers: Mutex<Vec<Arc<EchoWorker>>>,
    /// What its hosts of many models were started from.
    pub(crate) hosts: Mutex<Vec<LaunchSpec>>,
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        self.n_launches.fetch_add(1, Ordering::SeqCst);
        let mut failures = self.failures.lock().unwrap();
        let due = failures.get_mut(&spec.image).filter(|due| !due.is_empty());
        if let Some(due) = due {
            return Err(due.remove(0));
        }
        let error = match spec.image.as_str() {
            "fake:deaf" => Some(500),
            "fake:picky" => Some(415),
            _ => None,
        };
        let worker = Arc::new(EchoWorker { error, ..EchoWorker::default() });
        self.workers.lock().unwrap().push(worker.clone());
        Ok(worker)
    }

    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        self.hosts.lock().unwrap().push(spec.clone());
        let models = Arc::new(Self::default());
        Ok(Arc::new(PerModelHost::new(models, spec.clone())))
    }
}

pub(crate) fn launch_spec() -> LaunchSpec {
    LaunchSpec {
        name: "v/i-0".to_owned(),
        image: "fake".to_owned(),
        model: None,
        code: None,
        environment: BTreeMap::new(),
        hostname: "primary".to_owned(),
        network_isolation: false,
        resources: Resources { cpus: 2, memory_bytes: 8 << 30, concurrency: None },
        startup_timeout: Duration::from_secs(240),
        log: Arc::new(MemoryLog::default()),
        log_stream: LogStream { region: "r".into(), group: "g".into(), stream: "s".into() },
    }
}

/// Has every artifact, but those whose URI ends in `missing`.
pub(crate) struct FakeArtifacts;

struct Lease;

impl ArtifactLease for Lease {
    fn dir(&self) -> PathBuf {
        PathBuf::from("model")
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[async_trait]
impl Artifacts for FakeArtifacts {
    async fn fetch(&self, source: &ModelData) -> Result<Arc<dyn ArtifactLease>, ArtifactError> {
        if source.uri().ends_with("missing") {
            return Err(ArtifactError::Missing { uri: source.uri().to_owned() });
        }
        Ok(Arc::new(Lease))
    }

    async fn version(&self, source: &ModelData) -> Result<String, ArtifactError> {
        Ok(source.uri().to_owned())
    }
}

/// Computes nothing.
pub(crate) struct NoMath;

impl MetricMath for NoMath {
    fn check(&self, _: &[DataQuery]) -> Result<(), String> {
        Err("There is nobody who computes.".to_owned())
    }

    fn read(&self, _: &Region, _: &[DataQuery], _: Range<Timestamp>) -> Vec<Datapoint> {
        Vec::new()
    }
}

/// What control stands on, with nothing that measures or watches.
pub(crate) fn parts(store: Arc<dyn MetaStore>, fleet: Arc<dyn Fleet>) -> Parts {
    Parts {
        account: AccountId("123456789012".into()),
        store,
        fleet,
        clock: Arc::new(SystemClock),
        authorizer: Arc::new(AllowAll),
        watched: Watched {
            metrics: Arc::new(MemoryMetrics::default()),
            math: Arc::new(NoMath),
            alarms: Arc::new(SetAlarms::default()),
            events: Arc::new(MemoryEvents::default()),
        },
    }
}
