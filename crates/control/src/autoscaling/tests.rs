//! The room with a fleet whose instances start at once, and a clock that goes as fast as it is
//! waited for.

mod provisioned;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sagebrush_aws::{Context, Dispatch};
use sagebrush_core::access::AllowAll;
use sagebrush_core::alarms::{AlarmAction as _, AlarmState, Alarming};
use sagebrush_core::cloudwatch::{
    DataQuery, Datapoint, MetricDatum, MetricMath, MetricQuery, Metrics,
};
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::metrics::Registry;
use sagebrush_core::worker::LaunchError;
use sagebrush_core::{AccountId, Clock, Region, Timestamp, task};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Autoscaler;
use super::dimension::Dimension;
use super::history::{self, Note};
use crate::instance::{Catalogue, Launcher, LocalFleet};
use crate::testing::{FakeArtifacts, FakeRuntime, LIMITS, parts};
use crate::{Control, Parts, Watched};

const TARGET: &str = "endpoint/e/variant/v";
const MINUTE: i64 = 60_000;
/// Between two looks at the world, as often as it looks at itself.
const STEP: Duration = Duration::from_secs(10);

/// Goes with the time of the tests.
struct TestClock(Instant, Timestamp);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.1.0 + i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// The calls of each minute, by the hour of the day, shared by the capacity that there was.
#[derive(Default)]
struct Calls {
    by_hour: Mutex<Vec<f64>>,
    instances: Mutex<BTreeMap<Timestamp, u32>>,
}

impl Metrics for Calls {
    fn put(&self, _: &Region, _: Vec<MetricDatum>) {}

    fn read(&self, _: &Region, query: &MetricQuery) -> Vec<Datapoint> {
        let metrics = ["InvocationsPerInstance", "ServerlessProvisionedConcurrencyUtilization"];
        assert!(metrics.contains(&&*query.metric.name), "{query:?}");
        let names: Vec<_> = query.metric.dimensions().iter().map(|(_, value)| &**value).collect();
        assert_eq!(names, ["E", "v"]);
        self.points(query.from..query.to)
    }
}

/// Whatever is asked for is the same.
impl MetricMath for Calls {
    fn check(&self, _: &[DataQuery]) -> Result<(), String> {
        Ok(())
    }

    fn read(&self, _: &Region, _: &[DataQuery], span: Range<Timestamp>) -> Vec<Datapoint> {
        self.points(span)
    }
}

impl Calls {
    fn points(&self, span: Range<Timestamp>) -> Vec<Datapoint> {
        let (by_hour, instances) = (self.by_hour.lock().unwrap(), self.instances.lock().unwrap());
        let minutes = (span.start.0..span.end.0).step_by(usize::try_from(MINUTE).unwrap());
        let point = |at: i64| {
            let hour = usize::try_from(at / MINUTE / 60 % 24).unwrap();
            let (_, n) = instances.range(..Timestamp(at + MINUTE)).next_back()?;
            let value = by_hour.get(hour)? / f64::from(*n);
            (*n > 0).then_some(Datapoint { at: Timestamp(at), value })
        };
        minutes.filter_map(point).collect()
    }
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<dyn Clock>,
    calls: Arc<Calls>,
    runtime: Arc<FakeRuntime>,
    control: Arc<Control>,
    scaler: Arc<Autoscaler>,
    operations: Dispatch<Control>,
    tasks: Vec<JoinHandle<()>>,
}

impl World {
    /// An endpoint of one instance that is registered for `bounds`.
    async fn start(begin: &str, (min, max): (u32, u32)) -> Self {
        let variant = json!({"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large"});
        let world = Self::deploy(begin, variant).await;
        let bounds = json!({"MinCapacity": min, "MaxCapacity": max});
        world.ok("RegisterScalableTarget", of_target(bounds)).await;
        world
    }

