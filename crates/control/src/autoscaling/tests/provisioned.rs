//! A serverless variant whose provisioned concurrency is the capacity, and policies that compute.

use serde_json::{Value, json};

use super::{World, of_target, seen};

const BEGIN: &str = "2026-01-10T12:00:00Z";

async fn serverless(provisioned: Option<u32>) -> World {
    let mut config = json!({"MemorySizeInMB": 1024, "MaxConcurrency": 10});
    if let Some(provisioned) = provisioned {
        config["ProvisionedConcurrency"] = provisioned.into();
    }
    let variant = json!({"VariantName": "v", "ModelName": "m", "ServerlessConfig": config});
    World::deploy(BEGIN, variant).await
}

fn of_concurrency(input: Value) -> Value {
    let mut input = of_target(input);
    input["ScalableDimension"] = "sagemaker:variant:DesiredProvisionedConcurrency".into();
    input
}

impl World {
    async fn register(&self, min: u32, max: u32) -> Result<Value, String> {
        let bounds = json!({"MinCapacity": min, "MaxCapacity": max});
        self.call("RegisterScalableTarget", of_concurrency(bounds)).await
    }

    async fn put(&self, config: Value, of: fn(Value) -> Value) -> Result<Value, String> {
        let policy = json!({"PolicyName": "p", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": config});
        self.call("PutScalingPolicy", of(policy)).await
    }
}

fn predefined(metric: &str) -> Value {
    let metric = json!({"PredefinedMetricType": metric});
    json!({"TargetValue": 0.5, "PredefinedMetricSpecification": metric})
}

#[tokio::test(start_paused = true)]
async fn provisioned_concurrency_follows_its_utilization() {
    let world = serverless(Some(2)).await;
    let concurrent = [vec![0.0; 13], vec![2.5], vec![40.0], vec![0.0; 9]].concat();
    *world.calls.by_hour.lock().unwrap() = concurrent;
    world.register(1, 8).await.unwrap();
    let put =
        world.put(predefined("SageMakerVariantProvisionedConcurrencyUtilization"), of_concurrency);
    put.await.unwrap();
    let expected = [
        ("10T12:00", 2),
        ("10T12:15", 1), // Nobody calls.
        ("10T13:03", 5),
        ("10T14:03", 8), // As many as there may be.
        ("10T15:15", 1),
    ];
    assert_eq!(seen(&world.changes(4).await), expected, "{:#?}", world.causes().await);
    let activities = world.activities().await;
    let out = activities
        .iter()
        .find(|one| one["Description"] == "Setting desired provisioned concurrency to 5.");
    let out = out.unwrap();
    assert_eq!(out["ResourceId"], "endpoint/E/variant/v");
    assert_eq!(out["ScalableDimension"], "sagemaker:variant:DesiredProvisionedConcurrency");
    assert_eq!(
        out["StatusMessage"],
        "Successfully set desired provisioned concurrency to 5. \
        Change successfully fulfilled by sagemaker."
    );
    assert_eq!(
        out["Cause"],
        "policy p was triggered: ServerlessProvisionedConcurrencyUtilization \
        was 2.5, above its target of 0.5"
    );
}

#[tokio::test(start_paused = true)]
async fn provisioned_concurrency_follows_alarms_and_the_clock() {
    let world = serverless(Some(2)).await;
    world.register(1, 8).await.unwrap();
    let steps = json!([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 3}]);
    let config = json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps});
    let policy = json!({"PolicyName": "alarm", "StepScalingPolicyConfiguration": config});
    let put = world.ok("PutScalingPolicy", of_concurrency(policy)).await;
    let arn = put["PolicyARN"].as_str().unwrap().to_owned();
    assert!(arn.ends_with(":resource/sagemaker/endpoint/E/variant/v:policyName/alarm"), "{arn}");
    assert_eq!(world.alarm(&arn).await, Ok(()));
    assert_eq!(seen(&world.changes(1).await), [("10T12:00", 5)]);
    for (name, schedule, (min, max)) in [
        ("night", "at(2026-01-10T14:00:00)", (0, 0)),
        ("morning", "at(2026-01-10T15:00:00)", (3, 99)),
    ] {
        let action = json!({"ScheduledActionName": name, "Schedule": schedule,
            "ScalableTargetAction": {"MinCapacity": min, "MaxCapacity": max}});
        world.ok("PutScheduledAction", of_concurrency(action)).await;
    }
    assert_eq!(seen(&world.changes(3).await), [("10T14:00", 0), ("10T15:00", 3)]);
    // What the variant may have at most holds, whatever was asked for.
    let steps = json!([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}]);
    let config = json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps});
    let policy = json!({"PolicyName": "alarm", "StepScalingPolicyConfiguration": config});
    world.ok("PutScalingPolicy", of_concurrency(policy)).await;
    assert_eq!(world.alarm(&arn).await, Ok(()));
    world.changes(1).await;
    assert_eq!(world.count().await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn what_goes_with_which_dimension() {
    let world = serverless(Some(2)).await;
    let error = world.register(1, 11).await.unwrap_err();
    assert!(error.contains("MaxConcurrency, 10"), "{error}");
    let bounds = json!({"MinCapacity": 1, "MaxCapacity": 2});
    let error = world.call("RegisterScalableTarget", of_target(bounds)).await.unwrap_err();
    assert!(error.contains("ServerlessConfig"), "{error}");
    world.register(1, 2).await.unwrap();
    for (metric, is_fine) in [
        ("SageMakerVariantInvocationsPerInstance", false),
        ("SageMakerVariantConcurrentRequestsPerModelHighResolution", false),
        ("SageMakerVariantProvisionedConcurrencyUtilization", true),
    ] {
        assert_eq!(
            world.put(predefined(metric), of_concurrency).await.is_ok(),
            is_fine,
            "{metric}"
        );
    }
    let of_other = of_target(json!({"ResourceIds": [super::TARGET]}));
    let listed = |word: &'static str, input: Value| {
        let world = &world;
        async move { world.ok(word, input).await }
    };
    let all = json!({"ServiceNamespace": "sagemaker"});
    let targets = listed("DescribeScalableTargets", all.clone()).await;
    assert_eq!(targets["ScalableTargets"][0]["ResourceId"], super::TARGET.replace("/e/", "/E/"));
    let targets = listed("DescribeScalableTargets", of_other).await;
    assert_eq!(targets["ScalableTargets"], json!([]));
    let policies = listed("DescribeScalingPolicies", of_concurrency(json!({}))).await;
    let policy = &policies["ScalingPolicies"][0];
    assert_eq!(policy["ScalableDimension"], "sagemaker:variant:DesiredProvisionedConcurrency");
    let policies = listed("DescribeScalingPolicies", of_target(json!({}))).await;
    assert_eq!(policies["ScalingPolicies"], json!([]));
    world.ok("DeregisterScalableTarget", of_concurrency(json!({}))).await;
    assert_eq!(listed("DescribeScalingPolicies", all).await["ScalingPolicies"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn without_provisioned_concurrency_there_is_no_target() {
    let world = serverless(None).await;
    let error = world.register(1, 2).await.unwrap_err();
    assert!(error.contains("no ServerlessConfig with ProvisionedConcurrency"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_computes_scales() {
    let world = World::start(BEGIN, (1, 4)).await;
    *world.calls.by_hour.lock().unwrap() = [vec![50.0; 13], vec![250.0; 11]].concat();
    let metric = json!({"Namespace": "N", "MetricName": "m"});
    let queries = json!([
        {"Id": "m", "MetricStat": {"Metric": metric, "Stat": "Sum"}, "ReturnData": false},
        {"Id": "e", "Label": "calls by instance", "Expression": "m / 2"},
    ]);
    let config = json!({"TargetValue": 100, "CustomizedMetricSpecification": {"Metrics": queries}});
    world.put(config.clone(), of_target).await.unwrap();
    assert_eq!(seen(&world.changes(2).await), [("10T12:00", 1), ("10T13:03", 3)]);
    let cause = "policy p was triggered: calls by instance was 250, above its target of 100";
    assert_eq!(world.causes().await[0], cause);
    let described = world.ok("DescribeScalingPolicies", of_target(json!({}))).await;
    let kept = &described["ScalingPolicies"][0]["TargetTrackingScalingPolicyConfiguration"];
    assert_eq!(kept["CustomizedMetricSpecification"]["Metrics"], queries);
}
