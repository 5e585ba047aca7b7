//! Deployments with guardrails, and what is said of them.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::alarms::{AlarmState, SetAlarms};
use sagebrush_core::clock::FakeClock;
use sagebrush_core::demand::Demand;
use sagebrush_core::events::MemoryEvents;
use sagebrush_core::route::EndpointRoute;
use sagebrush_core::{Clock as _, Region, Timestamp};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Platform, endpoint};

/// Long enough for an instance to start or to go, where nothing takes time.
const SOON: Duration = Duration::from_millis(10);
/// After so long the reconciler looks by itself.
const LOOK: Duration = Duration::from_secs(11);

/// A platform whose clock, alarms and events are in the test's hands. It has an endpoint `e` of
/// the configuration `old` and another configuration, `new`.
struct Stage {
    platform: Platform,
    clock: Arc<FakeClock>,
    alarms: Arc<SetAlarms>,
    events: Arc<MemoryEvents>,
}

impl Stage {
    async fn set() -> Self {
        let clock = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000)));
        let (alarms, events) = (Arc::<SetAlarms>::default(), Arc::<MemoryEvents>::default());
        let platform = Platform::with(|parts| {
            parts.clock = clock.clone();
            parts.watched.alarms = alarms.clone();
            parts.watched.events = events.clone();
        });
        let stage = Self { platform, clock, alarms, events };
        stage.alarm("errors", AlarmState::Ok);
        sleep(SOON).await; // The reconciler has looked once.
        stage.platform.config("old", "fake", 2).await;
        stage.platform.config("new", "fake", 2).await;
        stage.platform.ok("CreateEndpoint", endpoint("e", "old")).await;
        assert_eq!(stage.platform.status("e").await["EndpointStatus"], "InService");
        stage
    }

    fn alarm(&self, name: &str, state: AlarmState) {
        self.alarms.set(&Region::new("us-east-1"), name, state);
    }

    async fn update(&self, config: &Value) {
        self.platform.ok("UpdateEndpoint", update(config)).await;
        sleep(SOON).await;
    }

    async fn after(&self, seconds: u64) -> Value {
        self.clock.advance(Duration::from_secs(seconds));
        sleep(LOOK).await;
        self.platform.status("e").await
    }

    fn route(&self) -> Arc<EndpointRoute> {
        let table = self.platform.routes.newest();
        table.find(&Region::new("us-east-1"), &"e".parse().unwrap()).unwrap().clone()
    }

    /// The configuration and the share of each fleet that takes calls.
    fn shares(&self) -> Vec<(String, f32)> {
        let route = self.route();
        route.variants.iter().map(|it| (it.config.to_string(), it.share)).collect()
    }

    /// How many instances of each take them.
    fn counts(&self) -> Vec<usize> {
        self.route().variants.iter().map(|it| it.instances.len()).collect()
    }

    /// Where the calls of a fleet are counted.
    fn demand(&self, fleet: usize) -> Arc<Demand> {
        self.route().variants[fleet].demand.clone().expect("it counts its calls")
    }

    /// A configuration of a serverless variant.
    async fn serverless(&self, name: &str, max_concurrency: u32) {
        let variant = json!({"VariantName": "v", "ModelName": "new",
            "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": max_concurrency}});
        let config = json!({"EndpointConfigName": name, "ProductionVariants": [variant]});
        self.platform.ok("CreateEndpointConfig", config).await;
    }

    /// The types and statuses of the events since the last time.
    fn told(&self, from: usize) -> Vec<String> {
        let word = |event: &sagebrush_core::events::Event| {
            let kind =
                if event.detail_type.contains("Deployment") { "deployment" } else { "state" };
            let pending = &event.detail["PendingDeploymentSummary"]["ProductionVariants"][0];
            let stage = pending["VariantStatus"][0]["Status"].as_str().unwrap_or_default();
            format!("{kind} {} {stage}", event.detail["EndpointStatus"].as_str().unwrap())
        };
        self.events.events()[from..].iter().map(word).collect()
    }
}

fn update(config: &Value) -> Value {
    let mut update = endpoint("e", "new");
    update["DeploymentConfig"] = config.clone();
    update
}

fn routed(routing: &Value, termination_wait: u32) -> Value {
    json!({
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": termination_wait,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
    })
}

