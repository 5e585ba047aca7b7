//! The operations together, over a store in memory and a fake runtime. Time stands still unless
//! awaited.

mod deployments;
mod experiments;
mod probes;
mod scaling;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sagebrush_aws::{Context, Dispatch};
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::Routes;
use sagebrush_core::worker::LaunchError;
use sagebrush_core::{AccountId, Region, task};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};

use crate::inference_experiment::Reconciler as Experiments;
use crate::instance::{Catalogue, Launcher, LocalFleet};
use crate::testing::{FakeArtifacts, FakeRuntime, LIMITS, parts};
use crate::{Control, Parts};

struct Platform {
    control: Arc<Control>,
    operations: Dispatch<Control>,
    runtime: Arc<FakeRuntime>,
    routes: Routes,
}

impl Platform {
    fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other parts, as `change` makes them.
    fn with(change: impl FnOnce(&mut Parts)) -> Self {
        let runtime = Arc::new(FakeRuntime::default());
        let fleet = LocalFleet::new(Launcher {
            roles: Arc::new(sagebrush_core::access::AllowAll),
            artifacts: Arc::new(FakeArtifacts),
            catalogue: Catalogue::new().with("fake", runtime.clone()),
            log: Arc::new(MemoryLog::default()),
            metrics: Registry::default(),
            limits: LIMITS,
        });
        let store = Arc::new(MemoryStore::new());
        let mut parts = parts(store, Arc::new(fleet));
        change(&mut parts);
        let (control, reconciler, routes) = Control::new(parts);
        task::spawn("reconciler", reconciler.run());
        task::spawn("experiments", Experiments::new(control.clone()).run());
        Self { control, operations: crate::operations(), runtime, routes }
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        let account = AccountId("123456789012".into());
        let context = Context::new(Region::new("us-east-1"), account);
        let body = serde_json::to_vec(&input).unwrap();
        let answer = self.operations.call(self.control.clone(), context, operation, &body).await;
        answer.map(|body| serde_json::from_slice(&body).unwrap()).map_err(|error| error.to_string())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    #[track_caller]
    fn refused(outcome: Result<Value, String>, wanted: &str) {
        let error = outcome.expect_err("refused");
        assert!(error.contains(wanted), "{error}");
    }

    /// A model and a configuration of one name.
    async fn config(&self, name: &str, image: &str, instance_count: u32) {
        let container = json!({"Image": image, "ModelDataUrl": "s3://b/model.tar.gz"});
        self.ok("CreateModel", json!({"ModelName": name, "PrimaryContainer": container})).await;
        let variant = json!({"VariantName": "v", "ModelName": name, "InitialVariantWeight": 0.1,
            "InitialInstanceCount": instance_count, "InstanceType": "ml.m5.large"});
        let config = json!({"EndpointConfigName": name, "ProductionVariants": [variant]});
        self.ok("CreateEndpointConfig", config).await;
    }

    async fn status(&self, name: &str) -> Value {
        self.ok("DescribeEndpoint", json!({"EndpointName": name})).await
    }
}

fn endpoint(name: &str, config: &str) -> Value {
    json!({"EndpointName": name, "EndpointConfigName": config})
}

#[tokio::test(start_paused = true)]
async fn the_first_describe_says_in_service() {
    let platform = Platform::start();
    platform.config("c", "fake", 2).await;
    let created = platform.ok("CreateEndpoint", endpoint("Digits", "c")).await;
    let arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/digits";
    assert_eq!(created, json!({"EndpointArn": arn}));
    let described = platform.status("Digits").await;
    assert_eq!(described["EndpointStatus"], "InService");
    assert_eq!(described["EndpointName"], "Digits");
    let variant = &described["ProductionVariants"][0];
    assert_eq!(variant["CurrentWeight"], 0.1);
    assert_eq!(
        (&variant["CurrentInstanceCount"], &variant["VariantName"]),
        (&json!(2), &json!("v"))
    );
    for unset in ["FailureReason", "DataCaptureConfig", "PendingDeploymentSummary"] {
        assert!(described.get(unset).is_none(), "{unset}");
    }
    let table = platform.routes.newest();
    let route = table.find(&Region::new("us-east-1"), &"Digits".parse().unwrap()).unwrap();
    assert_eq!(route.variants[0].instances.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_fails_with_its_reason() {
    let platform = Platform::start();
    platform.config("c", "other", 1).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    let described = platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "Failed");
    assert!(described["FailureReason"].as_str().unwrap().contains("The image other is not known"));
    let update = platform.call("UpdateEndpoint", endpoint("e", "c")).await;
    Platform::refused(update, "Cannot update in-progress endpoint");
    platform.ok("DeleteEndpoint", json!({"EndpointName": "e"})).await;
    let gone = platform.call("DescribeEndpoint", json!({"EndpointName": "e"})).await;
    Platform::refused(gone, "ValidationException: Could not find endpoint \"arn:aws:sagemaker:");
}

#[tokio::test(start_paused = true)]
async fn an_update_switches_to_the_new_fleet_and_stops_the_old() {
    let platform = Platform::start();
    platform.config("old", "fake", 1).await;
    platform.config("new", "fake", 1).await;
    platform.ok("CreateEndpoint", endpoint("e", "old")).await;
    assert_eq!(platform.status("e").await["EndpointConfigName"], "old");
    platform.ok("UpdateEndpoint", endpoint("e", "new")).await;
    let described = platform.status("e").await;
    assert_eq!(
        (&described["EndpointStatus"], &described["EndpointConfigName"]),
        (&json!("InService"), &json!("new"))
    );
    let old = platform.runtime.workers.lock().unwrap()[0].clone();
    while !old.stopped.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    assert_eq!(platform.runtime.n_launches.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_update_keeps_the_old_fleet() {
    let platform = Platform::start();
    platform.config("old", "fake", 1).await;
    platform.config("new", "fake:bad", 1).await;
    let refusal = LaunchError::Permanent { reason: "The archive has no model.onnx.".to_owned() };
    platform.runtime.failures.lock().unwrap().insert("fake:bad".to_owned(), vec![refusal]);
    platform.ok("CreateEndpoint", endpoint("e", "old")).await;
    platform.status("e").await;
    platform.ok("UpdateEndpoint", endpoint("e", "new")).await;
    let described = platform.status("e").await;
    assert_eq!(
        (&described["EndpointStatus"], &described["EndpointConfigName"]),
        (&json!("InService"), &json!("old"))
    );
    assert_eq!(described["FailureReason"], "The archive has no model.onnx.");
    let old = platform.runtime.workers.lock().unwrap()[0].clone();
    assert!(!old.stopped.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn taken_and_missing_names_in_sagemakers_words() {
    let platform = Platform::start();
    platform.config("c", "fake", 1).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    let again = platform.call("CreateEndpoint", endpoint("E", "c")).await;
    Platform::refused(again, "Cannot create already existing endpoint \"arn:aws:sagemaker:");
    let model = json!({"ModelName": "c", "PrimaryContainer": {"Image": "fake"}});
    let again = platform.call("CreateModel", model).await;
    Platform::refused(again, "Cannot create already existing model \"arn:aws:sagemaker:");
    let missing = platform.call("CreateEndpoint", endpoint("f", "nothing")).await;
    Platform::refused(missing, "Could not find endpoint configuration \"arn:aws:sagemaker:");
    let missing = platform.call("DeleteModel", json!({"ModelName": "nothing"})).await;
    Platform::refused(missing, "Could not find model \"arn:aws:sagemaker:");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_refused_by_name() {
    let platform = Platform::start();
    platform.config("c", "fake", 1).await;
    let variant = json!({"VariantName": "v", "ModelName": "c", "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large", "RoutingConfig": {"RoutingStrategy": "KV_AWARE"}});
    let config = json!({"EndpointConfigName": "s", "ProductionVariants": [variant]});
    platform.ok("CreateEndpointConfig", config).await;
    Platform::refused(
        platform.call("CreateEndpoint", endpoint("e", "s")).await,
        "RoutingStrategy KV_AWARE",
    );
}

#[tokio::test(start_paused = true)]
async fn one_of_many_concurrent_creates_wins() {
    let platform = Arc::new(Platform::start());
    platform.config("c", "fake", 1).await;
    let create = |_| {
        let platform = platform.clone();
        task::spawn(
            "create",
            async move { platform.call("CreateEndpoint", endpoint("e", "c")).await },
        )
    };
    let creates: Vec<_> = (0..32).map(create).collect();
    let mut n_won = 0;
    for outcome in creates {
        match outcome.await.unwrap() {
            Ok(_) => n_won += 1,
            Err(error) => assert!(error.contains("Cannot create already existing"), "{error}"),
        }
    }
    assert_eq!(n_won, 1);
}

#[tokio::test(start_paused = true)]
async fn pages_hold_each_endpoint_once() {
    let platform = Platform::start();
    platform.config("c", "fake", 1).await;
    for n in 0..7 {
        platform.ok("CreateEndpoint", endpoint(&format!("e-{n}"), "c")).await;
    }
    let (mut names, mut token) = (Vec::new(), Value::Null);
    loop {
        let query = json!({"MaxResults": 3, "SortBy": "Name", "SortOrder": "Ascending", "NextToken": token});
        let page = platform.ok("ListEndpoints", query).await;
        let more = page["Endpoints"].as_array().unwrap();
        names.extend(
            more.iter().map(|endpoint| endpoint["EndpointName"].as_str().unwrap().to_owned()),
        );
        match page.get("NextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(names, (0..7).map(|n| format!("e-{n}")).collect::<Vec<_>>());
    let other = json!({"SortBy": "CreationTime", "NextToken": token});
    Platform::refused(platform.call("ListEndpoints", other).await, "Invalid pagination token");
}

#[tokio::test(start_paused = true)]
async fn tags_come_and_go() {
    let platform = Platform::start();
    let model = json!({"ModelName": "My-Model", "PrimaryContainer": {"Image": "fake"},
        "Tags": [{"Key": "a", "Value": "1"}]});
    let arn = platform.ok("CreateModel", model).await["ModelArn"].clone();
    platform.ok("AddTags", json!({"ResourceArn": arn, "Tags": [{"Key": "b", "Value": "2"}]})).await;
    platform.ok("DeleteTags", json!({"ResourceArn": arn, "TagKeys": ["a"]})).await;
    let tags = platform.ok("ListTags", json!({"ResourceArn": arn})).await;
    assert_eq!(tags, json!({"Tags": [{"Key": "b", "Value": "2"}]}));
    let many: Vec<_> = (0..50).map(|n| json!({"Key": format!("k{n}"), "Value": ""})).collect();
    let too_many = platform.call("AddTags", json!({"ResourceArn": arn, "Tags": many})).await;
    Platform::refused(too_many, "exceeds the limit of 50");
    let missing = json!({"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/nothing"});
    Platform::refused(platform.call("ListTags", missing).await, "Could not find resource");
}

#[tokio::test(start_paused = true)]
async fn containers_that_a_model_may_have() {
    let platform = Platform::start();
    let two = |first: Value, second: Value, mode: &str| {
        json!({"ModelName": "m", "Containers": [first, second],
            "InferenceExecutionConfig": {"Mode": mode}})
    };
    let named = |name: &str| json!({"Image": "fake", "ContainerHostname": name});
    let multi = |extra: Value| {
        let mut container = json!({"Image": "fake", "Mode": "MultiModel"});
        container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"ModelName": "m", "PrimaryContainer": container})
    };
    let source = json!({"S3DataSource": {"S3Uri": "s3://b/models/", "S3DataType": "S3Prefix",
        "CompressionType": "None"}});
    for (model, wanted) in [
        (json!({"ModelName": "m"}), "Either PrimaryContainer or Containers"),
        (json!({"ModelName": "m", "Containers": []}), "Either PrimaryContainer or Containers"),
        (
            json!({"ModelName": "m", "PrimaryContainer": named("a"), "Containers": [named("b")]}),
            "Both PrimaryContainer and Containers",
        ),
        (two(named("a"), named("a"), "Serial"), "must be unique within a model: a"),
        (two(named("a"), json!({"Image": "fake"}), "Serial"), "for every container of the model"),
        (two(json!({"Image": "f"}), json!({"Image": "f"}), "Direct"), "needs a ContainerHostname"),
        (
            json!({"ModelName": "m", "Containers": [named("a")],
                "InferenceExecutionConfig": {"Mode": "Direct"}}),
            "needs 2 to 15 Containers",
        ),
        (multi(json!({})), "ModelDataUrl is required for a container with Mode MultiModel"),
        (multi(json!({"ModelDataUrl": "s3://b/model.tar.gz"})), "must be an S3 prefix"),
        (multi(json!({"ModelDataUrl": "https://b/models"})), "must be an S3 location"),
        (multi(json!({"ModelDataSource": source})), "cannot be used with Mode MultiModel"),
    ] {
        Platform::refused(platform.call("CreateModel", model).await, wanted);
    }
    let one = json!({"ModelName": "one", "Containers": [named("a")]});
    platform.ok("CreateModel", one).await;
    let direct = two(named("a"), named("b"), "Direct");
    platform.ok("CreateModel", direct.clone()).await;
    let described = platform.ok("DescribeModel", json!({"ModelName": "m"})).await;
    for member in ["Containers", "InferenceExecutionConfig"] {
        assert_eq!(described[member], direct[member]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_several_containers_and_models() {
    let platform = Platform::start();
    let cache = json!({"ModelCacheSetting": "Disabled"});
    let models = json!({"Image": "fake:2", "ContainerHostname": "models", "Mode": "MultiModel",
        "ModelDataUrl": "s3://b/models/", "MultiModelConfig": cache});
    let pre = json!({"Image": "fake:1", "ContainerHostname": "pre"});
    let model = json!({"ModelName": "m", "Containers": [pre, models],
        "InferenceExecutionConfig": {"Mode": "Direct"}});
    platform.ok("CreateModel", model).await;
    let variant = json!({"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1,
        "InstanceType": "ml.c5.2xlarge"});
    let config = json!({"EndpointConfigName": "c", "ProductionVariants": [variant]});
    platform.ok("CreateEndpointConfig", config).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    let described = platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "InService");
    let images = &described["ProductionVariants"][0]["DeployedImages"];
    assert_eq!(images[0]["SpecifiedImage"], "fake:1");
    assert_eq!(images[0]["ResolvedImage"], "fake@sha256:1");
    assert_eq!(images[1]["SpecifiedImage"], "fake:2");
    assert_eq!(images[1]["ResolvedImage"], "fake:2", "what does not know runs as it was given");
    let table = platform.routes.newest();
    let route = table.find(&Region::new("us-east-1"), &"e".parse().unwrap()).unwrap();
    let targets = route.variants[0].targets;
    assert!(targets.model && targets.container);
    let spec = platform.runtime.hosts.lock().unwrap()[0].clone();
    assert_eq!(spec.hostname, "models");
    assert_eq!((spec.resources.cpus, spec.resources.memory_bytes), (8, 16 << 30));
}

#[test]
fn rows_of_before_are_read() {
    let container = json!({"hostname": null, "image": "i", "model_data": null, "environment": {},
        "multi_model": false});
    let model = json!({"containers": [container], "network_isolation": false, "request": {}});
    let model: crate::model::ModelSpec = serde_json::from_value(model).unwrap();
    assert!(model.containers[0].keeps_models);
    let container = json!({"hostname": null, "image": "i", "model_data": null, "environment": {}});
    let seconds = json!({"secs": 240, "nanos": 0});
    let variant = json!({"name": "v", "weight": 1.0, "instance_count": 1, "containers": [container],
        "network_isolation": false, "startup_timeout": seconds, "download_timeout": seconds,
        "resolved_at": 0});
    let deployed: crate::endpoint::DeployedVariant = serde_json::from_value(variant).unwrap();
    assert!(deployed.instance_type.is_none() && !deployed.targets().container);
    let variant = json!({"name": "v", "model": "m", "instance_count": 1, "weight": 1.0,
        "startup_timeout_s": null, "download_timeout_s": null});
    let variant: crate::endpoint_config::ProductionVariant =
        serde_json::from_value(variant).unwrap();
    assert!(variant.instance_type.is_none());
}
