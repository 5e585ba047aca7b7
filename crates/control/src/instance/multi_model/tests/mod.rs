//! The cache over a fake host. Time stands still unless awaited.

mod fakes;
mod memory;
mod random;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::Region;
use sagebrush_core::fleet::{GroupKey, MultiModel, Owner};
use sagebrush_core::metrics::Registry;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Payload, Worker as _, WorkerError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Meter, Models, MultiModelWorker, Settings};
use crate::testing::launch_spec;
use fakes::{Host, Store, broken};

const SECOND: Duration = Duration::from_secs(1);

struct Container {
    worker: Arc<MultiModelWorker>,
    host: Arc<Host>,
    store: Arc<Store>,
    registry: Registry,
}

impl Container {
    /// A container with room for `bytes`.
    fn with(bytes: u64) -> Self {
        Self::start(&[("SAGEBRUSH_MODEL_CACHE_BYTES", &bytes.to_string())], true, &[])
    }

    fn start(environment: &[(&str, &str)], keeps_models: bool, objects: &[(&str, u64)]) -> Self {
        let (host, store) = (Arc::new(Host::default()), Arc::new(Store::default()));
        for (target, bytes) in objects {
            store.put(target, *bytes);
        }
        let mut spec = launch_spec();
        let pairs = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        spec.environment = pairs.collect::<BTreeMap<_, _>>();
        let settings = Settings::read(&spec, MultiModel { keeps_models }).unwrap();
        let registry = Registry::default();
        let meter = Meter::new(&registry, &group());
        let models = Models::new(store.clone(), "s3://b/models");
        let worker = MultiModelWorker::start(host.clone(), models, settings, meter, spec);
        Self { worker: Arc::new(worker), host, store, registry }
    }

    async fn ask(&self, target: &str) -> Result<String, WorkerError> {
        ask(&self.worker, target, 100 * SECOND).await
    }

    /// The name of the version that answers.
    async fn ok(&self, target: &str) -> String {
        self.ask(target).await.unwrap_or_else(|error| panic!("{target}: {error}"))
    }

    /// A call on a task of its own.
    fn spawn(&self, target: &str) -> JoinHandle<Result<String, WorkerError>> {
        let (worker, target) = (self.worker.clone(), target.to_owned());
        task::spawn("call", async move { ask(&worker, &target, 100 * SECOND).await })
    }

