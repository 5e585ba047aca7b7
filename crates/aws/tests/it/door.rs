use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use sagebrush_aws::sigv4::{Signer, StaticKeys, Verifier};
use sagebrush_aws::{ApiError, BodyMemory, Context, Dispatch, Door, Peer, Target, route};
use sagebrush_core::access::AllowAll;
use sagebrush_core::audit::{AuditSink, AuditedCall};
use sagebrush_core::clock::FakeClock;
use sagebrush_core::{AccountId, Timestamp};
use sagebrush_wire::{Empty, sagemaker, sts};

const NOW: Timestamp = Timestamp(1_440_938_160_000);
const SIGNER: Signer<'_> = Signer {
    access_key: "AKID",
    secret: "secret",
    token: None,
    region: "eu-west-1",
    service: "sagemaker",
};

/// A state of the made-up service.
struct Rooms {
    suffix: &'static str,
}

async fn delete_model(
    rooms: Arc<Rooms>,
    context: Context,
    input: sagemaker::DeleteModelInput,
) -> Result<Empty, ApiError> {
    tokio::task::yield_now().await;
    match input.model_name.as_str() {
        "panic" => panic!("a bug"),
        "broken" => Err(ApiError::internal("cannot open /secret/path")),
        name => Err(ApiError::validation(format!(
            "Could not find model \"{}/{name}{}\".",
            context.region, rooms.suffix
        ))),
    }
}

async fn delete_endpoint(
    _: Arc<Rooms>,
    _: Context,
    _: sagemaker::DeleteEndpointInput,
) -> Result<Empty, ApiError> {
    Ok(Empty {})
}

async fn identity(
    _: Arc<()>,
    context: Context,
    _: sts::GetCallerIdentityRequest,
) -> Result<sts::GetCallerIdentityResponse, ApiError> {
    Ok(sts::GetCallerIdentityResponse {
        account: Some(context.account.to_string()),
        arn: Some(format!("arn:aws:iam::{}:user/<{}>", context.account, context.access_key)),
        ..sts::GetCallerIdentityResponse::default()
    })
}

fn door() -> Door {
    let rooms = Dispatch::new()
        .on::<sagemaker::DeleteModel, _, _>(delete_model)
        .on::<sagemaker::DeleteEndpoint, _, _>(delete_endpoint);
    assert_eq!(rooms.operations(), ["DeleteEndpoint", "DeleteModel"]);
    let identities = Dispatch::new().on::<sts::GetCallerIdentity, _, _>(identity);
    let api = rooms.serve(Arc::new(Rooms { suffix: "!" })).and(identities.serve(Arc::new(())));
    let keys = StaticKeys::default().with("AKID", "secret");
    let verifier = Verifier::new(Arc::new(keys), Arc::new(FakeClock::at(NOW)));
    let account = AccountId("123456789012".into());
    Door::new(api, Arc::new(verifier), Arc::new(AllowAll), account, BodyMemory::new(16 << 20))
}

struct Answer {
    status: StatusCode,
    content_type: String,
    id: String,
    body: String,
}

fn signed(request: Request<Vec<u8>>, signer: Option<Signer<'_>>) -> (Target, Request<Full<Bytes>>) {
    let (mut parts, body) = request.into_parts();
    if let Some(signer) = signer {
        signer.sign(&mut parts, &body, NOW).unwrap();
    }
    let target = route(&parts);
    (target, Request::from_parts(parts, Full::new(Bytes::from(body))))
}

async fn send(request: Request<String>, signer: Option<Signer<'_>>) -> Answer {
    send_bytes(request.map(String::into_bytes), signer).await
}

async fn send_bytes(request: Request<Vec<u8>>, signer: Option<Signer<'_>>) -> Answer {
    let (target, request) = signed(request, signer);
    let (parts, body) = door().answer(target, request).await.into_parts();
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        content_type: header("content-type"),
        id: header("x-amzn-requestid"),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

fn json(target: &str, body: &str) -> Request<String> {
    let request = Request::post("http://127.0.0.1:8080/").header("x-amz-target", target);
    request.body(body.to_owned()).unwrap()
}

fn form(body: &str) -> Request<String> {
    Request::post("http://127.0.0.1:8080/")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(body.to_owned())
        .unwrap()
}

async fn check_json(target: &str, body: &str, status: u16, expected: &str) {
    let answer = send(json(target, body), Some(SIGNER)).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (status, expected), "{target} {body:.60}");
    assert_eq!(answer.content_type, "application/x-amz-json-1.1");
    assert_eq!(answer.id.len(), 36);
}

