//! Inference experiments: their ways with the operations, and through kills.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::store::{MetaStore, Page, Query, Record, RecordId, StoreError};
use sagebrush_core::{Region, Timestamp};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Platform, endpoint};

/// After so long the reconcilers have looked by themselves.
const LOOK: Duration = Duration::from_secs(11);
const NOW: i64 = 1_700_000_000_000;
/// The same in seconds, as it is on the wire.
const SECONDS: f64 = 1_700_000_000.0;

/// Lets so many more writes through, and fails everything after them: the end of a process.
struct Cut {
    inner: Arc<MemoryStore>,
    writes_left: AtomicUsize,
}

impl Cut {
    fn check(&self) -> Result<(), StoreError> {
        match self.writes_left.load(Ordering::SeqCst) {
            0 => Err(StoreError::Io(io::Error::other("the process is dead"))),
            _ => Ok(()),
        }
    }

    fn count(&self) -> Result<(), StoreError> {
        self.check()?;
        self.writes_left.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl MetaStore for Cut {
    async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        self.check()?;
        self.inner.get(id).await
    }

    async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError> {
        self.count()?;
        self.inner.put(record, expected).await
    }

    async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        self.count()?;
        self.inner.remove(id, expected).await
    }

    async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
        self.check()?;
        self.inner.list(kind, query).await
    }
}

/// A platform whose clock and store outlive it.
struct Stage {
    clock: Arc<FakeClock>,
    store: Arc<Cut>,
    platform: Platform,
}

impl Stage {
    /// Dies after so many writes.
    fn set(clock: Arc<FakeClock>, inner: Arc<MemoryStore>, n_writes: usize) -> Self {
        let store = Arc::new(Cut { inner, writes_left: AtomicUsize::new(n_writes) });
        let platform = Platform::with(|parts| {
            parts.clock = clock.clone();
            parts.store = store.clone();
        });
        Self { clock, store, platform }
    }

    /// Dies now; another one goes on, and dies after so many writes.
    fn restart(self, n_writes: usize) -> Self {
        self.store.writes_left.store(0, Ordering::SeqCst);
        Self::set(self.clock, self.store.inner.clone(), n_writes)
    }

    /// With an endpoint `e` of the configuration `old` and a model `new`.
    async fn with_endpoint() -> Self {
        let clock = Arc::new(FakeClock::at(Timestamp(NOW)));
        let stage = Self::set(clock, Arc::new(MemoryStore::new()), usize::MAX);
        stage.platform.config("old", "fake", 1).await;
        stage.platform.config("new", "fake:new", 1).await;
        stage.platform.ok("CreateEndpoint", endpoint("e", "old")).await;
        assert_eq!(stage.platform.status("e").await["EndpointStatus"], "InService");
        stage
    }

    async fn after(&self, seconds: u64) -> Value {
        self.clock.advance(Duration::from_secs(seconds));
        self.status().await
    }

    async fn status(&self) -> Value {
        sleep(LOOK).await;
        self.describe().await
    }

    async fn describe(&self) -> Value {
        self.platform.ok("DescribeInferenceExperiment", json!({"Name": "x"})).await
    }

    async fn stop(&self, actions: Value) {
        let stop = json!({"Name": "x", "ModelVariantActions": actions,
            "DesiredState": "Completed", "Reason": "enough"});
        self.platform.ok("StopInferenceExperiment", stop).await;
    }

    /// The production variants and the shadows that calls are routed to.
    fn routed(&self) -> Vec<(String, Option<(String, f32)>)> {
        let table = self.platform.routes.newest();
        let route = table.find(&Region::new("us-east-1"), &"e".parse().unwrap()).unwrap().clone();
        let shadow = |it: &sagebrush_core::route::VariantRoute| {
            it.shadow.as_ref().map(|shadow| (shadow.variant.name.to_string(), shadow.share))
        };
        route.variants.iter().map(|it| (it.name.to_string(), shadow(it))).collect()
    }

