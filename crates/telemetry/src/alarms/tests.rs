//! Alarms from their API to what they do, in simulated time.

mod acting;
mod calls;
mod composite;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::alarms::{ActionError, AlarmAction, AlarmState, Alarming, Alarms as _};
use sagebrush_core::cloudwatch::{MemoryMetrics, MetricDatum, MetricId, Metrics};
use sagebrush_core::events::MemoryEvents;
use sagebrush_core::messages::{Message, PublishError, Publisher};
use sagebrush_core::sketch::Sketch;
use sagebrush_core::store::MetaStore;
use sagebrush_core::{AccountId, Clock, Region, Timestamp};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Alarms, Parts, operations};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alarms";
const POLICY: &str = "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:1:x:policyName/p";
const SECOND: Duration = Duration::from_secs(1);

/// Goes with `tokio`'s clock, from the beginning of a minute on.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from((Instant::now() - self.0).as_millis()).unwrap();
        Timestamp(1_800_000_000_000 + since)
    }
}

/// A topic, and policies, that note what they get.
#[derive(Default)]
struct Told {
    messages: Mutex<Vec<Message>>,
    scaled: Mutex<Vec<Alarming>>,
}

#[async_trait]
impl Publisher for Told {
    async fn publish(&self, topic_arn: &str, message: Message) -> Result<(), PublishError> {
        if topic_arn != TOPIC {
            return Err(PublishError::NoTopic(topic_arn.to_owned()));
        }
        self.messages.lock().unwrap().push(message);
        Ok(())
    }
}

#[async_trait]
impl AlarmAction for Told {
    async fn act(&self, _arn: &str, alarm: &Alarming) -> Result<(), ActionError> {
        self.scaled.lock().unwrap().push(alarm.clone());
        Ok(())
    }
}

struct World {
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<MemoryMetrics>,
    events: Arc<MemoryEvents>,
    told: Arc<Told>,
    alarms: Arc<Alarms>,
    tasks: Vec<JoinHandle<()>>,
}

impl World {
    async fn new() -> Self {
        let world = Self::silent().await;
        world.running(true)
    }

    /// Nobody looks at alarms yet.
    async fn silent() -> Self {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryStore::new());
        let clock = Arc::new(PausedClock(Instant::now()));
        Self::over(store, clock, Arc::default(), Arc::default(), Arc::default()).await
    }

    async fn over(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        metrics: Arc<MemoryMetrics>,
        events: Arc<MemoryEvents>,
        told: Arc<Told>,
    ) -> Self {
        let parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            account: AccountId("123456789012".into()),
            metrics: metrics.clone(),
            math: None,
            publisher: told.clone(),
            events: events.clone(),
        };
        let alarms = Alarms::open(parts).await.unwrap();
        Self { store, clock, metrics, events, told, alarms, tasks: Vec::new() }
    }

    fn running(mut self, scales: bool) -> Self {
        let scaling = scales.then(|| self.told.clone() as Arc<dyn AlarmAction>);
        self.tasks.extend(self.alarms.run(scaling));
        self
    }

    /// As after `kill -9`; nobody looks at alarms yet.
    async fn restarted(self) -> Self {
        self.tasks.iter().for_each(JoinHandle::abort);
        Self::over(self.store, self.clock, self.metrics, self.events, self.told).await
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let context = Context::new(region(), AccountId("123456789012".into()));
        let body = input.to_string();
        let (served, state) = (operations(), self.alarms.clone());
        let answer = served.call(state, context, operation, body.as_bytes()).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn refused(&self, operation: &str, input: Value, code: &str, text: &str) {
        let error = self.call(operation, input).await.unwrap_err();
        assert_eq!(error.query_code, Some(code), "{error}");
        assert!(error.message.contains(text), "{error}");
    }

    /// An alarm on errors in a minute, with more members or others.
    async fn put(&self, name: &str, more: Value) {
        self.ok("PutMetricAlarm", metric_alarm(name, more)).await;
    }

    fn errors(&self, n: f64) {
        let dimensions = [("EndpointName".into(), "digits".into())];
        let metric = MetricId::new("AWS/SageMaker", "Errors", dimensions);
        let datum = MetricDatum {
            metric,
            unit: "Count".into(),
            at: self.clock.now(),
            values: Sketch::of(n),
            high_resolution: false,
        };
        self.metrics.put(&region(), vec![datum]);
    }

    fn state(&self, name: &str) -> AlarmState {
        self.alarms.state(&region(), name).expect("an alarm")
    }

    /// Waits for a state; in seconds.
    async fn reach(&self, name: &str, state: AlarmState) -> u64 {
        let start = Instant::now();
        while self.state(name) != state {
            assert!(start.elapsed() < 600 * SECOND, "{name} is still {:?}", self.state(name));
            sleep(SECOND / 4).await;
        }
        sleep(SECOND / 4).await; // What is to be done about it is done.
        start.elapsed().as_secs()
    }

    /// The messages so far, each with its subject.
    fn messages(&self) -> Vec<(String, Value)> {
        let messages = self.told.messages.lock().unwrap();
        let read =
            |it: &Message| (it.subject.clone().unwrap(), serde_json::from_str(&it.body).unwrap());
        messages.iter().map(read).collect()
    }

    fn subjects(&self) -> Vec<String> {
        self.messages().into_iter().map(|(subject, _)| subject).collect()
    }

    async fn history(&self, name: &str, kind: &str) -> Vec<String> {
        let input = json!({
            "AlarmName": name,
            "HistoryItemType": kind,
            "AlarmTypes": ["MetricAlarm", "CompositeAlarm"],
            "ScanBy": "TimestampAscending",
        });
        let answer = self.ok("DescribeAlarmHistory", input).await;
        let items = answer["AlarmHistoryItems"].as_array().unwrap();
        items.iter().map(|item| item["HistorySummary"].as_str().unwrap().to_owned()).collect()
    }
}

fn region() -> Region {
    Region::new("us-east-1")
}

fn metric_alarm(name: &str, more: Value) -> Value {
    let mut input = json!({
        "AlarmName": name,
        "Namespace": "AWS/SageMaker",
        "MetricName": "Errors",
        "Dimensions": [{"Name": "EndpointName", "Value": "digits"}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanThreshold",
    });
    let Value::Object(more) = more else { panic!("an object") };
    for (member, value) in more {
        input[&member] = value;
    }
    input
}

fn alarm_subject(name: &str, state: &str) -> String {
    format!("{state}: \"{name}\" in US East (N. Virginia)")
}
