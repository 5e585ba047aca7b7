//! Requests as botocore 1.43.11 signed them, with the example keys of AWS's documentation.

use std::sync::Arc;

use http::Request;
use http::request::Parts;
use sagebrush_aws::sigv4::{StaticKeys, Verifier};
use sagebrush_aws::{InvokeKind, Target, query, route, validate};
use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use sagebrush_wire::{Operation as _, iam, sts};
use serde_json::{Value, json};

fn requests() -> Vec<(Parts, String)> {
    let requests: Value = serde_json::from_str(include_str!("data/botocore.json")).unwrap();
    let read = |request: &Value| {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let mut built = Request::builder().method(&*text("method")).uri(text("url"));
        for header in request["headers"].as_array().unwrap() {
            built = built.header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
        }
        (built.body(()).unwrap().into_parts().0, text("body"))
    };
    requests.as_array().unwrap().iter().map(read).collect()
}

/// When the requests were signed.
fn signed_at(parts: &Parts) -> Timestamp {
    let header = parts.headers.get("x-amz-date").map(|date| date.to_str().unwrap());
    let query = || parts.uri.query().unwrap().split_once("X-Amz-Date=").unwrap().1;
    let date = &header.unwrap_or_else(query)[..16];
    let [day, time] = [&date[..8], &date[9..15]];
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &day[..4],
        &day[4..6],
        &day[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    Timestamp(iso.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn verify(parts: &Parts, body: &str, service: &str) -> Result<String, String> {
    let keys =
        StaticKeys::default().with("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let verifier = Verifier::new(Arc::new(keys), Arc::new(FakeClock::at(signed_at(parts))));
    let caller = verifier.verify(parts, body.as_bytes(), service);
    caller.map(|caller| caller.region.to_string()).map_err(|error| error.to_string())
}

#[test]
fn are_told_apart_and_verified() {
    let json = |prefix: &str, operation: &str| Target::Json {
        prefix: prefix.to_owned(),
        operation: operation.to_owned(),
    };
    let query = |service: &str| Target::Query { service: service.to_owned() };
    let invoke = Target::Invoke { endpoint: "digits v~2".to_owned(), kind: InvokeKind::RealTime };
    let expected = [
        ("sagemaker", json("SageMaker", "CreateModel")),
        ("sagemaker", invoke),
        ("sts", query("sts")),
        ("sts", query("sts")),
        ("iam", query("iam")),
        ("logs", json("Logs_20140328", "DescribeLogGroups")),
        ("sts", query("sts")),
    ];
    let requests = requests();
    assert_eq!(requests.len(), expected.len());
    for ((parts, body), (service, target)) in requests.iter().zip(expected) {
        assert_eq!(route(parts), target);
        assert_eq!(verify(parts, body, service).as_deref(), Ok("eu-west-1"), "{target:?}");
        assert!(verify(parts, &format!("{body} "), service).is_err());
    }
}

#[test]
fn forms_are_read() {
    let form = |index: usize| query::Form::parse(requests()[index].1.as_bytes()).unwrap();
    let shape = sts::AssumeRole::input_shape();
    let input = query::read(shape, &form(3)).unwrap();
    validate::check(shape, &input).unwrap();
    let tags = json!([{ "Key": "k", "Value": "a b+c" }]);
    assert_eq!((&input["RoleSessionName"], &input["Tags"]), (&json!("sess"), &tags));
    let shape = iam::SimulatePrincipalPolicy::input_shape();
    let input = query::read(shape, &form(4)).unwrap();
    assert_eq!(input["ActionNames"], json!(["s3:Get", "s3:Put"]));
}