#[tokio::test]
async fn json_calls() {
    check_json("SageMaker.DeleteEndpoint", r#"{"EndpointName":"e"}"#, 200, "{}").await;
    check_json(
        "SageMaker.DeleteModel",
        r#"{"ModelName":"m"}"#,
        400,
        r#"{"__type":"ValidationException","message":"Could not find model \"eu-west-1/m!\"."}"#,
    )
    .await;
    check_json(
        "SageMaker.DeleteModel",
        "{}",
        400,
        r#"{"__type":"ValidationException","message":"1 validation error detected: Value null at 'modelName' failed to satisfy constraint: Member must not be null"}"#,
    )
    .await;
    check_json(
        "SageMaker.DeleteModel",
        r#"{"ModelName":1}"#,
        400,
        r#"{"__type":"SerializationException","message":"NUMBER_VALUE can not be converted to a String"}"#,
    )
    .await;
    check_json(
        "SageMaker.CreateHub",
        "{}",
        400,
        r#"{"__type":"UnknownOperationException","message":"The operation sagemaker:CreateHub is not known here"}"#,
    )
    .await;
}

#[tokio::test]
async fn our_faults_tell_nothing() {
    let internal = r#"{"__type":"InternalFailure","message":"The request processing has failed because of an internal error."}"#;
    check_json("SageMaker.DeleteModel", r#"{"ModelName":"broken"}"#, 500, internal).await;
    check_json("SageMaker.DeleteModel", r#"{"ModelName":"panic"}"#, 500, internal).await;
}

/// What is served is decoded, not the name of the service: SageMaker stands in for CloudWatch.
#[tokio::test]
async fn cbor_calls() {
    let call = |body: &[u8], headers: &[(&str, &str)]| {
        let uri = "http://127.0.0.1:8080/service/SageMaker/operation/DeleteModel";
        let mut request = Request::post(uri).header("smithy-protocol", "rpc-v2-cbor");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send_bytes(request.body(body.to_vec()).unwrap(), Some(SIGNER))
    };
    let body = b"\xa1\x69ModelName\x61m";
    let answer = call(body, &[]).await;
    assert_eq!((answer.status.as_u16(), &*answer.content_type), (400, "application/cbor"));
    assert!(answer.body.contains(r#"Could not find model "eu-west-1/m!"."#), "{}", answer.body);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(call(&packed, &[("content-encoding", "gzip")]).await.body, answer.body);
    let answer = call(body, &[("content-encoding", "gzip")]).await;
    assert!(answer.body.contains("the body is not gzip"), "{}", answer.body);
}

#[tokio::test]
async fn a_packed_body_is_not_unpacked_without_bound() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b' '; 100 << 20]).unwrap();
    let request = Request::post("http://127.0.0.1:8080/")
        .header("x-amz-target", "SageMaker.DeleteModel")
        .header("content-encoding", "gzip");
    let request = request.body(packed.finish().unwrap()).unwrap();
    let answer = send_bytes(request, Some(SIGNER)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.body);
}

#[tokio::test]
async fn long_bodies_are_not_read() {
    let body = format!(r#"{{"ModelName":"{}"}}"#, "m".repeat(4 << 20));
    let answer = send(json("SageMaker.DeleteModel", &body), Some(SIGNER)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("RequestEntityTooLargeException"), "{}", answer.body);
}

#[tokio::test]
async fn nobody_gets_in_unsigned() {
    let other_service = Signer { service: "sts", ..SIGNER };
    for (request, signer, code) in [
        (json("SageMaker.DeleteEndpoint", "{}"), None, "MissingAuthenticationTokenException"),
        (json("SageMaker.NoSuchThing", "{}"), None, "MissingAuthenticationTokenException"),
        (json("SageMaker.DeleteEndpoint", "{}"), Some(other_service), "InvalidSignatureException"),
        (form("Action=GetCallerIdentity"), None, "<Code>MissingAuthenticationToken</Code>"),
        (
            form("Action=GetCallerIdentity"),
            Some(Signer { secret: "x", service: "sts", ..SIGNER }),
            "<Code>SignatureDoesNotMatch</Code>",
        ),
        (
            form("Action=GetCallerIdentity"),
            Some(Signer { access_key: "x", service: "sts", ..SIGNER }),
            "<Code>InvalidClientTokenId</Code>",
        ),
    ] {
        let answer = send(request, signer).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.body.contains(code), "{code}: {}", answer.body);
    }
}

#[tokio::test]
async fn query_calls() {
    let sts = Signer { service: "sts", ..SIGNER };
    let answer = send(form("Action=GetCallerIdentity&Version=2011-06-15"), Some(sts)).await;
    assert_eq!((answer.status, &*answer.content_type), (StatusCode::OK, "text/xml"));
    let expected = format!(
        r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/&lt;AKID&gt;</Arn></GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"#,
        answer.id
    );
    assert_eq!(answer.body, expected);
    let answer = send(form("Action=AssumeRoot&Version=2011-06-15"), Some(sts)).await;
    assert!(answer.body.contains("<Code>InvalidAction</Code>"), "{}", answer.body);
}

#[tokio::test]
async fn query_calls_in_a_presigned_url() {
    // botocore presigns a POST unless it is told to take GET.
    for method in ["GET", "POST"] {
        let url = "http://sts.localhost:8080/?Action=GetCallerIdentity&Version=2011-06-15";
        let request = Request::builder().method(method).uri(url);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let sts = Signer { service: "sts", ..SIGNER };
        sts.presign(&mut parts, Duration::from_secs(60), NOW).unwrap();
        let answer = send(Request::from_parts(parts, String::new()), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {}", answer.body);
    }
}

#[tokio::test]
async fn services_that_are_not_served() {
    let monitoring = Signer { service: "monitoring", ..SIGNER };
    let answer =
        send(json("GraniteServiceVersion20100801.ListMetrics", "{}"), Some(monitoring)).await;
    assert_eq!(
        answer.body,
        r#"{"__type":"UnknownOperationException","message":"The operation monitoring:ListMetrics is not known here"}"#
    );
    let request =
        Request::get("http://127.0.0.1/2015-03-31/functions").body(String::new()).unwrap();
    let answer = send(request, Some(Signer { service: "lambda", ..SIGNER })).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("lambda:GET /2015-03-31/functions"), "{}", answer.body);
}

/// Keeps what it is told, of all but one operation.
#[derive(Default)]
struct Told(Mutex<Vec<AuditedCall>>);

impl AuditSink for Told {
    fn wants(&self, _service: &str, operation: &str) -> bool {
        operation != "DeleteEndpoint"
    }

    fn record(&self, call: AuditedCall) {
        self.0.lock().unwrap().push(call);
    }
}

#[tokio::test]
async fn each_signed_call_is_told_once_with_what_came_of_it() {
    let told = Arc::new(Told::default());
    let door = door().audited(told.clone());
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (mut request, signer) in [
        (json("SageMaker.DeleteModel", r#"{"ModelName":"m"}"#), Some(SIGNER)),
        (json("SageMaker.DeleteModel", r#"{"ModelName":"m"}"#), None),
        (json("SageMaker.DeleteEndpoint", r#"{"EndpointName":"e"}"#), Some(SIGNER)),
        (json("SageMaker.NoSuchThing", "{}"), Some(SIGNER)),
        (form("Action=GetCallerIdentity"), Some(Signer { service: "sts", ..SIGNER })),
    ] {
        request.extensions_mut().insert(Peer::plain(peer));
        let (target, request) = signed(request.map(String::into_bytes), signer);
        let _answer = door.answer(target, request).await;
    }
    let told: Vec<_> = told.0.lock().unwrap().drain(..).collect();
    let names: Vec<_> = told.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(names, ["DeleteModel", "NoSuchThing", "GetCallerIdentity"]);
    assert_eq!(told[0].parameters["modelName"], "m");
    assert_eq!((&*told[0].caller.access_key, told[0].caller.source_ip), ("AKID", Some(peer)));
    let codes: Vec<_> = told.iter().map(|it| it.error.as_ref().map(|(code, _)| &**code)).collect();
    assert_eq!(codes, [Some("ValidationException"), Some("UnknownOperationException"), None]);
}
