//! What new fleets are asked before they take calls, and fleets without an instance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::Region;
use sagebrush_core::route::EndpointRoute;
use sagebrush_core::worker::{Call, LaunchError, Payload};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Platform, endpoint};

/// Long enough for an instance to start or to go, where nothing takes time.
const SOON: Duration = Duration::from_millis(10);
/// After so long the reconciler has looked by itself.
const LOOK: Duration = Duration::from_secs(11);

/// A platform with an endpoint `e` of the configuration `old`.
async fn in_service() -> Platform {
    let platform = Platform::start();
    platform.image("old", "fake", json!({})).await;
    platform.ok("CreateEndpoint", endpoint("e", "old")).await;
    assert_eq!(platform.status("e").await["EndpointStatus"], "InService");
    platform
}

impl Platform {
    /// A configuration of an image that `environment` says more of.
    async fn image(&self, name: &str, image: &str, environment: Value) {
        let container = json!({"Image": image, "Environment": environment});
        let model = json!({"ModelName": name, "PrimaryContainer": container});
        self.ok("CreateModel", model).await;
        let variant = json!({"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large"});
        let config = json!({"EndpointConfigName": name, "ProductionVariants": [variant]});
        self.ok("CreateEndpointConfig", config).await;
    }

    /// What came of an update: the configuration that serves, and why another does not.
    async fn updated(&self, config: &str) -> (String, String) {
        self.ok("UpdateEndpoint", endpoint("e", config)).await;
        sleep(SOON).await;
        let described = self.status("e").await;
        let said = |member: &str| described[member].as_str().unwrap_or_default().to_owned();
        (said("EndpointConfigName"), said("FailureReason"))
    }

    fn route(&self) -> Arc<EndpointRoute> {
        let table = self.routes.newest();
        table.find(&Region::new("us-east-1"), &"e".parse().unwrap()).unwrap().clone()
    }

    fn is_resting(&self) -> bool {
        self.route().variants[0].is_resting
    }

    /// As serving does when a call is answered well.
    fn answer(&self) {
        let call = Call {
            payload: Payload { content_type: None, body: Bytes::from_static(b"1,2") },
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "probe".into(),
            deadline: Instant::now(),
        };
        self.route().variants[0].sample.as_ref().expect("it serves").keep(|| call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_refused_keeps_the_old_fleet() {
    let platform = in_service().await;
    let asks = json!({"SAGEBRUSH_PROBE_PAYLOAD": "[1]"});
    platform.image("good", "fake", asks.clone()).await;
    platform.image("bad", "fake:deaf", asks).await;
    assert_eq!(platform.updated("good").await.0, "good");
    let (serving, reason) = platform.updated("bad").await;
    assert_eq!(serving, "good");
    assert!(reason.starts_with("The probe of variant v on instance i-"), "{reason}");
    assert!(reason.ends_with("failed: the model answered 500: deaf"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_new_fleet_is_asked_what_the_old_one_answered() {
    let platform = in_service().await;
    platform.image("bad", "fake:deaf", json!({})).await;
    platform.image("off", "fake:deaf", json!({"SAGEBRUSH_PROBE_REPLAY": "false"})).await;
    platform.image("other", "fake:picky", json!({})).await;
    platform.image("own", "fake:picky", json!({"SAGEBRUSH_PROBE_PAYLOAD": "[1]"})).await;
    platform.image("good", "fake", json!({})).await;
    platform.answer();
    assert_eq!(platform.updated("good").await, ("good".to_owned(), String::new()));
    let (serving, reason) = platform.updated("bad").await;
    assert_eq!(serving, "good");
    assert!(reason.contains("failed: the model answered 500: deaf (It was asked"), "{reason}");
    assert_eq!(platform.updated("own").await.0, "good", "a payload of its own must be answered");
    assert_eq!(platform.updated("other").await, ("other".to_owned(), String::new()));
    assert_eq!(platform.updated("off").await, ("off".to_owned(), String::new()));
    assert!(platform.route().variants[0].sample.is_none(), "it lends nothing either");
    assert_eq!(platform.updated("bad").await.0, "bad", "there is nothing to ask");
}

#[tokio::test(start_paused = true)]
async fn a_variant_rests_while_none_of_its_instances_is_wanted() {
    let platform = in_service().await;
    let change = |count: u32| {
        json!({"EndpointName": "e", "DesiredWeightsAndCapacities":
            [{"VariantName": "v", "DesiredInstanceCount": count}]})
    };
    assert!(!platform.is_resting());
    platform.ok("UpdateEndpointWeightsAndCapacities", change(0)).await;
    sleep(SOON).await;
    assert!(platform.is_resting());
    // Another fleet is on its way, that answers its calls; it is refused, and none is.
    platform.image("bad", "fake:deaf", json!({"SAGEBRUSH_PROBE_PAYLOAD": "[1]"})).await;
    platform.runtime.failures.lock().unwrap().insert(
        "fake:deaf".to_owned(),
        vec![LaunchError::Transient { reason: "no room".to_owned() }],
    );
    platform.ok("UpdateEndpoint", endpoint("e", "bad")).await;
    sleep(SOON / 2).await;
    assert!(!platform.is_resting());
    sleep(LOOK).await;
    assert_eq!(platform.status("e").await["EndpointStatus"], "InService");
    assert!(platform.is_resting());
    // More are on their way, though the first one does not start.
    platform
        .runtime
        .failures
        .lock()
        .unwrap()
        .insert("fake".to_owned(), vec![LaunchError::Transient { reason: "no room".to_owned() }]);
    platform.ok("UpdateEndpointWeightsAndCapacities", change(1)).await;
    sleep(SOON / 2).await;
    assert!(!platform.is_resting());
    sleep(LOOK).await;
    assert!(!platform.is_resting());
}
