//! Variants that scale with their calls. The calls are counted by hand, where serving counts them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sagebrush_core::Region;
use sagebrush_core::demand::Demand;
use sagebrush_core::worker::LaunchError;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Platform, endpoint};

/// Long enough for an instance to start or to go, where nothing takes time.
const SOON: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_secs(60);

impl Platform {
    /// A model and a configuration of one name, with a variant that scales as `scaling` says.
    async fn scaling(&self, name: &str, image: &str, scaling: Value) {
        let container = json!({"Image": image, "ModelDataUrl": "s3://b/model.tar.gz"});
        self.ok("CreateModel", json!({"ModelName": name, "PrimaryContainer": container})).await;
        self.ok("CreateEndpointConfig", config(name, scaling)).await;
    }

    async fn serverless(&self, name: &str, max_concurrency: u32) {
        self.scaling(name, "fake", serverless(1024, max_concurrency, None)).await;
    }

    fn variant(&self) -> Option<(Option<Arc<Demand>>, usize)> {
        let table = self.routes.newest();
        let route = table.find(&Region::new("us-east-1"), &"e".parse().unwrap())?.clone();
        let variant = route.variants.first()?;
        Some((variant.demand.clone(), variant.instances.len()))
    }

    fn demand(&self) -> Arc<Demand> {
        self.variant().and_then(|(demand, _)| demand).expect("it counts its calls")
    }

    fn n_instances(&self) -> usize {
        self.variant().map_or(0, |(_, n_instances)| n_instances)
    }

    fn n_launches(&self) -> usize {
        self.runtime.n_launches.load(Ordering::SeqCst)
    }
}

fn config(name: &str, scaling: Value) -> Value {
    let mut variant = json!({"VariantName": "v", "ModelName": name});
    variant.as_object_mut().unwrap().extend(scaling.as_object().unwrap().clone());
    json!({"EndpointConfigName": name, "ProductionVariants": [variant]})
}

fn serverless(memory: u32, max_concurrency: u32, provisioned: Option<u32>) -> Value {
    let mut config = json!({"MemorySizeInMB": memory, "MaxConcurrency": max_concurrency});
    if let Some(provisioned) = provisioned {
        config["ProvisionedConcurrency"] = provisioned.into();
    }
    json!({"ServerlessConfig": config})
}

fn managed(min: u32, max: u32) -> Value {
    json!({"InitialInstanceCount": 1, "InstanceType": "ml.m5.large", "ManagedInstanceScaling":
        {"Status": "ENABLED", "MinInstanceCount": min, "MaxInstanceCount": max}})
}