    fn targets(&self) -> Vec<String> {
        let target = |name: &String| name.split(['/', '#']).nth(4).unwrap().to_owned();
        self.host.resident().iter().map(target).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

async fn ask(
    worker: &MultiModelWorker,
    target: &str,
    timeout: Duration,
) -> Result<String, WorkerError> {
    let reply = worker.invoke(vec![call(target, timeout)]).await.remove(0)?;
    Ok(String::from_utf8(reply.payload.body.to_vec()).unwrap())
}

fn call(target: &str, timeout: Duration) -> Call {
    Call {
        payload: Payload::default(),
        accept: None,
        headers: Vec::new(),
        target_model: Some(target.to_owned()),
        target_container: None,
        request_id: "1".into(),
        deadline: Instant::now() + timeout,
    }
}

fn group() -> GroupKey {
    GroupKey {
        owner: Owner::Endpoint,
        region: Region::new("r"),
        name: "e".to_owned(),
        variant: "v".to_owned(),
        revision: "1".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_call_loads_and_the_next_ones_hit() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    for _ in 0..3 {
        assert_eq!(container.ok("a.tar.gz").await, container.store.version_of("a.tar.gz"));
    }
    assert_eq!(container.host.n_loads("a.tar.gz"), 1);
    assert_eq!(container.worker.memory(), 10);
    let count = |name| container.metric(name);
    assert!((count("sagebrush_model_cache_misses_total") - 1.0).abs() < f64::EPSILON);
    assert!((count("sagebrush_model_cache_hits_total") - 2.0).abs() < f64::EPSILON);
    assert!((count("sagebrush_loaded_models") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_model_is_served_fresh_by_the_next_call() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    let first = container.ok("a.tar.gz").await;
    container.store.put("a.tar.gz", 10);
    let second = container.ok("a.tar.gz").await;
    assert_ne!(first, second);
    assert_eq!(second, container.store.version_of("a.tar.gz"));
    tokio::time::sleep(SECOND).await;
    assert_eq!(container.host.resident(), [second].into(), "the old version has gone");
}

#[tokio::test(start_paused = true)]
async fn overwritten_while_it_is_loaded() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.takes("a.tar.gz", SECOND);
    let first = container.spawn("a.tar.gz");
    tokio::time::sleep(SECOND / 2).await;
    container.store.put("a.tar.gz", 10);
    let second = container.ok("a.tar.gz").await;
    assert_eq!(second, container.store.version_of("a.tar.gz"));
    assert!(first.await.unwrap().is_ok(), "it came before the write was done");
    assert_eq!(container.host.faults(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn overwritten_while_it_is_used() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    *container.host.call_time.lock().unwrap() = 10 * SECOND;
    let first = container.spawn("a.tar.gz");
    tokio::time::sleep(SECOND).await;
    let old = container.store.version_of("a.tar.gz");
    container.store.put("a.tar.gz", 10);
    let second = container.spawn("a.tar.gz");
    tokio::time::sleep(SECOND).await;
    assert_eq!(container.host.resident().len(), 2, "the old version is in use");
    assert_eq!(first.await.unwrap().unwrap(), old);
    assert_eq!(second.await.unwrap().unwrap(), container.store.version_of("a.tar.gz"));
    assert_eq!(container.host.resident().len(), 1);
    assert_eq!(container.host.faults(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn overwritten_while_it_is_fetched_and_put_back() {
    let container = Container::with(100);
    container.store.put_version("a.tar.gz", 10, 1);
    *container.store.fetch_time.lock().unwrap() = SECOND;
    let first = container.spawn("a.tar.gz");
    tokio::time::sleep(SECOND / 2).await;
    container.store.put_version("a.tar.gz", 10, 2);
    assert!(first.await.unwrap().unwrap().ends_with("#2"), "what was there when it was fetched");
    container.store.put_version("a.tar.gz", 10, 1);
    assert!(container.ok("a.tar.gz").await.ends_with("#1"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_and_what_is_hostile() {
    let container = Container::with(100);
    container.store.put("folder/weights.bin", 10);
    let missing = container.ask("b.tar.gz").await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "Failed to download model data(bucket: b, key: models/b.tar.gz). Please ensure that there \
         is an object located at the URL and that the role passed to CreateModel has permissions \
         to download the model."
    );
    assert!(matches!(missing, WorkerError::Invalid { .. }));
    let missing = container.ask("c.onnx").await.unwrap_err().to_string();
    assert!(missing.contains("key: models/c.onnx)"), "{missing}");
    let hostile = container.ask("../a.tar.gz").await.unwrap_err();
    assert!(matches!(hostile, WorkerError::Invalid { .. }), "{hostile}");
    assert!(container.ok("folder").await.contains("folder/"));
    assert_eq!(container.host.loads.lock().unwrap().as_slice(), ["folder"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_has_ended_is_loaded_again() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    let name = container.ok("a.tar.gz").await;
    container.host.end(&name);
    tokio::time::sleep(SECOND).await;
    assert!(container.host.resident().is_empty());
    container.ok("a.tar.gz").await;
    assert_eq!(container.host.n_loads("a.tar.gz"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_its_model_gone_is_tried_once_more() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.n_gone.store(1, std::sync::atomic::Ordering::SeqCst);
    container.ok("a.tar.gz").await;
    assert_eq!(container.host.n_loads("a.tar.gz"), 2);
    container.store.put("b.tar.gz", 10);
    container.host.n_gone.store(2, std::sync::atomic::Ordering::SeqCst);
    let error = container.ask("b.tar.gz").await.unwrap_err();
    assert!(matches!(error, WorkerError::Model { status: 500, .. }), "{error}");
    assert_eq!(container.host.n_loads("b.tar.gz"), 2);
    container.ok("b.tar.gz").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_model_is_not_loaded_with_each_call() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    let refusals = vec![broken(), broken()];
    container.host.refusals.lock().unwrap().insert("a.tar.gz".to_owned(), refusals);
    for _ in 0..1000 {
        let error = container.ask("a.tar.gz").await.unwrap_err();
        assert!(error.to_string().contains("a.tar.gz could not be loaded: no model.onnx"));
        tokio::time::sleep(SECOND / 1000).await;
    }
    assert!(container.host.n_loads("a.tar.gz") <= 2);
    tokio::time::sleep(SECOND).await;
    container.host.refusals.lock().unwrap().clear();
    container.ok("a.tar.gz").await;
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_every_model() {
    let container = Container::with(100);
    for target in ["a.tar.gz", "b.tar.gz", "c.tar.gz"] {
        container.store.put(target, 10);
    }
    container.ok("a.tar.gz").await;
    container.ok("b.tar.gz").await;
    container.host.takes("c.tar.gz", 50 * SECOND);
    let loading = container.spawn("c.tar.gz");
    tokio::time::sleep(SECOND).await;
    container.worker.stop(Instant::now() + 30 * SECOND).await;
    assert!(container.host.resident().is_empty());
    assert!(loading.await.unwrap().is_err());
    let after = container.ask("a.tar.gz").await.unwrap_err();
    assert!(matches!(after, WorkerError::Gone { .. }), "{after}");
    assert!(container.metric("sagebrush_loaded_models").abs() < f64::EPSILON);
}
