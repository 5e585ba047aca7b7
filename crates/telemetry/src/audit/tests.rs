use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use sagebrush_aws::Context;
use sagebrush_core::audit::Caller;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::{AccountId, Region};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

struct Rig {
    dir: TempDir,
    clock: Arc<FakeClock>,
    log: Arc<AuditLog>,
}

impl Rig {
    fn new(limits: &Limits) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(1_800_000_000_000)));
        let log = Arc::new(
            AuditLog::open(dir.path(), clock.clone(), limits, &Registry::default()).unwrap(),
        );
        Self { dir, clock, log }
    }

    fn restart(self) -> Self {
        let Self { dir, clock, log } = self;
        drop(log);
        let log =
            AuditLog::open(dir.path(), clock.clone(), &Limits::default(), &Registry::default())
                .unwrap();
        Self { dir, clock, log: Arc::new(log) }
    }

    /// Notes a call, one second after the one before.
    fn note(&self, operation: &str, parameters: Value) {
        self.clock.advance(Duration::from_secs(1));
        self.log.record(call(operation, parameters));
        self.log.flush();
    }

    async fn look_up(&self, input: Value) -> Result<Value, sagebrush_aws::ApiError> {
        let ctx = Context::new(Region::new("us-east-1"), AccountId("123456789012".into()));
        let body = serde_json::to_vec(&input).unwrap();
        let answer = operations().call(self.log.clone(), ctx, "LookupEvents", &body).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// The names of the operations of all pages.
    async fn names(&self, mut input: Value) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let page = self.look_up(input.clone()).await.unwrap();
            let events = page["Events"].as_array().unwrap();
            names.extend(events.iter().map(|it| it["EventName"].as_str().unwrap().to_owned()));
            let Some(token) = page["NextToken"].as_str() else { return names };
            input["NextToken"] = token.into();
        }
    }
}

fn call(operation: &str, parameters: Value) -> AuditedCall {
    AuditedCall {
        region: Region::new("us-east-1"),
        account: AccountId("123456789012".into()),
        request_id: sagebrush_aws::request_id(),
        service: "sagemaker".to_owned(),
        operation: operation.to_owned(),
        caller: Caller {
            access_key: "AKIDEXAMPLE".into(),
            session: None,
            source_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            user_agent: Some("Boto3".to_owned()),
        },
        parameters,
        additional: Value::Null,
        response: br#"{"EndpointArn":"arn:e","SessionToken":"s"}"#.to_vec(),
        error: None,
    }
}

fn by(key: &str, value: &str) -> Value {
    json!({"LookupAttributes": [{"AttributeKey": key, "AttributeValue": value}]})
}

#[tokio::test]
async fn a_call_is_told_as_cloud_trail_does() {
    let rig = Rig::new(&Limits::default());
    let parameters = json!({"endpointName": "e", "password": "p"});
    rig.note("CreateEndpoint", parameters);
    let page = rig.restart().look_up(json!({})).await.unwrap();
    let event = &page["Events"][0];
    assert_eq!(event["EventName"], "CreateEndpoint");
    assert_eq!(event["ReadOnly"], "false");
    assert_eq!(event["AccessKeyId"], "AKIDEXAMPLE");
    assert_eq!(event["EventSource"], "sagemaker.amazonaws.com");
    assert_eq!(event["Username"], "sagebrush");
    assert_eq!(event["EventTime"], 1_800_000_001.0);
    assert_eq!(
        event["Resources"],
        json!([{"ResourceType": "AWS::SageMaker::Endpoint", "ResourceName": "e"}])
    );
    let told: Value = serde_json::from_str(event["CloudTrailEvent"].as_str().unwrap()).unwrap();
    assert_eq!(told["requestParameters"]["endpointName"], "e");
    assert_eq!(told["requestParameters"]["password"], secrets::HIDDEN);
    assert_eq!(
        told["responseElements"],
        json!({"endpointArn": "arn:e", "sessionToken": secrets::HIDDEN})
    );
    assert_eq!(told["eventTime"], "2027-01-15T08:00:01Z");
    assert_eq!(told["sourceIPAddress"], "127.0.0.1");
    assert_eq!(told["eventID"], event["EventId"]);
    assert_eq!(told["userIdentity"]["accessKeyId"], "AKIDEXAMPLE");
    let role = "arn:aws:sts::123456789012:assumed-role/SageMakerRole/sagebrush";
    assert_eq!(told["userIdentity"]["arn"], role);
}

