use std::sync::Mutex;

use sagebrush_core::access::{Asked, Authorizer, Caller, Denied};
use sagebrush_core::{AccountId, Region};
use serde_json::{Value, json};

use super::*;

/// Allows all, and notes what was asked for.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Authorizer for Notes {
    fn is_unlimited(&self, _: &Caller<'_>) -> bool {
        false
    }

    fn check(&self, _: &Caller<'_>, asked: &Asked<'_>) -> Result<(), Denied> {
        self.0.lock().unwrap().push(format!("{} {}", asked.action, asked.resource));
        Ok(())
    }
}

fn check(operation: (&str, &str), input: &Value, expected: &[&str]) {
    let context = Context::new(Region::new("eu-west-1"), AccountId("1".into()));
    let notes = Notes::default();
    super::check(&notes, operation, &context, input).unwrap();
    assert_eq!(*notes.0.lock().unwrap(), expected, "{operation:?}");
}

#[test]
fn resources_of_sagemaker() {
    let role = "arn:aws:iam::1:role/r";
    check(
        ("sagemaker", "CreateModel"),
        &json!({"ModelName": "Digits", "ExecutionRoleArn": role}),
        &[
            "sagemaker:CreateModel arn:aws:sagemaker:eu-west-1:1:model/digits",
            "iam:PassRole arn:aws:iam::1:role/r",
        ],
    );
    check(
        ("sagemaker", "UpdateEndpoint"),
        &json!({"EndpointName": "e", "EndpointConfigName": "c"}),
        &[
            "sagemaker:UpdateEndpoint arn:aws:sagemaker:eu-west-1:1:endpoint/e",
            "sagemaker:UpdateEndpoint arn:aws:sagemaker:eu-west-1:1:endpoint-config/c",
        ],
    );
    check(
        ("sagemaker", "UpdateEndpointWeightsAndCapacities"),
        &json!({"EndpointName": "e"}),
        &["sagemaker:UpdateEndpointWeightsAndCapacities arn:aws:sagemaker:eu-west-1:1:endpoint/e"],
    );
    check(
        ("sagemaker", "CreateTransformJob"),
        &json!({"TransformJobName": "j", "ModelName": "m"}),
        &["sagemaker:CreateTransformJob arn:aws:sagemaker:eu-west-1:1:transform-job/j"],
    );
    check(
        ("sagemaker", "StopInferenceExperiment"),
        &json!({"Name": "X"}),
        &["sagemaker:StopInferenceExperiment arn:aws:sagemaker:eu-west-1:1:inference-experiment/x"],
    );
    check(("sagemaker", "ListModels"), &json!({}), &["sagemaker:ListModels *"]);
    check(("sagemaker", "AddTags"), &json!({"ResourceArn": "a"}), &["sagemaker:AddTags a"]);
    check(
        ("sagemaker", "CreateModel"),
        &json!({"ModelName": 7}),
        &["sagemaker:CreateModel *", "iam:PassRole *"],
    );
}

#[test]
fn resources_of_others() {
    check(
        ("logs", "GetLogEvents"),
        &json!({"logGroupName": "/aws/x", "logStreamName": "s"}),
        &["logs:GetLogEvents arn:aws:logs:eu-west-1:1:log-group:/aws/x:log-stream:s"],
    );
    check(
        ("logs", "FilterLogEvents"),
        &json!({"logGroupIdentifier": "arn:aws:logs:eu-west-1:1:log-group:g:*"}),
        &["logs:FilterLogEvents arn:aws:logs:eu-west-1:1:log-group:g:log-stream:"],
    );
    check(
        ("sns", "Unsubscribe"),
        &json!({"SubscriptionArn": "arn:aws:sns:eu-west-1:1:t:id"}),
        &["sns:Unsubscribe arn:aws:sns:eu-west-1:1:t"],
    );
    check(("sns", "PublishBatch"), &json!({"TopicArn": "t"}), &["sns:Publish t"]);
    check(
        ("sqs", "SendMessageBatch"),
        &json!({"QueueUrl": "http://127.0.0.1/1/q"}),
        &["sqs:SendMessage arn:aws:sqs:eu-west-1:1:q"],
    );
    check(
        ("monitoring", "DeleteAlarms"),
        &json!({"AlarmNames": ["a", "b"]}),
        &[
            "cloudwatch:DeleteAlarms arn:aws:cloudwatch:eu-west-1:1:alarm:a",
            "cloudwatch:DeleteAlarms arn:aws:cloudwatch:eu-west-1:1:alarm:b",
        ],
    );
    check(("iam", "CreateAccessKey"), &json!({}), &["iam:CreateAccessKey arn:aws:iam::1:user/"]);
    check(("iam", "ListUsers"), &json!({}), &["iam:ListUsers *"]);
    check(("sts", "AssumeRole"), &json!({"RoleArn": "r"}), &["sts:AssumeRole r"]);
    check(("sts", "GetCallerIdentity"), &json!({}), &[]);
}

#[test]
fn other_spellings_are_the_same_resource() {
    let arn = "arn:aws-x:sagemaker:eu-west-1:1:endpoint/e";
    check(
        ("sagemaker", "ListTags"),
        &json!({ "ResourceArn": arn }),
        &["sagemaker:ListTags arn:aws:sagemaker:eu-west-1:1:endpoint/e"],
    );
    check(
        ("logs", "DescribeLogStreams"),
        &json!({"logGroupIdentifier": "x:log-group:g:*"}),
        &["logs:DescribeLogStreams arn:aws:logs:eu-west-1:1:log-group:g:log-stream:"],
    );
}

#[test]
fn what_has_no_name_is_denied() {
    let context = Context::new(Region::new("eu-west-1"), AccountId("1".into()));
    let notes = Notes::default();
    super::check(&notes, ("novelty", "Do"), &context, &json!({})).unwrap_err();
    let long = json!({"ModelName": "m".repeat(LONGEST)});
    super::check(&notes, ("sagemaker", "DeleteModel"), &context, &long).unwrap_err();
}
