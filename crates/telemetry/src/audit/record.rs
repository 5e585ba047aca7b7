//! One call as CloudTrail writes it.

use sagebrush_core::Timestamp;
use sagebrush_core::audit::{AuditedCall, Caller};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::secrets;

/// Parameters and answers beyond this are left out, as CloudTrail leaves out what is too long.
const MAX_BYTES: usize = 100 << 10;

/// The role that callers act in who have no session of their own, and its session: what
/// `GetCallerIdentity` tells them.
const ROLE: &str = "SageMakerRole";
const SESSION: &str = "sagebrush";

/// What operations begin with that change nothing.
const READING: &[&str] =
    &["Describe", "List", "Get", "Lookup", "Filter", "Search", "Test", "Simulate", "Head"];
/// Others of that kind.
const READING_TOO: &[&str] = &["AssumeRole", "ReceiveMessage"];

const BUCKET: &str = "AWS::S3::Bucket";
const OBJECT: &str = "AWS::S3::Object";
/// What ARNs of buckets and objects begin with.
const S3: &str = "arn:aws:s3:::";

/// Names of parameters that name a resource, and its type.
const RESOURCES: &[(&str, &str)] = &[
    ("endpointName", "AWS::SageMaker::Endpoint"),
    ("endpointConfigName", "AWS::SageMaker::EndpointConfig"),
    ("modelName", "AWS::SageMaker::Model"),
    ("transformJobName", "AWS::SageMaker::TransformJob"),
    ("executionRoleArn", "AWS::IAM::Role"),
    ("roleArn", "AWS::IAM::Role"),
    ("roleName", "AWS::IAM::Role"),
    ("topicArn", "AWS::SNS::Topic"),
    ("subscriptionArn", "AWS::SNS::Subscription"),
    ("queueUrl", "AWS::SQS::Queue"),
    ("queueName", "AWS::SQS::Queue"),
    ("logGroupName", "AWS::Logs::LogGroup"),
    ("logStreamName", "AWS::Logs::LogStream"),
    ("alarmName", "AWS::CloudWatch::Alarm"),
    ("alarmNames", "AWS::CloudWatch::Alarm"),
    ("dashboardName", "AWS::CloudWatch::Dashboard"),
    ("rule", "AWS::Events::Rule"),
    ("bucketName", BUCKET),
    ("resourceId", "AWS::ApplicationAutoScaling::ScalableTarget"),
    ("policyName", "AWS::ApplicationAutoScaling::ScalingPolicy"),
];
/// What `name` stands for, by service.
const NAMES: &[(&str, &str)] = &[("sns", "AWS::SNS::Topic"), ("events", "AWS::Events::Rule")];
/// A call names no more than this.
const MAX_RESOURCES: usize = 100;

/// A line of a journal: what is searched for, and the whole of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) id: String,
    pub(super) region: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) read_only: bool,
    pub(super) user: String,
    pub(super) access_key: String,
    /// Types and names.
    pub(super) resources: Vec<(String, String)>,
    /// The JSON of `CloudTrailEvent`.
    pub(super) event: String,
}

/// The bytes that a call takes while it waits.
pub(super) fn size(call: &AuditedCall) -> usize {
    // The parameters' own size is not known; there is some for each answer.
    1024 + call.response.len() + estimate(&call.parameters)
}

fn estimate(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + estimate(value) + 64).sum()
        }
        Value::Array(items) => items.iter().map(|item| estimate(item) + 32).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