fn percent(value: u32) -> Value {
    json!({"Type": "CAPACITY_PERCENT", "Value": value})
}

fn instances(value: u32) -> Value {
    json!({"Type": "INSTANCE_COUNT", "Value": value})
}

fn canary(bake: u32) -> Value {
    routed(&json!({"Type": "CANARY", "WaitIntervalInSeconds": bake, "CanarySize": percent(10)}), 30)
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_described_at_each_stage() {
    let stage = Stage::set().await;
    let n_told = stage.events.events().len();
    stage.update(&canary(300)).await;
    let described = stage.platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "Updating");
    assert_eq!(described["EndpointConfigName"], "old");
    assert_eq!(described["LastDeploymentConfig"], canary(300));
    let old = &described["ProductionVariants"][0];
    assert_eq!(old["CurrentWeight"], 0.09, "of 0.1, with nine calls of ten");
    assert_eq!((&old["DesiredWeight"], &old["CurrentInstanceCount"]), (&json!(0.1), &json!(2)));
    let pending = &described["PendingDeploymentSummary"];
    assert_eq!(pending["EndpointConfigName"], "new");
    assert_eq!(pending["StartTime"], 1_700_000_000.0);
    let new = &pending["ProductionVariants"][0];
    assert_eq!((&new["CurrentWeight"], &new["DesiredWeight"]), (&json!(0.01), &json!(0.1)));
    assert_eq!(
        (&new["CurrentInstanceCount"], &new["DesiredInstanceCount"]),
        (&json!(2), &json!(2))
    );
    let message = "Baking for 300 seconds (WaitIntervalInSeconds) with traffic enabled on canary \
        capacity of 1 instance(s).";
    let status =
        json!({"Status": "Baking", "StatusMessage": message, "StartTime": 1_700_000_000.0});
    assert_eq!(new["VariantStatus"][0], status);
    assert_eq!(stage.shares(), [("old".to_owned(), 0.9), ("new".to_owned(), 0.1)]);

    stage.after(300).await;
    assert_eq!(stage.shares(), [("new".to_owned(), 1.0)]);
    let described = stage.after(300).await;
    let status = &described["PendingDeploymentSummary"]["ProductionVariants"][0]["VariantStatus"];
    let message = "Baking for 30 seconds (TerminationWaitInSeconds) with traffic enabled on full \
        capacity of 2 instance(s).";
    assert_eq!(status[0]["StatusMessage"], message);
    let described = stage.after(30).await;
    assert_eq!(
        (&described["EndpointStatus"], &described["EndpointConfigName"]),
        (&json!("InService"), &json!("new"))
    );
    for unset in ["PendingDeploymentSummary", "FailureReason"] {
        assert!(described.get(unset).is_none(), "{unset}");
    }
    let told = [
        "state UPDATING Creating",
        "deployment UPDATING Creating",
        "deployment UPDATING Baking",
        "deployment UPDATING Baking",
        "deployment UPDATING Baking",
        "state IN_SERVICE ",
        "deployment IN_SERVICE ",
    ];
    assert_eq!(stage.told(n_told), told);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_wakes_the_way_back() {
    let stage = Stage::set().await;
    stage.update(&canary(300)).await;
    let n_told = stage.events.events().len();
    stage.alarm("errors", AlarmState::Alarm);
    sleep(SOON).await; // No time goes by: the alarm itself is what it waited for.
    assert_eq!(stage.shares(), [("old".to_owned(), 1.0)]);
    let described = stage.platform.status("e").await;
    assert_eq!(
        (&described["EndpointStatus"], &described["EndpointConfigName"]),
        (&json!("InService"), &json!("old"))
    );
    let reason = described["FailureReason"].as_str().unwrap();
    assert!(reason.contains("the alarm errors is in ALARM"), "{reason}");
    let told = [
        "state ROLLING_BACK Deleting",
        "deployment ROLLING_BACK Deleting",
        "state IN_SERVICE ",
        "deployment IN_SERVICE ",
    ];
    assert_eq!(stage.told(n_told), told);
    stage.alarm("errors", AlarmState::Ok);
    stage.update(&json!({})).await;
    let described = stage.platform.status("e").await;
    assert_eq!(described["EndpointConfigName"], "new");
    assert!(described.get("FailureReason").is_none());
}

#[tokio::test(start_paused = true)]
async fn events_say_what_sagemakers_say() {
    let stage = Stage::set().await;
    stage.platform.ok("DeleteEndpoint", json!({"EndpointName": "e"})).await;
    sleep(SOON).await;
    let told = ["state CREATING ", "state IN_SERVICE ", "state DELETING ", "state DELETED "];
    assert_eq!(stage.told(0), told);
    let event = &stage.events.events()[1];
    let arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e";
    assert_eq!(event.detail_type, "SageMaker Endpoint State Change");
    assert_eq!((event.source, &event.resources[..]), ("aws.sagemaker", &[arn.to_owned()][..]));
    assert_eq!(event.at, stage.clock.now());
    let variant = json!({"VariantName": "v", "CurrentWeight": 0.1, "DesiredWeight": 0.1,
        "CurrentInstanceCount": 2, "DesiredInstanceCount": 2});
    let detail = json!({"EndpointName": "e", "EndpointArn": arn, "EndpointConfigName": "old",
        "ProductionVariants": [variant], "EndpointStatus": "IN_SERVICE", "Tags": {},
        "CreationTime": 1_700_000_000_000_i64, "LastModifiedTime": 1_700_000_000_000_i64});
    assert_eq!(event.detail, detail);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_is_kept_for_the_next_update() {
    let stage = Stage::set().await;
    stage.update(&canary(300)).await;
    stage.after(300).await;
    stage.after(300).await;
    assert_eq!(stage.after(30).await["EndpointStatus"], "InService");
    let mut again = endpoint("e", "old");
    again["RetainDeploymentConfig"] = json!(true);
    stage.platform.ok("UpdateEndpoint", again).await;
    sleep(SOON).await;
    assert_eq!(stage.shares(), [("new".to_owned(), 0.9), ("old".to_owned(), 0.1)]);
    let mut both = update(&canary(300));
    both["RetainDeploymentConfig"] = json!(true);
    stage.alarm("errors", AlarmState::Alarm);
    sleep(SOON).await;
    let refused = stage.platform.call("UpdateEndpoint", both).await;
    Platform::refused(refused, "RetainDeploymentConfig cannot be true");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_keeps_what_it_was_created_with() {
    let stage = Stage::set().await;
    let mut create = endpoint("f", "old");
    create["DeploymentConfig"] = canary(60);
    stage.platform.ok("CreateEndpoint", create).await;
    let described = stage.platform.status("f").await;
    assert_eq!(described["EndpointStatus"], "InService", "it is for updates");
    assert_eq!(described["LastDeploymentConfig"], canary(60));
    let mut create = endpoint("g", "old");
    create["DeploymentConfig"] = routed(&json!({"Type": "CANARY", "WaitIntervalInSeconds": 0}), 0);
    Platform::refused(stage.platform.call("CreateEndpoint", create).await, "needs a CanarySize");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_together_is_refused_by_name() {
    let stage = Stage::set().await;
    let kind = |kind: &str, extra: Value| {
        let mut routing = json!({"Type": kind, "WaitIntervalInSeconds": 60});
        routing.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        routed(&routing, 0)
    };
    let canary = |size: Value| kind("CANARY", json!({"CanarySize": size}));
    let linear = |size: Value| kind("LINEAR", json!({"LinearStepSize": size}));
    let rolling = |batch: Value| json!({"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": 60}});
    let mut late = linear(percent(10));
    late["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = json!(600);
    let mut two = canary(percent(10));
    two["RollingUpdatePolicy"] = rolling(percent(50))["RollingUpdatePolicy"].clone();
    let mut back = rolling(percent(50));
    back["RollingUpdatePolicy"]["RollbackMaximumBatchSize"] = percent(101);
    let alarms = |names: &[&str]| {
        let alarms = names.iter().map(|name| json!({"AlarmName": name}));
        json!({"AutoRollbackConfiguration": {"Alarms": alarms.collect::<Vec<_>>()}})
    };
    let many: Vec<_> = (0..11).map(|n| format!("a{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for (config, wanted) in [
        (kind("CANARY", json!({})), "needs a CanarySize"),
        (kind("LINEAR", json!({})), "needs a LinearStepSize"),
        (kind("ALL_AT_ONCE", json!({"CanarySize": percent(5)})), "cannot have a CanarySize"),
        (
            kind("CANARY", json!({"CanarySize": percent(5), "LinearStepSize": percent(10)})),
            "cannot have a LinearStepSize",
        ),
        (canary(percent(51)), "must be from 1 to 50 percent"),
        (canary(instances(2)), "must be from 1 to 50 percent"),
        (linear(percent(9)), "must be from 10 to 50 percent"),
        (linear(percent(51)), "must be from 10 to 50 percent"),
        (rolling(percent(4)), "must be from 5 to 50 percent"),
        (rolling(instances(2)), "MaximumBatchSize of 2 instance(s)"),
        (back, "RollbackMaximumBatchSize of 101 percent"),
        (two, "both a BlueGreenUpdatePolicy and a RollingUpdatePolicy"),
        (late, "all that it waits: 600 seconds"),
        (alarms(&["errors", "nothing", "none"]), "do not exist: nothing, none"),
        (alarms(&["errors", "errors"]), "names the alarm errors twice"),
        (alarms(&[]), "autoRollbackConfiguration.alarms"),
        (alarms(&many), "autoRollbackConfiguration.alarms"),
        (json!({"AutoRollbackConfiguration": {"Alarms": [{}]}}), "without an AlarmName"),
    ] {
        Platform::refused(stage.platform.call("UpdateEndpoint", update(&config)).await, wanted);
    }
    stage.update(&rolling(instances(1))).await;
    let again = stage.platform.call("UpdateEndpoint", update(&json!({}))).await;
    Platform::refused(again, "Cannot update in-progress endpoint");
    let delete = stage.platform.call("DeleteEndpoint", json!({"EndpointName": "e"})).await;
    Platform::refused(delete, "Cannot delete in-progress endpoint");
}

#[tokio::test(start_paused = true)]
async fn steps_of_instances_are_not_for_variants_that_scale_with_calls() {
    let stage = Stage::set().await;
    stage.serverless("s", 5).await;
    let mut to_serverless = update(&json!({}));
    to_serverless["EndpointConfigName"] = json!("s");
    let canary = json!({"Type": "CANARY", "WaitIntervalInSeconds": 9, "CanarySize": instances(1)});
    let batch = json!({"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 9});
    for (config, wanted) in [
        (routed(&canary, 0), "a size of Type INSTANCE_COUNT, which is not for variants with"),
        (json!({"RollingUpdatePolicy": batch}), "with ServerlessConfig, as v is in s"),
    ] {
        to_serverless["DeploymentConfig"] = config;
        let refused = stage.platform.call("UpdateEndpoint", to_serverless.clone()).await;
        Platform::refused(refused, wanted);
    }
    to_serverless["DeploymentConfig"] = json!({});
    stage.platform.ok("UpdateEndpoint", to_serverless).await;
    sleep(SOON).await;
    assert_eq!(stage.platform.status("e").await["EndpointConfigName"], "s");
    // Another concurrency is another fleet, of the same configuration.
    let change = json!({"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "v",
        "ServerlessUpdateConfig": {"MaxConcurrency": 9}}]});
    stage.platform.ok("UpdateEndpointWeightsAndCapacities", change).await;
    sleep(SOON).await;
    let described = stage.platform.status("e").await;
    let config = &described["ProductionVariants"][0]["CurrentServerlessConfig"];
    assert_eq!(*config, json!({"MemorySizeInMB": 1024, "MaxConcurrency": 9}));
}

#[tokio::test(start_paused = true)]
async fn fleets_that_scale_with_calls_share_them_in_a_canary() {
    let stage = Stage::set().await;
    stage.serverless("s", 5).await;
    stage.serverless("t", 9).await;
    stage.platform.ok("UpdateEndpoint", endpoint("e", "s")).await;
    sleep(SOON).await;
    let mut to_other = update(&canary(300));
    to_other["EndpointConfigName"] = json!("t");
    stage.platform.ok("UpdateEndpoint", to_other).await;
    sleep(SOON).await;
    assert_eq!(stage.shares(), [("s".to_owned(), 0.9), ("t".to_owned(), 0.1)]);
    // Each fleet grows by its own calls, and has its own MaxConcurrency.
    let new = stage.demand(1);
    let calls: Vec<_> = (0..9).map(|_| new.call().unwrap()).collect();
    assert!(new.call().is_none());
    assert_eq!(stage.demand(0).calls(), 0);
    sleep(5 * SOON).await;
    assert_eq!(stage.counts(), [1, 5]);
    drop(calls);
    // The new fleet may be without a call for long; the old one stays for those that come back.
    sleep(Duration::from_secs(200)).await;
    assert_eq!(stage.counts(), [1, 0]);
    let described = stage.platform.status("e").await;
    let pending = &described["PendingDeploymentSummary"]["ProductionVariants"][0];
    let message = pending["VariantStatus"][0]["StatusMessage"].as_str().unwrap();
    assert!(message.ends_with("on canary capacity of 10 percent of the calls."), "{message}");
    assert_eq!(pending["DesiredInstanceCount"], 0);
    let described = stage.after(300).await;
    assert_eq!(stage.shares(), [("t".to_owned(), 1.0)], "no instance is as good as any");
    assert_eq!(described["ProductionVariants"][0]["CurrentInstanceCount"], 1);
    stage.alarm("errors", AlarmState::Alarm);
    sleep(SOON).await;
    assert_eq!(stage.shares(), [("s".to_owned(), 1.0)]);
    assert_eq!(stage.counts(), [1]);
    assert_eq!(stage.platform.status("e").await["EndpointConfigName"], "s");
    sleep(Duration::from_secs(200)).await;
    assert_eq!(stage.counts(), [0], "it shrinks again");
}

#[tokio::test(start_paused = true)]
async fn weights_and_counts_are_described_as_they_are_and_as_they_are_to_be() {
    let stage = Stage::set().await;
    let change = |count: u32| {
        json!({"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "v",
            "DesiredWeight": 0.5, "DesiredInstanceCount": count}]})
    };
    let failures = || {
        let refusal = sagebrush_core::worker::LaunchError::Transient { reason: "busy".to_owned() };
        vec![refusal; 2]
    };
    let fail = |failures: Vec<_>| {
        stage.platform.runtime.failures.lock().unwrap().insert("fake".to_owned(), failures);
    };
    fail(failures());
    stage.platform.ok("UpdateEndpointWeightsAndCapacities", change(3)).await;
    sleep(SOON).await;
    stage.clock.advance(Duration::from_secs(4)); // Describe does not wait.
    let described = stage.platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "Updating");
    assert!(described.get("PendingDeploymentSummary").is_none(), "no other fleet comes");
    let variant = &described["ProductionVariants"][0];
    for (member, wanted) in [
        ("CurrentWeight", json!(0.1)),
        ("DesiredWeight", json!(0.5)),
        ("CurrentInstanceCount", json!(2)),
        ("DesiredInstanceCount", json!(3)),
    ] {
        assert_eq!(variant[member], wanted, "{member}");
    }
    let message = &variant["VariantStatus"][0]["StatusMessage"];
    assert_eq!(message, "Scaling out desired instance count to 3.");
    sleep(LOOK).await;
    let variant = &stage.platform.status("e").await["ProductionVariants"][0];
    assert_eq!(
        (&variant["CurrentWeight"], &variant["CurrentInstanceCount"]),
        (&json!(0.5), &json!(3))
    );
    // What cannot be started leaves all as it was.
    fail(vec![sagebrush_core::worker::LaunchError::Permanent { reason: "no room".to_owned() }]);
    stage.platform.ok("UpdateEndpointWeightsAndCapacities", change(4)).await;
    sleep(LOOK).await;
    let described = stage.platform.status("e").await;
    assert_eq!(described["FailureReason"], "no room");
    for member in ["CurrentInstanceCount", "DesiredInstanceCount"] {
        assert_eq!(described["ProductionVariants"][0][member], 3, "{member}");
    }
    stage.platform.ok("UpdateEndpointWeightsAndCapacities", change(0)).await;
    sleep(SOON).await;
    let described = stage.platform.status("e").await;
    assert_eq!(described["EndpointStatus"], "InService");
    assert_eq!(described["ProductionVariants"][0]["CurrentInstanceCount"], 0);
}