#[tokio::test]
async fn calls_are_found_by_what_they_are() {
    let rig = Rig::new(&Limits::default());
    rig.note("CreateEndpoint", json!({"endpointName": "a"}));
    rig.note("DescribeEndpoint", json!({"endpointName": "a"}));
    rig.note("CreateModel", json!({"modelName": "m"}));
    let mut refused = call("DeleteModel", json!({"modelName": "m"}));
    refused.error = Some(("ValidationException".to_owned(), "no https://u:p@h".to_owned()));
    refused.caller.session =
        Some(("arn:aws:iam::123456789012:role/Ops".to_owned(), "ann".to_owned()));
    let id = refused.request_id.to_string();
    rig.clock.advance(Duration::from_secs(1));
    rig.log.record(refused);
    rig.log.flush();
    let mut elsewhere = call("ListModels", json!({}));
    elsewhere.region = Region::new("eu-west-1");
    rig.log.record(elsewhere);
    rig.log.flush();
    let all = ["DeleteModel", "CreateModel", "DescribeEndpoint", "CreateEndpoint"];
    for (input, expected) in [
        (json!({}), &all[..]),
        (json!({"MaxResults": 1}), &all),
        (by("EventName", "CreateModel"), &["CreateModel"]),
        (by("EventName", "Create"), &[]),
        (by("ReadOnly", "true"), &["DescribeEndpoint"]),
        (by("ReadOnly", "false"), &["DeleteModel", "CreateModel", "CreateEndpoint"]),
        (by("ResourceName", "a"), &["DescribeEndpoint", "CreateEndpoint"]),
        (by("ResourceType", "AWS::SageMaker::Model"), &["DeleteModel", "CreateModel"]),
        (by("Username", "ann"), &["DeleteModel"]),
        (by("EventId", &id), &["DeleteModel"]),
        (by("AccessKeyId", "AKIDEXAMPLE"), &all),
        (by("EventSource", "sns.amazonaws.com"), &[]),
        (json!({"StartTime": 1_800_000_003}), &["DeleteModel", "CreateModel"]),
        (json!({"EndTime": 1_800_000_002}), &["DescribeEndpoint", "CreateEndpoint"]),
        (json!({"StartTime": 1_800_000_002, "EndTime": 1_800_000_002}), &["DescribeEndpoint"]),
    ] {
        assert_eq!(rig.names(input.clone()).await, expected, "{input}");
    }
    let page = rig.look_up(by("EventId", &id)).await.unwrap();
    let told = page["Events"][0]["CloudTrailEvent"].as_str().unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["errorCode"], "ValidationException");
    assert_eq!(told["errorMessage"], format!("no https://{}@h", secrets::HIDDEN));
    assert_eq!(told["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"], "Ops");
}

#[tokio::test]
async fn calls_of_s3_name_bucket_and_object() {
    let rig = Rig::new(&Limits { data_events: true, ..Limits::default() });
    let mut put = call("PutObject", json!({"bucketName": "b", "key": "k/1"}));
    put.service = "s3".to_owned();
    put.additional = json!({"AuthenticationMethod": "QueryString"});
    rig.log.record(put);
    rig.log.flush();
    let arn = "arn:aws:s3:::b/k/1";
    for (input, expected) in [
        (by("EventSource", "s3.amazonaws.com"), &["PutObject"][..]),
        (by("ResourceName", "b"), &["PutObject"]),
        (by("ResourceName", arn), &["PutObject"]),
        (by("ReadOnly", "true"), &[]),
    ] {
        assert_eq!(rig.names(input.clone()).await, expected, "{input}");
    }
    let page = rig.look_up(json!({})).await.unwrap();
    let told = page["Events"][0]["CloudTrailEvent"].as_str().unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["additionalEventData"], json!({"AuthenticationMethod": "QueryString"}));
    assert_eq!((&told["eventCategory"], &told["managementEvent"]), (&json!("Data"), &json!(false)));
    let bucket =
        json!({"accountId": "123456789012", "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::b"});
    assert_eq!(told["resources"], json!([bucket, {"type": "AWS::S3::Object", "ARN": arn}]));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let rig = Rig::new(&Limits::default());
    let both = json!({"LookupAttributes": [
        {"AttributeKey": "EventName", "AttributeValue": "a"},
        {"AttributeKey": "Username", "AttributeValue": "b"},
    ]});
    for (input, code) in [
        (both, "InvalidLookupAttributesException"),
        (by("ReadOnly", "perhaps"), "InvalidLookupAttributesException"),
        (json!({"EventCategory": "insight"}), "InvalidEventCategoryException"),
        (json!({"StartTime": 10, "EndTime": 5}), "InvalidTimeRangeException"),
        (json!({"NextToken": "x"}), "InvalidNextTokenException"),
        (json!({"NextToken": "1.2.3"}), "InvalidNextTokenException"),
    ] {
        assert_eq!(rig.look_up(input.clone()).await.unwrap_err().code, code, "{input}");
    }
}

