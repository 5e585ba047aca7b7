use std::sync::Mutex;

use async_trait::async_trait;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::logs::MemoryLog;

use super::*;
use crate::testing::{PausedClock, account, region, store};

/// Topics that fail a few times, and keep what they are given once for each id.
#[derive(Default)]
struct Topics {
    n_failures: Mutex<u32>,
    published: Mutex<Vec<(String, Message)>>,
}

#[async_trait]
impl Publisher for Topics {
    async fn publish(&self, topic_arn: &str, message: Message) -> Result<(), PublishError> {
        if topic_arn.ends_with("gone") {
            return Err(PublishError::NoTopic(topic_arn.to_owned()));
        }
        let mut n_failures = self.n_failures.lock().unwrap();
        if *n_failures > 0 {
            *n_failures -= 1;
            return Err(StoreError::Full.into());
        }
        self.published.lock().unwrap().push((topic_arn.to_owned(), message));
        Ok(())
    }
}

struct Rig {
    store: Arc<dyn MetaStore>,
    events: Arc<Events>,
    topics: Arc<Topics>,
    queues: Arc<Queues>,
    log: Arc<MemoryLog>,
}

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:t";
const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:q";
const GROUP: &str = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/events/mine:*";

impl Rig {
    async fn new(store: Arc<dyn MetaStore>) -> Self {
        let clock = PausedClock::start();
        let queues = Queues::open(store.clone(), clock.clone(), account()).await.unwrap();
        let (topics, log) = (Arc::new(Topics::default()), Arc::new(MemoryLog::default()));
        let parts = Parts {
            store: store.clone(),
            clock,
            account: account(),
            publisher: topics.clone(),
            queues: queues.clone(),
            log: log.clone(),
            metrics: Registry::default(),
        };
        let events = Events::open(parts).await.unwrap();
        Self { store, events, topics, queues, log }
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let ctx = Context::new(region(), account());
        let body = serde_json::to_vec(&input).unwrap();
        let answer = operations().call(self.events.clone(), ctx, operation, &body).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// A rule `r` for all events of SageMaker, with these targets.
    async fn rule(&self, targets: Value) {
        let pattern = r#"{"source":["aws.sagemaker"]}"#;
        self.call("PutRule", json!({"Name": "r", "EventPattern": pattern})).await.unwrap();
        self.call("PutTargets", json!({"Rule": "r", "Targets": targets})).await.unwrap();
    }

    fn emit(&self) {
        self.emit_from("aws.sagemaker");
    }

    fn emit_from(&self, source: &'static str) {
        self.events.emit(Event {
            region: region(),
            source,
            detail_type: "SageMaker Endpoint State Change",
            resources: vec!["arn:e".to_owned()],
            detail: json!({"EndpointName": "e"}),
            at: Timestamp(1_000_000_000_000),
        });
    }

    fn published(&self) -> Vec<Value> {
        let published = self.topics.published.lock().unwrap();
        published.iter().map(|(_, it)| serde_json::from_str(&it.body).unwrap()).collect()
    }

    async fn refused(&self, operation: &str, input: Value, code: &str, reason: &str) {
        let error = self.call(operation, input.clone()).await.unwrap_err();
        assert_eq!(error.code, code, "{input}: {}", error.message);
        assert!(error.message.contains(reason), "{}", error.message);
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_wanted_if_a_rule_may_fit_its_events() {
    let rig = Rig::new(store()).await;
    assert!(!rig.events.wants("aws.s3"));
    rig.rule(json!([{"Id": "1", "Arn": TOPIC}])).await;
    assert!(rig.events.wants("aws.sagemaker") && !rig.events.wants("aws.s3"));
    for (pattern, expected) in [
        (r#"{"source":["aws.s3"]}"#, true),
        (r#"{"source":["aws.s3"],"detail":{"bucket":{"name":["b"]}}}"#, true),
        (r#"{"source":[{"prefix":"aws."}]}"#, true),
        (r#"{"detail-type":["Object Created"]}"#, true),
        (r#"{"source":[{"anything-but":"aws.s3"}]}"#, false),
        (r#"{"$or":[{"source":["mine"]},{"source":["aws.s3"]}]}"#, true),
        (r#"{"$or":[{"source":["mine"]},{"source":["yours"]}]}"#, false),
    ] {
        rig.call("PutRule", json!({"Name": "r", "EventPattern": pattern})).await.unwrap();
        assert_eq!(rig.events.wants("aws.s3"), expected, "{pattern}");
    }
    let off = json!({"Name": "r", "EventPattern": r#"{"source":["aws.s3"]}"#, "State": "DISABLED"});
    rig.call("PutRule", off).await.unwrap();
    assert!(!rig.events.wants("aws.s3"));
}

#[tokio::test(start_paused = true)]
async fn events_of_objects_push_out_no_others() {
    let rig = Rig::new(store()).await;
    let targets = json!([{"Id": "1", "Arn": TOPIC}]);
    rig.rule(targets).await;
    let all = json!({"Name": "r", "EventPattern": r#"{"source":[{"prefix":"aws."}]}"#});
    rig.call("PutRule", all).await.unwrap();
    (0..MAX_WAITING + 1).for_each(|_| rig.emit_from("aws.s3"));
    rig.emit();
    assert_eq!(rig.events.meters.dropped.get(), 1);
    let _task = rig.events.start();
    until(|| rig.topics.published.lock().unwrap().len() == MAX_WAITING + 1).await;
    assert_eq!(rig.published()[0]["source"], "aws.sagemaker");
    assert_eq!(rig.log.lines().len(), 1, "only what is no object's");
}

#[tokio::test(start_paused = true)]
async fn an_event_comes_to_all_targets_and_into_the_log() {
    let rig = Rig::new(store()).await;
    let queue = rig.queues.create(&region(), "q", &Default::default(), Default::default()).await;
    let template =
        json!({"InputPathsMap": {"n": "$.detail.EndpointName"}, "InputTemplate": "\"<n>\""});
    rig.rule(json!([
        {"Id": "1", "Arn": TOPIC},
        {"Id": "2", "Arn": QUEUE, "InputPath": "$.detail"},
        {"Id": "3", "Arn": GROUP, "InputTransformer": template},
    ]))
    .await;
    rig.emit();
    let _task = rig.events.start();
    until(|| rig.log.lines().len() == 2).await;
    let event = rig.published().remove(0);
    let id = event["id"].clone();
    assert_eq!(
        event,
        json!({
            "version": "0",
            "id": id,
            "detail-type": "SageMaker Endpoint State Change",
            "source": "aws.sagemaker",
            "account": "123456789012",
            "time": "2001-09-09T01:46:40Z",
            "region": "us-east-1",
            "resources": ["arn:e"],
            "detail": {"EndpointName": "e"},
        })
    );
    assert_eq!(queue.unwrap().n_messages(), 1);
    let lines = rig.log.lines();
    let of = |group: &str| lines.iter().find(|(at, _)| *at.group == *group).unwrap();
    assert_eq!(of("/aws/events/mine").1, "\"e\"");
    assert_eq!(*of("/aws/events/mine").0.stream, *"r");
    assert_eq!(of(LOG_GROUP).1, event.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_and_a_topic_that_is_gone_is_not() {
    let rig = Rig::new(store()).await;
    rig.rule(json!([{"Id": "1", "Arn": format!("{TOPIC}-gone")}, {"Id": "2", "Arn": TOPIC}])).await;
    *rig.topics.n_failures.lock().unwrap() = 3;
    let _task = rig.events.start();
    rig.emit();
    until(|| !rig.published().is_empty()).await;
    *rig.topics.n_failures.lock().unwrap() = ATTEMPTS;
    rig.emit();
    rig.emit();
    until(|| rig.published().len() == 2).await;
    assert_eq!(rig.events.meters.delivered.get(), 2);
    assert_eq!(rig.events.meters.failed.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn too_many_events_are_dropped_and_counted() {
    let rig = Rig::new(store()).await;
    for _ in 0..=MAX_WAITING {
        rig.emit();
    }
    let meters = &rig.events.meters;
    assert_eq!((meters.emitted.get(), meters.dropped.get()), (MAX_WAITING as u64 + 1, 1));
}

#[tokio::test(start_paused = true)]
async fn rules_outlive_a_restart() {
    let rig = Rig::new(store()).await;
    rig.rule(json!([{"Id": "1", "Arn": TOPIC, "Input": "{\"a\":1}"}])).await;
    rig.call("DisableRule", json!({"Name": "r"})).await.unwrap();
    let rig = Rig::new(rig.store).await;
    let rule = rig.call("DescribeRule", json!({"Name": "r"})).await.unwrap();
    assert_eq!(
        rule,
        json!({
            "Name": "r",
            "Arn": "arn:aws:events:us-east-1:123456789012:rule/r",
            "EventPattern": r#"{"source":["aws.sagemaker"]}"#,
            "State": "DISABLED",
            "EventBusName": "default",
            "CreatedBy": "123456789012",
        })
    );
    let _task = rig.events.start();
    rig.emit();
    until(|| !rig.log.lines().is_empty()).await;
    rig.call("EnableRule", json!({"Name": "r"})).await.unwrap();
    rig.emit();
    until(|| !rig.published().is_empty()).await;
    assert_eq!(rig.published(), [json!({"a": 1})]);
    // To put it again keeps its targets.
    let input = json!({"Name": "r", "EventPattern": r#"{"a":[1]}"#, "Description": "d"});
    rig.call("PutRule", input).await.unwrap();
    let targets = rig.call("ListTargetsByRule", json!({"Rule": "r"})).await.unwrap();
    assert_eq!(targets["Targets"], json!([{"Id": "1", "Arn": TOPIC, "Input": "{\"a\":1}"}]));
    let names = rig.call("ListRuleNamesByTarget", json!({"TargetArn": TOPIC})).await.unwrap();
    assert_eq!(names["RuleNames"], json!(["r"]));
    let (code, reason) = ("ValidationException", "since it has targets");
    rig.refused("DeleteRule", json!({"Name": "r"}), code, reason).await;
    let input = json!({"Rule": "r", "Ids": ["1", "2"]});
    let answer = rig.call("RemoveTargets", input).await.unwrap();
    assert_eq!(answer["FailedEntryCount"], 1);
    rig.call("DeleteRule", json!({"Name": "r"})).await.unwrap();
    assert_eq!(rig.call("ListRules", json!({})).await.unwrap()["Rules"], json!([]));
    let (code, reason) = ("ResourceNotFoundException", "Rule r does not exist");
    rig.refused("DescribeRule", json!({"Name": "r"}), code, reason).await;
}

#[tokio::test(start_paused = true)]
async fn rules_are_listed_in_pages() {
    let rig = Rig::new(store()).await;
    for name in ["a", "b1", "b2", "b3"] {
        let input = json!({"Name": name, "EventPattern": r#"{"a":[1]}"#});
        rig.call("PutRule", input).await.unwrap();
    }
    let mut input = json!({"NamePrefix": "b", "Limit": 2});
    let first = rig.call("ListRules", input.clone()).await.unwrap();
    input["NextToken"] = first["NextToken"].clone();
    let second = rig.call("ListRules", input).await.unwrap();
    let names = |page: &Value| -> Vec<String> {
        let rules = page["Rules"].as_array().unwrap();
        rules.iter().map(|rule| rule["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (names(&first), names(&second)),
        (vec!["b1".into(), "b2".into()], vec!["b3".into()])
    );
    assert_eq!(second.get("NextToken"), None);
}

#[tokio::test(start_paused = true)]
async fn clients_put_events() {
    let rig = Rig::new(store()).await;
    rig.call("PutRule", json!({"Name": "r", "EventPattern": r#"{"source":["mine"]}"#}))
        .await
        .unwrap();
    let targets = json!([{"Id": "1", "Arn": TOPIC}]);
    rig.call("PutTargets", json!({"Rule": "r", "Targets": targets})).await.unwrap();
    let good = json!({"Source": "mine", "DetailType": "t", "Detail": "{\"a\":1}", "Time": 1e9});
    let entries = json!([
        good,
        {"Source": "aws.sagemaker", "DetailType": "t", "Detail": "{}"},
        {"DetailType": "t", "Detail": "{}"},
        {"Source": "mine", "DetailType": "t", "Detail": "[1]"},
        {"Source": "mine", "DetailType": "t", "Detail": "{}", "EventBusName": "other"},
        {"Source": "mine", "DetailType": "t", "Detail": "{}", "TraceHeader": "x"},
    ]);
    let answer = rig.call("PutEvents", json!({"Entries": entries})).await.unwrap();
    let codes: Vec<_> =
        answer["Entries"].as_array().unwrap().iter().map(|it| it["ErrorCode"].as_str()).collect();
    let expected = [
        None,
        Some("NotAuthorizedForSourceException"),
        Some("InvalidArgument"),
        Some("MalformedDetail"),
        Some("ResourceNotFoundException"),
        Some("InvalidArgument"),
    ];
    assert_eq!((codes.as_slice(), &answer["FailedEntryCount"]), (&expected[..], &json!(5)));
    let published = rig.published();
    assert_eq!(published[0]["id"], answer["Entries"][0]["EventId"]);
    assert_eq!(published[0]["time"], "2001-09-09T01:46:40Z");
    assert!(rig.log.lines().is_empty(), "only what happens here is written down");
    *rig.topics.n_failures.lock().unwrap() = ATTEMPTS;
    let answer = rig.call("PutEvents", json!({"Entries": [good]})).await.unwrap();
    assert_eq!(answer["Entries"][0]["ErrorCode"], "InternalFailure");
    let long = json!({"Source": "mine", "DetailType": "t", "Detail": "x".repeat(300 << 10)});
    rig.refused("PutEvents", json!({"Entries": [long]}), "ValidationException", "limit").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_named() {
    let rig = Rig::new(store()).await;
    let rule = |more: Value| {
        let mut rule = json!({"Name": "r", "EventPattern": r#"{"a":[1]}"#});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    rig.call("PutRule", rule(json!({}))).await.unwrap();
    let validation = "ValidationException";
    for (more, code, reason) in [
        (json!({"ScheduleExpression": "rate(1 minute)"}), validation, "ScheduleExpression"),
        (json!({"Tags": [{"Key": "a", "Value": "b"}]}), validation, "Tags"),
        (json!({"EventBusName": "other"}), "ResourceNotFoundException", "Event bus other"),
        (json!({"EventPattern": "{"}), "InvalidEventPatternException", "not valid. Reason"),
        (json!({"EventPattern": null}), validation, "EventPattern must be specified"),
        (
            json!({"State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"}),
            validation,
            "CLOUDTRAIL",
        ),
    ] {
        rig.refused("PutRule", rule(more), code, reason).await;
    }
    for (target, reason) in [
        (json!({"Arn": "nonsense"}), "not in correct format"),
        (json!({"Arn": "arn:aws:sns:us-east-1:999999999999:t"}), "not in correct format"),
        (json!({"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f"}), "not served"),
        (json!({"Arn": "arn:aws:logs:us-east-1:123456789012:log-group:/x"}), "not served"),
        (json!({"Arn": TOPIC, "RetryPolicy": {"MaximumRetryAttempts": 1}}), "RetryPolicy"),
        (json!({"Arn": TOPIC, "SqsParameters": {"MessageGroupId": "g"}}), "SqsParameters"),
        (json!({"Arn": TOPIC, "Input": "{}", "InputPath": "$"}), "Only one of Input"),
        (json!({"Arn": TOPIC, "Input": "{"}), "JSON syntax error"),
        (json!({"Arn": TOPIC, "InputPath": "detail"}), "Invalid InputPath"),
    ] {
        let mut target = target;
        target["Id"] = "1".into();
        let input = json!({"Rule": "r", "Targets": [target]});
        rig.refused("PutTargets", input, validation, reason).await;
    }
    let six: Vec<_> = (0..6).map(|n| json!({"Id": n.to_string(), "Arn": TOPIC})).collect();
    let input = json!({"Rule": "r", "Targets": six});
    rig.refused("PutTargets", input, "LimitExceededException", "5 targets").await;
}

#[tokio::test(start_paused = true)]
async fn patterns_are_tried() {
    let rig = Rig::new(store()).await;
    let mut event = json!({
        "id": "1", "account": "2", "source": "s", "time": "t", "region": "r", "resources": [],
        "detail-type": "d", "detail": {"n": 5},
    });
    for (pattern, expected) in
        [(r#"{"detail":{"n":[{"numeric":[">",4]}]}}"#, true), (r#"{"detail":{"n":[4]}}"#, false)]
    {
        let input = json!({"EventPattern": pattern, "Event": event.to_string()});
        assert_eq!(rig.call("TestEventPattern", input).await.unwrap()["Result"], expected);
    }
    event.as_object_mut().unwrap().remove("time");
    let input = json!({"EventPattern": r#"{"a":[1]}"#, "Event": event.to_string()});
    rig.refused("TestEventPattern", input, "ValidationException", "it has no time").await;
}
