//! What is told of calls, and of which.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use sagebrush_aws::sigv4::{Grant, Signer};
use sagebrush_core::access::{AllowAll, Asked, Authorizer, Denied};
use sagebrush_core::objects::Versioning;
use sagebrush_core::trace::MemorySpans;
use sagebrush_core::{Clock as _, SystemClock};

use super::*;
use crate::backend::tests::Fixture;
use crate::door::{DoorConfig, S3Door};

const SIGNER: Signer<'static> = Signer {
    access_key: "AKID",
    secret: "secret",
    token: None,
    region: "eu-west-1",
    service: "s3",
};
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Wants calls that are not named so.
struct Told {
    calls: Mutex<Vec<AuditedCall>>,
    unwanted: &'static str,
}

impl AuditSink for Told {
    fn wants(&self, service: &str, operation: &str) -> bool {
        service == "s3" && operation != self.unwanted
    }

    fn record(&self, call: AuditedCall) {
        self.calls.lock().unwrap().push(call);
    }
}

/// Lets nobody do anything.
struct DenyAll;

impl Authorizer for DenyAll {
    fn is_unlimited(&self, _: &sagebrush_core::access::Caller<'_>) -> bool {
        false
    }

    fn check(&self, _: &sagebrush_core::access::Caller<'_>, _: &Asked<'_>) -> Result<(), Denied> {
        Err(Denied("not \"you\" & not them".to_owned()))
    }
}

struct Rig {
    _fixture: Fixture,
    door: S3Door,
    told: Arc<Told>,
    spans: Arc<MemorySpans>,
}

impl Rig {
    async fn new(authorizer: Arc<dyn Authorizer>, unwanted: &'static str) -> Self {
        let fixture = Fixture::new(Versioning::Off).await;
        let config = DoorConfig {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
        };
        let grant_of = Arc::new(|key: &str, token: Option<&str>| {
            let session = token.map(|_| {
                Arc::new(Session {
                    role_arn: "arn:aws:iam::123456789012:role/r".to_owned(),
                    name: "ann".to_owned(),
                    policy: None,
                })
            });
            (key == "AKID").then(|| Grant { secret: "secret".into(), session })
        });
        let told = Arc::new(Told { calls: Mutex::default(), unwanted });
        let spans = Arc::new(MemorySpans::default());
        let tracer = Tracer::new(0.0, || 1, Arc::new(SystemClock), spans.clone());
        let door = S3Door::new(fixture.objects.clone(), config, grant_of, authorizer)
            .audited(told.clone())
            .traced(tracer);
        Self { _fixture: fixture, door, told, spans }
    }

    async fn ask(&self, method: &str, uri: &str, signer: Option<Signer<'_>>) -> u16 {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("host", "127.0.0.1:9000").header("user-agent", "me");
        let (mut parts, body) =
            request.body(Full::new(Bytes::from_static(b"x"))).unwrap().into_parts();
        if let Some(signer) = signer {
            signer.sign(&mut parts, b"x", SystemClock.now()).unwrap();
        }
        parts.headers.insert("traceparent", TRACEPARENT.parse().unwrap());
        self.call(Request::from_parts(parts, body)).await
    }

