use http::Request;
use proptest::prelude::*;

use super::*;

const LOCAL: &str = "127.0.0.1:8080";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");

fn signed(service: &str) -> (&'static str, String) {
    let header = format!(
        "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    );
    ("authorization", header)
}

fn check(line: &str, host: &str, headers: &[(&str, &str)], expected: &Target) {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    assert_eq!(route(&parts), *expected, "{line} {host} {headers:?}");
}

fn check_signed(line: &str, host: &str, service: &str, expected: &Target) {
    let (name, value) = signed(service);
    check(line, host, &[(name, &value)], expected);
}

fn invoke(kind: InvokeKind) -> Target {
    Target::Invoke { endpoint: "a".to_owned(), kind }
}

fn unknown(service: &str, operation: &str) -> Target {
    Target::Unknown { service: service.to_owned(), operation: operation.to_owned() }
}

fn query(service: &str) -> Target {
    Target::Query { service: service.to_owned() }
}

#[test]
fn operations_pages() {
    check("GET /healthz", LOCAL, &[], &Target::Operations(OperationsPage::Health));
    check("HEAD /readyz", LOCAL, &[], &Target::Operations(OperationsPage::Ready));
    check("GET /metrics", "localhost:1", &[], &Target::Operations(OperationsPage::Metrics));
    check("PUT /metrics", LOCAL, &[], &Target::S3);
    check("GET /metrics", "bucket.s3.localhost", &[], &Target::S3);
    check_signed("GET /metrics", LOCAL, "s3", &Target::S3); // A bucket of that name.
}

#[test]
fn cbor() {
    let (name, value) = signed("monitoring");
    let check = |line: &str, protocol: &str, expected: &Target| {
        check(line, LOCAL, &[(name, &value), ("smithy-protocol", protocol)], expected);
    };
    let line = "POST /service/Granite/operation/PutMetricData";
    let expected = Target::Cbor { service: "Granite".into(), operation: "PutMetricData".into() };
    check(line, "rpc-v2-cbor", &expected);
    check(line, "rpc-v2-json", &unknown("monitoring", line));
    let line = "POST /service/Granite/operation/a/b";
    check(line, "rpc-v2-cbor", &unknown("monitoring", line));
}

#[test]
fn runtime() {
    check_signed(
        "POST /endpoints/a/invocations",
        LOCAL,
        "sagemaker",
        &invoke(InvokeKind::RealTime),
    );
    check("POST /endpoints/a/invocations", LOCAL, &[], &invoke(InvokeKind::RealTime));
    let host = "runtime.sagemaker.us-east-1.amazonaws.com";
    check("POST /endpoints/%61/async-invocations", host, &[], &invoke(InvokeKind::Async));
    check("POST /endpoints/a/invocations-response-stream", LOCAL, &[], &invoke(InvokeKind::Stream));
    check("POST /endpoints/a/invocations", "endpoints.s3.localhost", &[], &Target::S3);
    check_signed("POST /endpoints/a/invocations", LOCAL, "s3", &Target::S3);
    check_signed(
        "GET /endpoints/a/invocations",
        LOCAL,
        "sagemaker",
        &unknown("sagemaker", "GET /endpoints/a/invocations"),
    );
    check_signed(
        "PUT /BatchPutMetrics",
        LOCAL,
        "sagemaker",
        &unknown("sagemaker", "PUT /BatchPutMetrics"),
    );
}

#[test]
fn json() {
    let target = ("x-amz-target", "SageMaker.CreateModel");
    let expected =
        Target::Json { prefix: "SageMaker".to_owned(), operation: "CreateModel".to_owned() };
    check("POST /", LOCAL, &[target], &expected);
    check("POST /", "bucket.localhost", &[target], &expected);
    let target = ("x-amz-target", "com.amazonaws.x_1.Put.It");
    let expected =
        Target::Json { prefix: "com.amazonaws.x_1.Put".to_owned(), operation: "It".to_owned() };
    check("POST /", LOCAL, &[target], &expected);
}

#[test]
fn query_protocol() {
    let (name, value) = signed("sts");
    check("POST /", LOCAL, &[FORM, (name, &value)], &query("sts"));
    check("POST /", LOCAL, &[FORM], &query(""));
    check("GET /?Action=GetCallerIdentity", "sts.us-east-1.amazonaws.com", &[], &query("sts"));
    let presigned =
        "GET /?Action=A&X-Amz-Credential=AKID%2F20150830%2Fus-east-1%2Fsts%2Faws4_request";
    check(presigned, LOCAL, &[], &query("sts"));
}

#[test]
fn s3() {
    check_signed("GET /bucket/key", LOCAL, "s3", &Target::S3);
    check("GET /bucket/key", LOCAL, &[], &Target::S3);
    check("GET /", "bucket.localhost:9000", &[], &Target::S3);
    check("GET /key", "my.bucket.s3.eu-west-1.amazonaws.com", &[], &Target::S3);
    check("GET /b/k?AWSAccessKeyId=a&Signature=b&Expires=1", LOCAL, &[], &Target::S3);
    check("GET /b/k", LOCAL, &[("authorization", "AWS a:b")], &Target::S3);
    let presigned = "GET /b/k?X-Amz-Credential=AKID%2F20150830%2Fus-east-1%2Fs3%2Faws4_request";
    check(presigned, LOCAL, &[], &Target::S3);
    check("POST /b?delete", LOCAL, &[], &Target::S3);
}

#[test]
fn other_services() {
    check_signed(
        "GET /2015-03-31/functions",
        LOCAL,
        "lambda",
        &unknown("lambda", "GET /2015-03-31/functions"),
    );
    check("GET /x", "api.sagemaker.us-east-1.amazonaws.com", &[], &unknown("sagemaker", "GET /x"));
}

#[test]
fn hosts() {
    use super::host::classify;
    let services = [
        ("127.0.0.1:8080", Host::Any),
        ("[::1]:8080", Host::Any),
        ("localhost:8080", Host::Any),
        ("example.com", Host::Any),
        ("s3.localhost:1", Host::S3),
        ("bucket.s3.localhost", Host::S3),
        ("sts.s3.localhost", Host::S3),
        ("Bucket.Localhost.", Host::S3),
        ("sts.localhost", Host::Service("sts")),
        ("sts.amazonaws.com", Host::Service("sts")),
        ("STS.eu-west-1.amazonaws.com:443", Host::Service("sts")),
        ("api.sagemaker.us-east-1.amazonaws.com", Host::Service("sagemaker")),
        ("s3-us-west-2.amazonaws.com", Host::S3),
        ("stsx.us-east-1.amazonaws.com", Host::Any),
    ];
    for (name, expected) in services {
        assert_eq!(classify(name), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn never_panics(path in "/[ -~]{0,40}", header in "[ -~]{0,60}", host in "[ -~]{0,20}") {
        let request = Request::builder().uri(&path).header("authorization", &header).header("host", &host);
        if let Ok(request) = request.body(()) {
            drop(route(&request.into_parts().0));
        }
    }
}