    async fn deploy(begin: &str, variant: Value) -> Self {
        let begin = begin.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let clock = Arc::new(TestClock(Instant::now(), Timestamp(begin)));
        let world = Self::over(Arc::default(), clock, Arc::default());
        let container = json!({"Image": "fake", "ModelDataUrl": "s3://b/model.tar.gz"});
        world.ok("CreateModel", json!({"ModelName": "m", "PrimaryContainer": container})).await;
        let config = json!({"EndpointConfigName": "c", "ProductionVariants": [variant]});
        world.ok("CreateEndpointConfig", config).await;
        let endpoint = json!({"EndpointName": "E", "EndpointConfigName": "c"});
        world.ok("CreateEndpoint", endpoint).await;
        world.ok("DescribeEndpoint", json!({"EndpointName": "E"})).await;
        world
    }

    fn over(store: Arc<MemoryStore>, clock: Arc<dyn Clock>, calls: Arc<Calls>) -> Self {
        let runtime = Arc::new(FakeRuntime::default());
        let fleet = LocalFleet::new(Launcher {
            artifacts: Arc::new(FakeArtifacts),
            catalogue: Catalogue::new().with("fake", runtime.clone()),
            log: Arc::new(MemoryLog::default()),
            metrics: Registry::default(),
            limits: LIMITS,
            roles: Arc::new(AllowAll),
        });
        let parts = parts(store.clone(), Arc::new(fleet));
        let watched = Watched { metrics: calls.clone(), math: calls.clone(), ..parts.watched };
        let parts = Parts { clock: clock.clone(), watched, ..parts };
        let (control, reconciler, _) = Control::new(parts);
        let scaler = Autoscaler::new(control.clone());
        let tasks = vec![
            task::spawn("reconciler", reconciler.run()),
            task::spawn("autoscaler", scaler.clone().run()),
        ];
        let operations = crate::operations();
        Self { store, clock, calls, runtime, control, scaler, operations, tasks }
    }

