//! The access log of endpoints: one line a call, and invocations in the audit log. A call waits
//! for neither: what is known of it goes through a channel of bounded length to a task that writes.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Body;
use sagebrush_aws::{InvokeKind, Peer};
use sagebrush_core::audit::{AuditSink, AuditedCall, Caller};
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::metrics::Counter;
use sagebrush_core::route::Routes;
use sagebrush_core::{AccountId, Clock, Region, Timestamp, task};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Calls that may wait to be written.
const MAX_WAITING: usize = 8192;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const VARIANT: HeaderName = HeaderName::from_static("x-amzn-invoked-production-variant");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Takes calls of endpoints. Never waits; drops and counts when it is behind.
pub(crate) struct AccessLog {
    waiting: Sender<Entry>,
    clock: Arc<dyn Clock>,
    dropped: Arc<Counter>,
}

/// A call that has no answer yet.
pub(crate) struct AskedFor {
    endpoint: String,
    kind: InvokeKind,
    peer: Option<IpAddr>,
    authorization: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    bytes_in: Option<HeaderValue>,
    began: Instant,
}

struct Entry {
    asked: AskedFor,
    at: Timestamp,
    status: StatusCode,
    millis: f64,
    /// Of a reply in parts nobody knows.
    bytes_out: Option<u64>,
    request_id: Option<HeaderValue>,
    variant: Option<HeaderValue>,
    timing: Option<HeaderValue>,
    error: Option<HeaderValue>,
}

/// Where calls are written.
pub(crate) struct Books {
    /// None: no access log.
    pub(crate) log: Option<Arc<dyn LogSink>>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) routes: Routes,
    pub(crate) account: AccountId,
}

impl AskedFor {
    pub(crate) fn new(parts: &Parts, endpoint: &str, kind: InvokeKind) -> Self {
        let header = |name: HeaderName| parts.headers.get(name).cloned();
        Self {
            endpoint: endpoint.to_owned(),
            kind,
            peer: parts.extensions.get::<Peer>().map(|peer| peer.ip),
            authorization: header(AUTHORIZATION),
            user_agent: header(USER_AGENT),
            bytes_in: header(CONTENT_LENGTH),
            began: Instant::now(),
        }
    }
}

impl AccessLog {
    pub(crate) fn start(books: Books, clock: Arc<dyn Clock>, dropped: Arc<Counter>) -> Self {
        let (waiting, calls) = channel(MAX_WAITING);
        task::spawn("access-log", books.write(calls));
        Self { waiting, clock, dropped }
    }

    pub(crate) fn answered<B: Body>(&self, asked: AskedFor, answer: &Response<B>) {
        let header = |name: HeaderName| answer.headers().get(name).cloned();
        let entry = Entry {
            millis: asked.began.elapsed().as_secs_f64() * 1000.0,
            asked,
            at: self.clock.now(),
            status: answer.status(),
            bytes_out: answer.body().size_hint().exact(),
            request_id: header(REQUEST_ID),
            variant: header(VARIANT),
            timing: header(SERVER_TIMING),
            error: header(ERROR_TYPE),
        };
        if self.waiting.try_send(entry).is_err() {
            self.dropped.add(1);
        }
    }
}

impl Books {
    async fn write(self, mut calls: Receiver<Entry>) {
        while let Some(entry) = calls.recv().await {
            self.enter(&entry);
        }
    }

    /// Writes a call down, if its signature was good and its endpoint is there: strangers fill no
    /// disk.
    fn enter(&self, entry: &Entry) {
        let Some((access_key, region)) = signer(&entry.asked) else { return };
        let region = Region::new(region);
        let name = entry.asked.endpoint.parse().ok();
        let is_there = name.is_some_and(|name| self.routes.look().find(&region, &name).is_some());
        if entry.status == StatusCode::FORBIDDEN || !is_there {
            return;
        }
        if let Some(log) = &self.log {
            let group = format!("/aws/sagemaker/Endpoints/{}/access", entry.asked.endpoint);
            let stream = text(entry.variant.as_ref()).unwrap_or("none").into();
            let at = LogStream { region: region.0.clone(), group: group.into(), stream };
            log.write(&at, &line(entry, access_key).to_string());
        }
        let operation = operation(entry.asked.kind);
        if self.audit.wants("sagemaker", operation) {
            self.audit.record(self.audited(entry, operation, region, access_key));
        }
    }

    fn audited(
        &self,
        entry: &Entry,
        operation: &str,
        region: Region,
        access_key: &str,
    ) -> AuditedCall {
        let error = text(entry.error.as_ref()).map(|code| (code.to_owned(), String::new()));
        AuditedCall {
            region,
            account: self.account.clone(),
            request_id: text(entry.request_id.as_ref()).unwrap_or_default().into(),
            service: "sagemaker".to_owned(),
            operation: operation.to_owned(),
            caller: Caller {
                access_key: access_key.into(),
                session: None,
                source_ip: entry.asked.peer,
                user_agent: text(entry.asked.user_agent.as_ref()).map(str::to_owned),
            },
            parameters: json!({"endpointName": entry.asked.endpoint}),
            additional: Value::Null,
            response: Vec::new(),
            error,
        }
    }
}

fn operation(kind: InvokeKind) -> &'static str {
    match kind {
        InvokeKind::RealTime => "InvokeEndpoint",
        InvokeKind::Async => "InvokeEndpointAsync",
        InvokeKind::Stream => "InvokeEndpointWithResponseStream",
    }
}