impl Record {
    pub(super) fn of(call: AuditedCall, at: Timestamp) -> Self {
        let AuditedCall { region, account, request_id, service, operation, caller, .. } = &call;
        let read_only = is_read_only(operation);
        let is_data = super::moves_data(service, operation);
        let (user, identity) = identity(caller, account);
        let mut parameters = call.parameters.clone();
        secrets::hide(&mut parameters);
        let resources = resources(service, &parameters);
        let id = request_id.to_string(); // A call is one event.
        let source = format!("{service}.amazonaws.com");
        let mut event = json!({
            "eventVersion": "1.11",
            "userIdentity": identity,
            "eventTime": iso(at),
            "eventSource": source,
            "eventName": operation,
            "awsRegion": region,
            "sourceIPAddress": caller.source_ip.map(|ip| ip.to_string()),
            "userAgent": caller.user_agent,
            "requestParameters": short(parameters),
            "responseElements": if read_only { Value::Null } else { answer(&call.response) },
            "requestID": request_id,
            "eventID": id,
            "readOnly": read_only,
            "eventType": "AwsApiCall",
            "managementEvent": !is_data,
            "recipientAccountId": account,
            "eventCategory": if is_data { "Data" } else { "Management" },
        });
        if let Some((code, message)) = &call.error {
            event["errorCode"] = code.as_str().into();
            let mut message = message.clone();
            secrets::hide_in_text(&mut message);
            event["errorMessage"] = message.into();
        }
        if !call.additional.is_null() {
            event["additionalEventData"] = call.additional.clone();
        }
        if !resources.is_empty() {
            let listed = resources.iter().map(|(kind, name)| match kind.as_str() {
                BUCKET => json!({"accountId": account, "type": kind, "ARN": format!("{S3}{name}")}),
                _ if name.starts_with("arn:") => json!({"type": kind, "ARN": name}),
                _ => json!({"type": kind, "resourceName": name}),
            });
            event["resources"] = listed.collect();
        }
        Self {
            at,
            id,
            region: region.to_string(),
            name: operation.clone(),
            source,
            read_only,
            user,
            access_key: caller.access_key.to_string(),
            resources,
            event: event.to_string(),
        }
    }
}

fn is_read_only(operation: &str) -> bool {
    READING.iter().any(|start| operation.starts_with(start)) || READING_TOO.contains(&operation)
}

/// The user's name, and who it is in CloudTrail's words.
fn identity(caller: &Caller, account: &sagebrush_core::AccountId) -> (String, Value) {
    if caller.access_key.is_empty() {
        return (String::new(), json!({"type": "Unknown", "accountId": account}));
    }
    let (role_arn, session) = match &caller.session {
        Some((role, session)) => (role.clone(), session.as_str()),
        None => (format!("arn:aws:iam::{account}:role/{ROLE}"), SESSION),
    };
    let role = role_arn.rsplit('/').next().unwrap_or_default();
    let identity = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
        "accountId": account,
        "accessKeyId": caller.access_key,
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role", "arn": role_arn, "accountId": account, "userName": role,
            },
        },
    });
    (session.to_owned(), identity)
}

/// CloudTrail writes `endpointArn` for `EndpointArn`.
fn decapitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

/// An answer without secrets. Of one that is too long to be read nothing is kept.
fn answer(response: &[u8]) -> Value {
    if response.len() > MAX_BYTES {
        return json!({"omitted": true, "originalSize": response.len()});
    }
    let mut answer: Value = serde_json::from_slice(response).unwrap_or_default();
    secrets::hide(&mut answer);
    let fields = answer.as_object_mut().map(std::mem::take).unwrap_or_default();
    let fields = fields.into_iter().map(|(name, value)| (decapitalised(&name), value));
    let answer: Map<_, _> = fields.collect();
    if answer.is_empty() { Value::Null } else { Value::Object(answer) }
}

fn short(value: Value) -> Value {
    let size = value.to_string().len();
    if size > MAX_BYTES { json!({"omitted": true, "originalSize": size}) } else { value }
}

fn resources(service: &str, parameters: &Value) -> Vec<(String, String)> {
    let Some(fields) = parameters.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (field, value) in fields {
        let named = RESOURCES.iter().find(|(name, _)| name == field);
        let by_service = || NAMES.iter().find(|(name, _)| field == "name" && *name == service);
        let Some((_, kind)) = named.or_else(by_service) else { continue };
        let many = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        let names = value.as_str().into_iter().chain(many);
        found.extend(names.map(|name| ((*kind).to_owned(), name.to_owned())));
    }
    let text = |name| fields.get(name).and_then(Value::as_str);
    if let (Some(bucket), Some(key), "s3") = (text("bucketName"), text("key"), service) {
        found.push((OBJECT.to_owned(), format!("{S3}{bucket}/{key}")));
    }
    found.truncate(MAX_RESOURCES);
    found
}

fn iso(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