    /// As after `kill -9`.
    fn restarted(self) -> Self {
        for task in &self.tasks {
            task.abort();
        }
        Self::over(self.store, self.clock, self.calls)
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        let context = Context::new(region(), AccountId("123456789012".into()));
        let body = serde_json::to_vec(&input).unwrap();
        let answer = self.operations.call(self.control.clone(), context, operation, &body).await;
        answer.map(|body| serde_json::from_slice(&body).unwrap()).map_err(|error| error.to_string())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn schedule(&self, name: &str, schedule: &str, (min, max): (u32, u32)) {
        let action = json!({"ScheduledActionName": name, "Schedule": schedule,
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": min, "MaxCapacity": max}});
        self.ok("PutScheduledAction", of_target(action)).await;
    }

    async fn track(&self) {
        let config = json!({"TargetValue": 100, "PredefinedMetricSpecification":
            {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}});
        let policy = json!({"PolicyName": "calls", "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": config});
        self.ok("PutScalingPolicy", of_target(policy)).await;
    }

    /// Has the alarm `up` add `n` instances. Returns the policy's ARN.
    async fn step(&self, n: i32) -> String {
        let steps = json!([{"MetricIntervalLowerBound": 0, "ScalingAdjustment": n}]);
        let config = json!({"AdjustmentType": "ChangeInCapacity", "StepAdjustments": steps});
        let policy = json!({"PolicyName": "alarm", "StepScalingPolicyConfiguration": config});
        let put = self.ok("PutScalingPolicy", of_target(policy)).await;
        put["PolicyARN"].as_str().unwrap().to_owned()
    }

    async fn alarm(&self, arn: &str) -> Result<(), String> {
        let alarm = Alarming {
            region: region(),
            name: "up".to_owned(),
            arn: "arn:aws:cloudwatch:us-east-1:123456789012:alarm:up".to_owned(),
            state: AlarmState::Alarm,
            reason: "Threshold Crossed".to_owned(),
            at: self.clock.now(),
            value: Some(12.0),
            threshold: Some(10.0),
        };
        self.scaler.act(arn, &alarm).await.map_err(|error| error.to_string())
    }

    async fn count(&self) -> Option<u32> {
        let endpoint = self.control.endpoints.get(&region(), "E").await.unwrap()?;
        let serving = endpoint.status.serving().filter(|_| endpoint.status.is_settled())?;
        let all = [Dimension::InstanceCount, Dimension::ProvisionedConcurrency];
        all.iter().find_map(|dimension| Some(dimension.of(&serving.variants[0])?.capacity))
    }

    /// Lets a step of time go by. Returns the count, if it has changed.
    async fn go_on(&self) -> Option<(String, u32)> {
        sleep(STEP).await;
        let (now, count) = (self.clock.now(), self.count().await?);
        let mut instances = self.calls.instances.lock().unwrap();
        if instances.values().next_back() == Some(&count) {
            return None;
        }
        instances.insert(now, count);
        let time = jiff::Timestamp::from_millisecond(now.0).unwrap();
        Some((time.strftime("%dT%H:%M").to_string(), count))
    }

    /// The changes of the count until `hours` have gone by.
    async fn changes(&self, hours: u64) -> Vec<(String, u32)> {
        let mut changes = Vec::new();
        for _ in 0..hours * 3600 / STEP.as_secs() {
            changes.extend(self.go_on().await);
        }
        changes
    }

    /// Newest first.
    async fn activities(&self) -> Vec<Value> {
        let input = json!({"ServiceNamespace": "sagemaker", "IncludeNotScaledActivities": true});
        let answer = self.ok("DescribeScalingActivities", input).await;
        answer["ScalingActivities"].as_array().unwrap().clone()
    }

    async fn causes(&self) -> Vec<String> {
        let activities = self.activities().await;
        activities.iter().map(|one| one["Cause"].as_str().unwrap().to_owned()).collect()
    }
}

fn region() -> Region {
    Region::new("us-east-1")
}

fn of_target(mut input: Value) -> Value {
    input["ServiceNamespace"] = "sagemaker".into();
    input["ResourceId"] = TARGET.into();
    input["ScalableDimension"] = "sagemaker:variant:DesiredInstanceCount".into();
    input
}

fn seen(changes: &[(String, u32)]) -> Vec<(&str, u32)> {
    changes.iter().map(|(at, count)| (at.as_str(), *count)).collect()
}

/// Calls a minute: few, many from 14:00, less from 16:00.
fn day() -> Vec<f64> {
    (0..24)
        .map(|hour| {
            if hour < 14 {
                50.0
            } else if hour < 16 {
                390.0
            } else {
                120.0
            }
        })
        .collect()
}

/// The night from 28 to 29 March is short in Berlin: 22:00 is 21:00 UTC, and 07:00 is 05:00 UTC.
const NIGHT: &str = "cron(0 22 * * ? *)";
const MORNING: &str = "cron(0 7 * * ? *)";
const DAY: [(&str, u32); 6] = [
    ("28T13:30", 1),
    ("28T14:03", 4),
    ("28T16:15", 2),
    ("28T21:00", 0),
    ("29T05:00", 1),
    ("29T14:03", 4),
];

#[tokio::test(start_paused = true)]
async fn a_day_with_a_short_night() {
    let world = World::start("2026-03-28T13:30:00Z", (1, 4)).await;
    *world.calls.by_hour.lock().unwrap() = day();
    world.track().await;
    world.schedule("night", NIGHT, (0, 0)).await;
    world.schedule("morning", MORNING, (1, 4)).await;
    assert_eq!(seen(&world.changes(25).await), DAY);
    let activities = world.activities().await;
    assert!(activities.iter().all(|one| one["StatusCode"] == "Successful"
        || one["NotScaledReasons"][0]["Code"] == "AlreadyAtMinCapacity"));
    let causes = world.causes().await;
    for cause in [
        "scheduled action name night was triggered",
        "policy calls was triggered: InvocationsPerInstance was 390, above its target of 100",
        "maximum capacity was set to 0",
        "minimum capacity was set to 1",
    ] {
        assert!(causes.iter().any(|seen| seen == cause), "{cause}: {causes:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_with_restarts() {
    let mut world = World::start("2026-03-28T13:30:00Z", (1, 4)).await;
    *world.calls.by_hour.lock().unwrap() = day();
    world.track().await;
    world.schedule("night", NIGHT, (0, 0)).await;
    world.schedule("morning", MORNING, (1, 4)).await;
    let mut changes = Vec::new();
    for step in 0..16 * 360 {
        if step % 200 == 7 {
            world = world.restarted();
        }
        changes.extend(world.go_on().await);
    }
    assert_eq!(seen(&changes), DAY[..5]);
    let failed =
        world.activities().await.into_iter().filter(|one| {
            one["StatusCode"] != "Successful" && one.get("NotScaledReasons").is_none()
        });
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_made_up_for_in_its_order() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    world.schedule("night", NIGHT, (0, 0)).await;
    world.schedule("morning", MORNING, (2, 4)).await;
    world.schedule("once", "at(2026-01-10T20:00:00)", (3, 3)).await;
    for task in &world.tasks {
        task.abort();
    }
    sleep(Duration::from_hours(24 * 3)).await;
    let world = world.restarted();
    world.changes(1).await;
    assert_eq!(world.count().await, Some(2));
    let causes = world.causes().await;
    let run: Vec<_> = causes.iter().filter(|cause| cause.starts_with("scheduled")).collect();
    let name = |name| format!("scheduled action name {name} was triggered");
    assert_eq!(run, [&name("morning"), &name("night"), &name("once")]);
    assert_eq!(world.changes(1).await, []);
}

#[tokio::test(start_paused = true)]
async fn scheduled_scaling_that_is_suspended_is_not_made_up_for() {
    let world = World::start("2026-01-10T20:30:00Z", (1, 4)).await;
    world.schedule("night", "cron(0 22,0 * * ? *)", (0, 0)).await;
    let suspend =
        |on: bool| of_target(json!({"SuspendedState": {"ScheduledScalingSuspended": on}}));
    world.ok("RegisterScalableTarget", suspend(true)).await;
    world.changes(1).await;
    world.ok("RegisterScalableTarget", suspend(false)).await;
    world.changes(1).await;
    assert_eq!(world.count().await, Some(1));
    assert_eq!(seen(&world.changes(1).await), [("10T23:00", 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_steps_once_in_its_cooldown() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    let arn = world.step(2).await;
    for (seconds, expected) in [(0, 3), (60, 3), (120, 3), (180, 4), (60, 4)] {
        sleep(Duration::from_secs(seconds)).await;
        assert_eq!(world.alarm(&arn).await, Ok(()));
        world.go_on().await;
        assert_eq!(world.count().await, Some(expected), "{:#?}", world.causes().await);
    }
    let told = world.activities().await;
    let reason = json!([{"Code": "AlreadyAtMaxCapacity", "MinCapacity": 1, "MaxCapacity": 4,
        "CurrentCapacity": 4}]);
    assert_eq!(told[0]["NotScaledReasons"], reason);
    assert_eq!(told[0]["Cause"], "monitor alarm up in state ALARM triggered policy alarm");
    assert_eq!(world.alarm(&arn).await, Ok(()));
    assert_eq!(world.activities().await, told, "it is told once");
    let unknown = world.alarm("arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:x").await;
    assert!(unknown.unwrap_err().contains("no scaling policy"));
}

#[tokio::test(start_paused = true)]
async fn nobody_scales_in_against_an_alarm() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    *world.calls.by_hour.lock().unwrap() = vec![50.0; 24];
    let arn = world.step(1).await;
    world.track().await;
    for _ in 0..60 {
        assert_eq!(world.alarm(&arn).await, Ok(()));
        for _ in 0..6 {
            world.go_on().await;
        }
    }
    assert_eq!(world.count().await, Some(4));
    world.changes(1).await;
    assert_eq!(world.count().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_is_told_and_tried_again() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    let refusal = || LaunchError::Permanent { reason: "There is no memory left.".to_owned() };
    let refusals = vec![refusal(), refusal()];
    world.runtime.failures.lock().unwrap().insert("fake".to_owned(), refusals);
    let bounds = json!({"MinCapacity": 2});
    world.ok("RegisterScalableTarget", of_target(bounds)).await;
    assert_eq!(seen(&world.changes(1).await).last().unwrap().1, 2);
    let activities = world.activities().await;
    let codes: Vec<_> = activities.iter().map(|one| one["StatusCode"].as_str().unwrap()).collect();
    assert_eq!(codes, ["Successful", "Failed", "Failed"]);
    let began = |place: usize| activities[place]["StartTime"].as_f64().unwrap();
    assert!(began(1) - began(2) >= 30.0 && began(0) - began(1) >= 60.0);
    let message = activities[1]["StatusMessage"].as_str().unwrap();
    assert!(message.starts_with("Failed to set desired instance count to 2."), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_under_way_is_left_alone() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    world.go_on().await;
    let mut endpoint = world.control.endpoints.get(&region(), "E").await.unwrap().unwrap();
    world.tasks[0].abort(); // Nobody brings it to an end.
    let settled = endpoint.status.clone();
    let serving = settled.serving().unwrap().clone();
    endpoint.status = crate::endpoint::EndpointState::Updating { serving, rollout: Box::default() };
    let mut endpoint = world.control.endpoints.update(endpoint).await.unwrap();
    world.ok("RegisterScalableTarget", of_target(json!({"MinCapacity": 3}))).await;
    world.scaler.look().await.unwrap();
    assert_eq!(world.activities().await, Vec::<Value>::new());
    endpoint.status = settled;
    world.control.endpoints.update(endpoint).await.unwrap();
    world.scaler.look().await.unwrap();
    assert_eq!(world.causes().await, ["minimum capacity was set to 3"]);
}

#[tokio::test(start_paused = true)]
async fn an_activity_that_was_cut_off_has_failed() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    let note = Note {
        region: &region(),
        target: TARGET,
        description: "Setting desired instance count to 2.".to_owned(),
        cause: "it was killed here".to_owned(),
        not_scaled: None,
    };
    history::begin(&world.control.autoscaling.activities, note).await.unwrap();
    let world = world.restarted();
    world.go_on().await;
    let activities = world.activities().await;
    assert_eq!(activities[0]["StatusCode"], "Failed");
    assert!(activities[0].get("EndTime").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_history_is_bounded() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 1)).await;
    world.schedule("often", "rate(1 minute)", (1, 1)).await;
    world.changes(5).await;
    let all = world.control.autoscaling.activities.all().await.unwrap();
    assert_eq!(all.len(), 200);
    world.ok("DeregisterScalableTarget", of_target(json!({}))).await;
    assert_eq!(world.control.autoscaling.actions.all().await.unwrap().len(), 0);
    for task in &world.tasks {
        task.abort();
    }
    sleep(Duration::from_hours(24 * 43)).await;
    let world = world.restarted();
    world.go_on().await;
    assert_eq!(world.control.autoscaling.activities.all().await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_target_goes_with_its_endpoint() {
    let world = World::start("2026-01-10T12:00:00Z", (1, 4)).await;
    world.track().await;
    world.schedule("night", NIGHT, (0, 0)).await;
    world.ok("DeleteEndpoint", json!({"EndpointName": "e"})).await;
    world.go_on().await;
    world.go_on().await;
    let tables = &world.control.autoscaling;
    assert_eq!(tables.targets.all().await.unwrap().len(), 0);
    assert_eq!(tables.policies.all().await.unwrap().len(), 0);
    assert_eq!(tables.actions.all().await.unwrap().len(), 0);
}