#[tokio::test(start_paused = true)]
async fn from_zero_to_one_and_back() {
    let platform = Platform::start();
    platform.serverless("c", 5).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    let described = platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "InService");
    let variant = &described["ProductionVariants"][0];
    let wanted = json!({"MemorySizeInMB": 1024, "MaxConcurrency": 5});
    assert_eq!(variant["CurrentServerlessConfig"], wanted);
    assert_eq!(variant["CurrentInstanceCount"], 1, "it was started once");
    for n_launches in 1..4 {
        assert_eq!((platform.n_instances(), platform.n_launches()), (1, n_launches));
        sleep(IDLE - SOON).await;
        assert_eq!(platform.n_instances(), 1);
        sleep(2 * SOON).await;
        assert_eq!(platform.n_instances(), 0);
        let described = platform.status("e").await;
        assert_eq!(described["EndpointStatus"], "InService");
        assert_eq!(described["ProductionVariants"][0]["CurrentInstanceCount"], 0);
        sleep(2 * IDLE).await;
        let call = platform.demand().call().unwrap();
        sleep(SOON).await;
        assert_eq!(platform.n_instances(), 1);
        sleep(2 * IDLE).await;
        assert_eq!(platform.n_instances(), 1, "a call is under way");
        drop(call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_start_fails_the_endpoint_or_the_call() {
    let platform = Platform::start();
    platform.scaling("bad", "other", serverless(1024, 5, None)).await;
    platform.ok("CreateEndpoint", endpoint("bad", "bad")).await;
    assert_eq!(platform.status("bad").await["EndpointStatus"], "Failed");
    platform.serverless("c", 5).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    platform.status("e").await;
    sleep(2 * IDLE).await;
    let refusal = LaunchError::Permanent { reason: "The archive is gone.".to_owned() };
    platform.runtime.failures.lock().unwrap().insert("fake".to_owned(), vec![refusal]);
    let demand = platform.demand();
    let _call = demand.call().unwrap();
    sleep(SOON).await;
    assert_eq!(demand.trouble().as_deref(), Some("The archive is gone."));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((demand.trouble(), platform.n_instances()), (None, 1), "the next start succeeds");
}

#[tokio::test(start_paused = true)]
async fn provisioned_workers_stay() {
    let platform = Platform::start();
    platform.scaling("c", "fake", serverless(1024, 9, Some(3))).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    platform.status("e").await;
    sleep(3 * IDLE).await;
    assert_eq!(platform.n_instances(), 2, "each answers two calls at once");
    let calls: Vec<_> = (0..9).map(|_| platform.demand().call().unwrap()).collect();
    assert!(platform.demand().call().is_none());
    sleep(SOON).await;
    assert_eq!(platform.n_instances(), 5);
    drop(calls);
    sleep(IDLE + SOON).await;
    assert_eq!(platform.n_instances(), 2);
}

#[tokio::test(start_paused = true)]
async fn managed_instances_stay_between_their_bounds() {
    let platform = Platform::start();
    platform.scaling("c", "fake", managed(0, 3)).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    platform.status("e").await;
    sleep(10 * IDLE).await;
    assert_eq!(platform.n_instances(), 0);
    let calls: Vec<_> = (0..100).map(|_| platform.demand().call().unwrap()).collect();
    sleep(SOON).await;
    assert_eq!(platform.n_instances(), 3);
    drop(calls);
    sleep(10 * IDLE).await;
    assert_eq!(platform.n_instances(), 0);
    platform.ok("CreateEndpointConfig", config("c-2", json!({"ModelName": "c"}))).await;
}

#[tokio::test(start_paused = true)]
async fn updates_between_all_ways() {
    let platform = Platform::start();
    platform.config("fixed", "fake", 2).await;
    platform.serverless("serverless", 5).await;
    platform.serverless("small", 1).await;
    platform.scaling("managed", "fake", managed(1, 3)).await;
    platform.ok("CreateEndpoint", endpoint("e", "fixed")).await;
    platform.status("e").await;
    assert!(platform.variant().unwrap().0.is_none());
    for (config, n_instances, most) in [
        ("serverless", 0, Some(5)),
        ("small", 0, Some(1)),
        ("fixed", 2, None),
        ("managed", 1, None),
        ("serverless", 0, Some(5)),
        ("fixed", 2, None),
    ] {
        platform.ok("UpdateEndpoint", endpoint("e", config)).await;
        let described = platform.status("e").await;
        let status = (&described["EndpointStatus"], &described["EndpointConfigName"]);
        assert_eq!(status, (&json!("InService"), &json!(config)));
        sleep(10 * IDLE).await;
        assert_eq!(platform.n_instances(), n_instances, "{config}");
        let demand = platform.variant().unwrap().0;
        assert_eq!(demand.map(|it| it.terms().max_calls).unwrap_or_default(), most, "{config}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_at_zero_is_deleted() {
    let platform = Platform::start();
    platform.serverless("c", 5).await;
    platform.ok("CreateEndpoint", endpoint("e", "c")).await;
    platform.status("e").await;
    sleep(2 * IDLE).await;
    let _call = platform.demand().call(); // It is waking, even.
    platform.ok("DeleteEndpoint", json!({"EndpointName": "e"})).await;
    let gone = platform.call("DescribeEndpoint", json!({"EndpointName": "e"})).await;
    Platform::refused(gone, "Could not find endpoint");
    let all = platform.runtime.workers.lock().unwrap().clone();
    assert!(all.iter().all(|worker| worker.stopped.load(Ordering::SeqCst)));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_together() {
    let platform = Platform::start();
    platform.serverless("c", 5).await;
    let with = |more: Value| {
        let mut scaling = serverless(1024, 5, None);
        scaling.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config("d", scaling)["ProductionVariants"][0].clone()
    };
    let one = |variant: Value| json!({"EndpointConfigName": "d", "ProductionVariants": [variant]});
    let named = |more: Value| {
        let mut variant = with(more);
        variant["ModelName"] = "c".into();
        variant
    };
    let beside = |member: &str, value: Value| {
        let mut config = one(named(json!({})));
        config[member] = value;
        config
    };
    let least = json!({"Status": "ENABLED", "MinInstanceCount": 3, "MaxInstanceCount": 2});
    for (config, wanted) in [
        (one(named(json!({"InstanceType": "ml.m5.large"}))), "combined with InstanceType"),
        (one(named(json!({"InitialInstanceCount": 1}))), "with InitialInstanceCount"),
        (one(named(serverless(1500, 5, None))), "MemorySizeInMB is 1500"),
        (one(named(serverless(1024, 5, Some(6)))), "ProvisionedConcurrency is 6"),
        (
            json!({"EndpointConfigName": "d", "ProductionVariants":
                [named(json!({})), named(json!({"VariantName": "w"}))]}),
            "other ProductionVariants",
        ),
        (beside("EnableNetworkIsolation", json!(true)), "EnableNetworkIsolation"),
        (
            one(json!({"VariantName": "v", "ModelName": "c", "InitialInstanceCount": 1,
                "InstanceType": "ml.m5.large", "ManagedInstanceScaling": least})),
            "MinInstanceCount is 3",
        ),
    ] {
        Platform::refused(platform.call("CreateEndpointConfig", config).await, wanted);
    }
    let multi = json!({"Image": "fake", "Mode": "MultiModel", "ModelDataUrl": "s3://b/models/"});
    platform.ok("CreateModel", json!({"ModelName": "many", "PrimaryContainer": multi})).await;
    let mut variant = named(json!({}));
    variant["ModelName"] = "many".into();
    Platform::refused(platform.call("CreateEndpointConfig", one(variant)).await, "Mode MultiModel");
}