    async fn call(&self, mut request: Request<Full<Bytes>>) -> u16 {
        request.extensions_mut().insert(Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let answer = self.door.call(request).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert!(status < 400 || text.contains("<RequestId>"), "{status}: {text}");
        status
    }

    fn told(&self) -> Vec<AuditedCall> {
        self.told.calls.lock().unwrap().drain(..).collect()
    }
}

#[tokio::test]
async fn each_signed_call_is_told_once_with_what_came_of_it() {
    let rig = Rig::new(Arc::new(AllowAll), "HeadObject").await;
    assert_eq!(rig.ask("PUT", "/bucket/a%20b?x-id=PutObject", Some(SIGNER)).await, 200);
    assert_eq!(rig.ask("HEAD", "/bucket/a%20b", Some(SIGNER)).await, 200);
    assert_eq!(rig.ask("GET", "/bucket/none", Some(SIGNER)).await, 404);
    assert_eq!(rig.ask("GET", "/bucket?list-type=2&prefix=a%2Fb+c", Some(SIGNER)).await, 200);
    assert_eq!(rig.ask("GET", "/bucket?lifecycle", Some(SIGNER)).await, 404);
    assert_eq!(rig.ask("GET", "/bucket/a%20b", None).await, 403);
    let wrong = Signer { secret: "wrong", ..SIGNER };
    assert_eq!(rig.ask("GET", "/bucket/a%20b", Some(wrong)).await, 403);

    let told = rig.told();
    let names: Vec<_> = told.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(names, ["PutObject", "GetObject", "ListObjects", "GetBucketLifecycle"]);
    let codes: Vec<_> = told.iter().map(|it| it.error.as_ref().map(|(code, _)| &**code)).collect();
    let missing = "NoSuchLifecycleConfiguration";
    assert_eq!(codes, [None, Some("NoSuchKey"), None, Some(missing)]);
    let put = &told[0];
    assert_eq!(
        put.parameters,
        json!({"bucketName": "bucket", "key": "a b", "Host": "127.0.0.1:9000", "x-id": "PutObject"})
    );
    assert_eq!((&*put.service, put.region.as_str()), ("s3", "eu-west-1"));
    assert_eq!((put.request_id.len(), &*put.caller.access_key), (16, "AKID"));
    assert_eq!(put.caller.source_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(put.caller.user_agent.as_deref(), Some("me"));
    assert_eq!(put.additional["AuthenticationMethod"], "AuthHeader");
    assert_eq!(
        (&told[2].parameters["prefix"], told[2].parameters.get("key")),
        (&json!("a/b c"), None)
    );
}

#[tokio::test]
async fn whoever_presigned_a_url_is_its_caller() {
    let rig = Rig::new(Arc::new(AllowAll), "").await;
    let request = Request::get("/bucket?versioning").header("host", "127.0.0.1:9000");
    let (mut parts, body) = request.body(Full::default()).unwrap().into_parts();
    let signer = Signer { token: Some("t/1"), ..SIGNER };
    signer.presign(&mut parts, Duration::from_secs(60), SystemClock.now()).unwrap();
    assert_eq!(rig.call(Request::from_parts(parts, body)).await, 200);
    let told = rig.told();
    let session = ("arn:aws:iam::123456789012:role/r".to_owned(), "ann".to_owned());
    assert_eq!((&*told[0].caller.access_key, &told[0].caller.session), ("AKID", &Some(session)));
    assert_eq!(told[0].additional["AuthenticationMethod"], "QueryString");
    let names: Vec<_> = told[0].parameters.as_object().unwrap().keys().collect();
    assert_eq!(names, ["Host", "bucketName", "versioning"], "no part of the signature");
}

#[tokio::test]
async fn what_is_denied_is_told() {
    let rig = Rig::new(Arc::new(DenyAll), "").await;
    assert_eq!(rig.ask("DELETE", "/bucket", Some(SIGNER)).await, 403);
    assert_eq!(rig.ask("PUT", "/bucket?accelerate", Some(SIGNER)).await, 403);
    let told = rig.told();
    let denied = ("AccessDenied".to_owned(), "not \"you\" & not them".to_owned());
    assert_eq!((&*told[0].operation, &told[0].error), ("DeleteBucket", &Some(denied)));
    assert_eq!(told[1].operation, "PutBucketAccelerateConfiguration");
}

#[tokio::test]
async fn a_client_that_leaves_is_told_of() {
    let rig = Rig::new(Arc::new(AllowAll), "").await;
    let request = Request::put("/bucket/slow").header("host", "127.0.0.1:9000");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    SIGNER.presign(&mut parts, Duration::from_secs(60), SystemClock.now()).unwrap();
    parts.headers.insert("content-length", "5".parse().unwrap());
    let never = futures::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    let request = Request::from_parts(parts, http_body_util::StreamBody::new(never));
    let call = rig.door.call(request);
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    let [call] = &rig.told()[..] else { panic!("one call") };
    assert_eq!(call.operation, "PutObject");
    assert_eq!(call.error.as_ref().unwrap().0, "ClientDisconnected");
}

#[tokio::test]
async fn a_traced_call_has_a_span() {
    let rig = Rig::new(Arc::new(AllowAll), "").await;
    rig.ask("PUT", "/bucket/k", Some(SIGNER)).await;
    rig.ask("GET", "/bucket/none", Some(SIGNER)).await;
    rig.ask("GET", "/bucket/k", None).await;
    let spans = rig.spans.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["PutObject", "GetObject", "S3"]);
    let said = |n: usize, name: &str| {
        let found = spans[n].attributes.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.clone())
    };
    for (name, value) in [
        ("rpc.system", "aws-api"),
        ("rpc.service", "S3"),
        ("rpc.method", "PutObject"),
        ("aws.s3.bucket", "bucket"),
        ("aws.s3.key", "k"),
        ("cloud.region", "eu-west-1"),
        ("http.request.method", "PUT"),
    ] {
        assert_eq!(said(0, name), Some(value.into()), "{name}");
    }
    assert_eq!(said(0, "http.response.status_code"), Some(200_u16.into()));
    assert_eq!(said(1, "error.type"), Some("NoSuchKey".into()));
    assert_eq!(
        (said(2, "aws.s3.bucket"), said(2, "error.type")),
        (None, Some("AccessDenied".into()))
    );
    assert_eq!(spans[0].parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!(spans[0].kind, Kind::Server);
}

#[tokio::test]
async fn a_span_lasts_until_its_answer_is_taken() {
    let rig = Rig::new(Arc::new(AllowAll), "").await;
    rig.ask("PUT", "/bucket/k", Some(SIGNER)).await;
    let request = Request::get("/bucket/k").header("host", "127.0.0.1:9000");
    let (mut parts, body) = request.body(Full::<Bytes>::default()).unwrap().into_parts();
    SIGNER.sign(&mut parts, b"", SystemClock.now()).unwrap();
    parts.headers.insert("traceparent", TRACEPARENT.parse().unwrap());
    let answer = rig.door.call(Request::from_parts(parts, body)).await;
    assert_eq!(rig.spans.spans().len(), 1);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
    assert_eq!(rig.spans.spans()[1].name, "GetObject");
}