fn line(entry: &Entry, access_key: &str) -> Value {
    let Entry { asked, at, status, millis, bytes_out, request_id, variant, timing, .. } = entry;
    let bytes_in: Option<u64> = text(asked.bytes_in.as_ref()).and_then(|it| it.parse().ok());
    json!({
        "time": time(*at),
        "requestId": text(request_id.as_ref()),
        "operation": operation(asked.kind),
        "endpoint": asked.endpoint,
        "variant": text(variant.as_ref()),
        "status": status.as_u16(),
        "bytesIn": bytes_in,
        "bytesOut": bytes_out,
        "millis": (millis * 1000.0).round() / 1000.0,
        "timing": timings(text(timing.as_ref()).unwrap_or_default()),
        "accessKey": access_key,
        "sourceIp": asked.peer.map(|peer| peer.to_string()),
        "userAgent": text(asked.user_agent.as_ref()),
    })
}

/// `queue;dur=0.1, model;dur=2.5` as an object.
fn timings(header: &str) -> Map<String, Value> {
    let part = |part: &str| {
        let (name, rest) = part.trim().split_once(";dur=")?;
        let millis: f64 = rest.split(';').next()?.parse().ok()?;
        Some((name.to_owned(), millis.into()))
    };
    header.split(',').filter_map(part).collect()
}

/// Access key and region of `Credential=AKID/20260101/us-east-1/sagemaker/aws4_request`.
fn signer(asked: &AskedFor) -> Option<(&str, &str)> {
    let (_, credential) = text(asked.authorization.as_ref())?.split_once("Credential=")?;
    let mut parts = credential.split([',', ' ']).next()?.split('/');
    let (access_key, _date, region) = (parts.next()?, parts.next()?, parts.next()?);
    Some((access_key, region))
}

fn text(header: Option<&HeaderValue>) -> Option<&str> {
    header?.to_str().ok()
}

fn time(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Request};
    use http_body_util::Full;
    use sagebrush_core::clock::FakeClock;
    use sagebrush_core::logs::MemoryLog;
    use sagebrush_core::metrics::Registry;
    use sagebrush_core::route::{self, EndpointRoute, RouteTable};
    use tokio::time::sleep;

    use super::*;

    const KEY: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/sagemaker/aws4_request, \
                       SignedHeaders=host, Signature=0";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    /// Wants no calls.
    struct Deaf;

    impl AuditSink for Deaf {
        fn wants(&self, _service: &str, _operation: &str) -> bool {
            false
        }

        fn record(&self, _call: AuditedCall) {}
    }

    fn routes() -> Routes {
        let mut table = RouteTable::default();
        table.insert(Arc::new(EndpointRoute {
            region: Region::new("us-east-1"),
            name: "e".parse().unwrap(),
            closed: None,
            asynchronous: None,
            variants: Vec::new(),
        }));
        route::channel(table).1
    }

    fn call(access: &AccessLog, endpoint: &str, key: Option<&str>, status: u16) {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = headers(&[(CONTENT_LENGTH, "3")]);
        if let Some(key) = key {
            parts.headers.insert(AUTHORIZATION, key.parse().unwrap());
        }
        parts.extensions.insert(Peer::plain(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let asked = AskedFor::new(&parts, endpoint, InvokeKind::RealTime);
        let mut answer = Response::new(Full::new(Bytes::from_static(b"four")));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        *answer.headers_mut() = headers(&[
            (REQUEST_ID, "id-1"),
            (VARIANT, "v"),
            (SERVER_TIMING, "queue;dur=0.125, batch;dur=0.000;desc=1, model;dur=2.5"),
        ]);
        access.answered(asked, &answer);
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_of_an_endpoint_that_is_there_has_a_line() {
        let log = Arc::new(MemoryLog::default());
        let books = Books {
            log: Some(log.clone()),
            audit: Arc::new(Deaf),
            routes: routes(),
            account: AccountId("123456789012".into()),
        };
        let clock = Arc::new(FakeClock::at(Timestamp(1_000)));
        let access = AccessLog::start(books, clock, Arc::default());
        call(&access, "made-up", Some(KEY), 400);
        call(&access, "e", None, 403);
        call(&access, "e", Some(KEY), 403);
        call(&access, "e", Some(KEY), 200);
        while log.lines().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        let lines = log.lines();
        let [(at, line)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((&*at.group, &*at.stream), ("/aws/sagemaker/Endpoints/e/access", "v"));
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            line,
            json!({
                "time": "1970-01-01T00:00:01.000Z", "requestId": "id-1", "operation": "InvokeEndpoint",
                "endpoint": "e", "variant": "v", "status": 200, "bytesIn": 3, "bytesOut": 4,
                "millis": 0.0, "timing": {"queue": 0.125, "batch": 0.0, "model": 2.5},
                "accessKey": "AKID", "sourceIp": "127.0.0.1", "userAgent": null,
            })
        );
    }

    #[tokio::test]
    async fn a_log_that_is_behind_drops_and_counts() {
        let dropped = Registry::default().counter("dropped", "", Vec::new());
        let (waiting, _calls) = channel(1);
        let clock = Arc::new(FakeClock::default());
        let access = AccessLog { waiting, clock, dropped: dropped.clone() };
        (0..3).for_each(|_| call(&access, "e", Some(KEY), 200));
        assert_eq!(dropped.get(), 2);
    }
}