#[tokio::test]
async fn old_calls_go_and_reading_ones_sooner() {
    let rig = Rig::new(&Limits::default());
    rig.note("CreateModel", json!({}));
    rig.note("ListModels", json!({}));
    rig.clock.advance(DAY * 8);
    assert_eq!(rig.names(json!({})).await, ["CreateModel"]);
    let rig = rig.restart(); // Begins new files.
    rig.note("DeleteModel", json!({}));
    rig.note("ListModels", json!({}));
    rig.clock.advance(DAY * 89);
    assert_eq!(rig.names(json!({})).await, ["DeleteModel"]);
    rig.clock.advance(DAY * 2);
    rig.log.journals.writes.sweep(rig.clock.now()).unwrap();
    assert_eq!(rig.log.journals.writes.parts().len(), 1);
}

#[tokio::test]
async fn the_disk_is_bounded() {
    let small = Kept { lasts: DAY * 90, bytes: 5 << 20 };
    let rig = Rig::new(&Limits { writes: small, ..Limits::default() });
    let long = "x".repeat(90 << 10);
    for n in 100..200 {
        rig.note(&format!("Create{n}"), json!({ "a": long }));
    }
    let parts = rig.log.journals.writes.parts();
    let bytes: u64 = parts.iter().map(|part| part.len).sum();
    assert!((4 << 20..=9 << 20).contains(&bytes), "{bytes}");
    let names = rig.names(json!({"MaxResults": 30})).await;
    assert_eq!(names[0], "Create199");
    assert!(names.len() < 100 && names.is_sorted_by(|a, b| a > b));
    rig.note("CreateLong", json!({ "a": "x".repeat(200 << 10) }));
    let page = rig.look_up(by("EventName", "CreateLong")).await.unwrap();
    assert!(page["Events"][0]["CloudTrailEvent"].as_str().unwrap().contains("\"omitted\":true"));
}

#[tokio::test]
async fn half_a_line_is_passed_over() {
    let rig = Rig::new(&Limits::default());
    rig.note("CreateModel", json!({}));
    let folder = rig.dir.path().join("writes");
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"{\"at\":1").unwrap();
    let rig = rig.restart();
    rig.note("DeleteModel", json!({}));
    assert_eq!(rig.names(json!({})).await, ["DeleteModel", "CreateModel"]);
}

#[test]
fn calls_that_move_data_are_left_out_unless_asked_for() {
    let limits = Limits::default();
    let rig = Rig::new(&limits);
    assert!(rig.log.wants("sqs", "CreateQueue") && rig.log.wants("sagemaker", "CreateModel"));
    assert!(!rig.log.wants("sqs", "SendMessage") && !rig.log.wants("logs", "PutLogEvents"));
    for operation in ["CreateBucket", "ListBuckets", "PutBucketPolicy", "GetBucketAcl"] {
        assert!(rig.log.wants("s3", operation), "{operation}");
    }
    for operation in ["GetObject", "PutObject", "ListObjects", "HeadBucket", "UploadPart"] {
        assert!(!rig.log.wants("s3", operation), "{operation}");
    }
    let rig = Rig::new(&Limits { data_events: true, ..limits });
    assert!(rig.log.wants("sqs", "SendMessage"));
}

#[test]
fn a_log_that_is_behind_drops_and_counts() {
    let rig = Rig::new(&Limits { queued_bytes: 0, ..Limits::default() });
    rig.note("CreateModel", json!({}));
    assert_eq!(rig.log.backlog.dropped.get(), 1);
    assert!(rig.log.journals.writes.parts().is_empty());
}

proptest::proptest! {
    #[test]
    fn tokens_never_panic(text in "[0-9.x]{0,30}") {
        if let Ok(place) = text.parse::<lookup::Place>() {
            let again = place.to_string().parse::<lookup::Place>();
            proptest::prop_assert_eq!(again.ok(), Some(place));
        }
    }
}