    async fn configs(&self) -> Vec<String> {
        let query = json!({"SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 100});
        let listed = self.platform.ok("ListEndpointConfigs", query).await;
        let name = |config: &Value| {
            let name = config["EndpointConfigName"].as_str().unwrap();
            name.rsplit_once('-').map_or(name, |(_, purpose)| purpose).to_owned()
        };
        listed["EndpointConfigs"].as_array().unwrap().iter().map(name).collect()
    }
}

fn variant(name: &str, model: &str) -> Value {
    let instances = json!({"InstanceType": "ml.m5.large", "InstanceCount": 1});
    json!({"VariantName": name, "ModelName": model, "InfrastructureConfig": {
        "InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": instances}})
}

fn mode(shadow: &str, percentage: u32) -> Value {
    let shadow = json!({"ShadowModelVariantName": shadow, "SamplingPercentage": percentage});
    json!({"SourceModelVariantName": "v", "ShadowModelVariants": [shadow]})
}

fn experiment(schedule: Value) -> Value {
    json!({"Name": "x", "Type": "ShadowMode", "EndpointName": "e", "Schedule": schedule,
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerRole",
        "ModelVariants": [variant("v", "old"), variant("s", "new")],
        "ShadowModeConfig": mode("s", 25)})
}

fn production(name: &str) -> (String, Option<(String, f32)>) {
    (name.to_owned(), None)
}

fn both(share: f32) -> (String, Option<(String, f32)>) {
    ("v".to_owned(), Some(("s".to_owned(), share)))
}

#[tokio::test(start_paused = true)]
async fn it_runs_by_its_schedule_and_leaves_the_endpoint_as_it_was() {
    let stage = Stage::with_endpoint().await;
    let (start, end) = (SECONDS + 1000.0, SECONDS + 5000.0);
    let request = experiment(json!({"StartTime": start, "EndTime": end}));
    stage.platform.ok("CreateInferenceExperiment", request).await;
    assert_eq!(stage.status().await["Status"], "Created");
    assert_eq!(stage.after(999).await["Status"], "Created");
    assert_eq!(stage.routed(), [production("v")]);
    let running = stage.after(1).await;
    assert_eq!(running["Status"], "Running");
    assert_eq!(running["ModelVariants"][1]["Status"], "InService");
    assert_eq!(stage.routed(), [both(0.25)]);
    assert_eq!(stage.configs().await, ["run", "new", "old"]);

    let update = json!({"Name": "x", "ShadowModeConfig": mode("s", 50)});
    stage.platform.ok("UpdateInferenceExperiment", update).await;
    assert_eq!(stage.status().await["Status"], "Running");
    assert_eq!(stage.routed(), [both(0.5)]);
    assert_eq!(stage.after(3999).await["Status"], "Running");
    let completed = stage.after(1).await;
    assert_eq!(completed["Status"], "Completed");
    assert_eq!(completed["Schedule"], json!({"StartTime": start, "EndTime": end}));
    assert_eq!(completed["ModelVariants"][1]["Status"], "Deleted");
    assert_eq!(stage.routed(), [production("v")]);
    assert_eq!(stage.platform.status("e").await["EndpointConfigName"], "old");
    assert_eq!(stage.platform.status("e").await["ProductionVariants"][0]["DesiredWeight"], 0.1);
    assert_eq!(stage.configs().await, ["new", "old"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_before_comes_back_without_its_configuration() {
    let stage = Stage::with_endpoint().await;
    stage.platform.ok("CreateInferenceExperiment", experiment(json!({}))).await;
    assert_eq!(stage.status().await["Status"], "Running");
    stage.platform.ok("DeleteEndpointConfig", json!({"EndpointConfigName": "old"})).await;
    for model in ["old", "new"] {
        stage.platform.ok("DeleteModel", json!({"ModelName": model})).await;
    }
    // A promotion cannot be: its model is gone. The endpoint is as it was.
    stage.stop(json!({"s": "Promote"})).await;
    let seen = stage.status().await;
    assert_eq!(seen["Status"], "Cancelled");
    assert!(seen["StatusReason"].as_str().unwrap().contains("Could not find model"), "{seen}");
    assert_eq!(stage.routed(), [production("v")]);
    assert_eq!(stage.platform.status("e").await["EndpointStatus"], "InService");
}

#[tokio::test(start_paused = true)]
async fn before_it_starts_everything_can_be_changed() {
    let stage = Stage::with_endpoint().await;
    let day = SECONDS + 86400.0;
    let request = experiment(json!({"StartTime": day}));
    stage.platform.ok("CreateInferenceExperiment", request).await;
    assert_eq!(stage.status().await["Status"], "Created");
    let update = json!({"Name": "x", "Description": "other", "Schedule": {"EndTime": day + 60.0},
        "ModelVariants": [variant("t", "new")], "ShadowModeConfig": mode("t", 7)});
    stage.platform.ok("UpdateInferenceExperiment", update).await;
    let seen = stage.describe().await;
    assert_eq!(seen["Description"], "other");
    assert_eq!(seen["Schedule"], json!({"StartTime": day, "EndTime": day + 60.0}));
    assert_eq!(seen["ModelVariants"][1]["VariantName"], "t");
    stage.platform.ok("StartInferenceExperiment", json!({"Name": "x"})).await;
    assert_eq!(stage.status().await["Status"], "Running");
    assert_eq!(stage.routed(), [("v".to_owned(), Some(("t".to_owned(), 0.07)))]);
    for (more, wanted) in [
        (json!({"Schedule": {"StartTime": day}}), "StartTime cannot be changed"),
        (json!({"ModelVariants": [variant("t", "old")]}), "cannot be changed"),
        (json!({"ShadowModeConfig": mode("s", 7)}), "cannot be changed"),
        (json!({"DataStorageConfig": {"Destination": "s3://b"}}), "DataStorageConfig cannot"),
        (json!({"Schedule": {"EndTime": day * 2.0}}), "30 days"),
        (json!({"ShadowModeConfig": mode("t", 101)}), "101"),
    ] {
        let mut update = json!({"Name": "x"});
        update.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = stage.platform.call("UpdateInferenceExperiment", update).await;
        Platform::refused(refused, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_stays_the_clients() {
    let stage = Stage::with_endpoint().await;
    stage.platform.ok("CreateInferenceExperiment", experiment(json!({}))).await;
    assert_eq!(stage.status().await["Status"], "Running");
    stage.platform.ok("UpdateEndpoint", endpoint("e", "new")).await;
    let seen = stage.status().await;
    assert_eq!(seen["Status"], "Cancelled");
    let reason = seen["StatusReason"].as_str().unwrap();
    assert!(reason.contains("was updated to configuration new"), "{reason}");
    assert_eq!(stage.configs().await, ["new", "old"]);
}

/// Created and promoted; whoever is cut off at some write, the next one goes on.
#[tokio::test(start_paused = true)]
async fn it_goes_on_from_any_write() {
    for n_writes in 1..100 {
        let stage = Stage::with_endpoint().await;
        let end = json!({"EndTime": SECONDS + 5000.0});
        stage.platform.ok("CreateInferenceExperiment", experiment(end)).await;
        let stage = stage.restart(n_writes);
        sleep(LOOK).await;
        let started_alive = stage.store.check().is_ok();
        let stage = stage.restart(usize::MAX);
        assert_eq!(stage.status().await["Status"], "Running", "cut at write {n_writes}");
        assert_eq!(stage.routed(), [both(0.25)]);

        stage.stop(json!({"v": "Remove", "s": "Promote"})).await;
        let stage = stage.restart(n_writes);
        sleep(LOOK).await;
        let stopped_alive = stage.store.check().is_ok();
        let stage = stage.restart(usize::MAX);
        let seen = stage.status().await;
        assert_eq!(
            (&seen["Status"], &seen["StatusReason"]),
            (&json!("Completed"), &json!("enough")),
            "cut at write {n_writes}"
        );
        assert_eq!(stage.routed(), [production("s")]);
        assert_eq!(stage.configs().await, ["after", "new", "old"]);
        stage.platform.ok("DeleteInferenceExperiment", json!({"Name": "x"})).await;
        if started_alive && stopped_alive {
            assert!(n_writes > 4, "there is something to cut");
            return;
        }
    }
    panic!("it never ends");
}
