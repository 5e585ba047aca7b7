//! A request under way: what the audit log and traces are told of it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, AsHeaderName, HOST, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use percent_encoding::percent_decode_str;
use s3s::access::S3AccessContext;
use s3s::{Body, StdError};
use sagebrush_aws::Peer;
use sagebrush_aws::sigv4::Session;
use sagebrush_core::audit::{AuditSink, AuditedCall, Caller};
use sagebrush_core::trace::{Kind, Open, Tracer};
use sagebrush_core::{AccountId, Region};
use serde_json::{Map, Value, json};

tokio::task_local! {
    /// `s3s` asks for secrets by access key alone, and tells nobody what became of a request.
    pub(super) static CALL: Call;
}

/// Who is told of calls, and whose they are.
#[derive(Clone)]
pub(super) struct Listeners {
    pub(super) audit: Option<Arc<dyn AuditSink>>,
    pub(super) tracer: Tracer,
    pub(super) account: AccountId,
    /// Where a call is whose signature names no region.
    pub(super) region: Region,
}

/// What is known of a request.
pub(super) struct Call {
    /// Temporary keys are good only with it.
    pub(super) session_token: Option<String>,
    listeners: Listeners,
    request_id: Arc<str>,
    peer: Option<Peer>,
    trace: RefCell<Option<Box<Open>>>,
    heard: RefCell<Option<Heard>>,
}

/// What became of a request that was not done.
struct Failure {
    code: String,
    message: String,
}

impl Call {
    pub(super) fn new<B>(
        request: &Request<B>,
        session_token: Option<String>,
        listeners: &Listeners,
        request_id: &Arc<str>,
    ) -> Self {
        let header = |name| request.headers().get(name)?.to_str().ok();
        let mut trace = listeners.tracer.begin(Kind::Server, "S3", header);
        if let Some(trace) = &mut trace {
            trace.set("rpc.system", "aws-api");
            trace.set("rpc.service", "S3");
            trace.set("http.request.method", request.method().as_str());
            trace.set("aws.request_id", &**request_id);
        }
        Self {
            session_token,
            listeners: listeners.clone(),
            request_id: request_id.clone(),
            peer: request.extensions().get::<Peer>().copied(),
            trace: RefCell::new(trace),
            heard: RefCell::default(),
        }
    }

    /// Takes note of a request whose signature is good.
    pub(super) fn admit(
        &self,
        context: &S3AccessContext<'_>,
        session: impl FnOnce() -> Option<Arc<Session>>,
    ) {
        let Some(credentials) = context.credentials() else { return };
        let operation = context.s3_op().name();
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            trace.rename(operation.to_owned());
            trace.set("rpc.method", operation);
            let path = context.s3_path();
            path.get_bucket_name().into_iter().for_each(|name| trace.set("aws.s3.bucket", name));
            path.get_object_key().into_iter().for_each(|key| trace.set("aws.s3.key", key));
        }
        let operation = in_cloud_trail(operation);
        let Listeners { audit, account, region, .. } = &self.listeners;
        let wanted = audit.as_ref().filter(|sink| sink.wants("s3", operation));
        let Some(sink) = wanted else { return };
        let session = session().map(|it| (it.role_arn.clone(), it.name.clone()));
        let call = AuditedCall {
            region: region.clone(),
            account: account.clone(),
            request_id: self.request_id.clone(),
            service: "s3".to_owned(),
            operation: operation.to_owned(),
            caller: Caller {
                access_key: credentials.access_key.as_str().into(),
                session,
                source_ip: self.peer.map(|peer| peer.ip),
                user_agent: text(context.headers(), USER_AGENT).map(str::to_owned),
            },
            parameters: parameters(context),
            additional: authentication(context.headers(), context.uri()),
            response: Vec::new(),
            error: None,
        };
        *self.heard.borrow_mut() = Some(Heard { sink: sink.clone(), call: Some(call) });
    }

    /// Says for which region the request was signed.
    pub(super) fn is_in(&self, region: &str) {
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            trace.set("cloud.region", region);
        }
        if let Some(call) = self.heard.borrow_mut().as_mut().and_then(|heard| heard.call.as_mut()) {
            call.region = Region::new(region);
        }
    }

    /// Tells what became of it. Its span goes on until its answer has been taken.
    pub(super) fn answered(&self, answer: Response<Body>) -> Response<Body> {
        let (status, failure) = (answer.status(), failure(&answer));
        let trace = self.trace.take().map(|mut trace| {
            trace.set("http.response.status_code", status.as_u16());
            match failure.as_ref().map(|failure| failure.code.as_str()) {
                Some(code) if status.is_server_error() => trace.fail(code),
                Some(code) => trace.set("error.type", code),
                None => {}
            }
            trace
        });
        if let Some(heard) = self.heard.take() {
            heard.answered(failure);
        }
        let is_whole = answer.body().bytes().is_some();
        match trace.filter(|_| !is_whole) {
            Some(trace) => {
                answer.map(|body| Body::http_body_unsync(Traced { body, _trace: trace }))
            }
            None => answer,
        }
    }
}

/// Who asked for a change.
pub(crate) struct Asker {
    pub(crate) account: AccountId,
    pub(crate) request_id: Arc<str>,
    pub(crate) ip: Option<IpAddr>,
}

impl Asker {
    /// Of the request under way in this task. `None`: the server itself.
    pub(crate) fn of_call() -> Option<Self> {
        let asker = |call: &Call| Self {
            account: call.listeners.account.clone(),
            request_id: call.request_id.clone(),
            ip: call.peer.map(|peer| peer.ip),
        };
        CALL.try_with(asker).ok()
    }
}

/// A call that has no answer yet. If it never has one, that is written down as well: it may have
/// been carried out.
struct Heard {
    sink: Arc<dyn AuditSink>,
    call: Option<AuditedCall>,
}

impl Heard {
    fn answered(mut self, failure: Option<Failure>) {
        if let Some(mut call) = self.call.take() {
            call.error = failure.map(|failure| (failure.code, failure.message));
            self.sink.record(call);
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some(mut call) = self.call.take() {
            let message = "The client left before the answer. The call may have been carried out.";
            call.error = Some(("ClientDisconnected".to_owned(), message.to_owned()));
            self.sink.record(call);
        }
    }
}

/// The body of an answer, and the span that ends with it.
struct Traced {
    body: Body,
    _trace: Box<Open>,
}

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// CloudTrail knows some operations by other names than their callers.
fn in_cloud_trail(operation: &str) -> &str {
    match operation {
        "ListObjectsV2" => "ListObjects",
        "GetBucketLifecycleConfiguration" => "GetBucketLifecycle",
        "PutBucketLifecycleConfiguration" => "PutBucketLifecycle",
        "GetPublicAccessBlock" => "GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" => "PutBucketPublicAccessBlock",
        "DeletePublicAccessBlock" => "DeleteBucketPublicAccessBlock",
        other => other,
    }
}

/// Headers that say what is wanted. Others may hold keys.
const TOLD_HEADERS: &[&str] = &["x-amz-copy-source", "x-amz-acl", "x-amz-storage-class"];

/// Bucket, key, and what the query says beside the signature.
fn parameters(context: &S3AccessContext<'_>) -> Value {
    let path = context.s3_path();
    let of_path = [("bucketName", path.get_bucket_name()), ("key", path.get_object_key())];
    let of_path = of_path.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let host = text(context.headers(), HOST).map(|host| ("Host", host));
    let header = |name: &&'static str| Some((*name, text(context.headers(), *name)?));
    let headers = TOLD_HEADERS.iter().filter_map(header);
    let plain = of_path.chain(host).chain(headers);
    let plain = plain.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let query = context.uri().query().unwrap_or_default().split('&');
    let query = query.filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), Value::from(decoded(value)))
    });
    // What a path names is not named by a query as well.
    let all: Map<_, _> = query.filter(|(name, _)| !is_of_signature(name)).chain(plain).collect();
    Value::Object(all)
}

fn is_of_signature(name: &str) -> bool {
    let is_version_4 = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    is_version_4 || ["AWSAccessKeyId", "Signature", "Expires"].contains(&name)
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// How the caller signed, in CloudTrail's words.
fn authentication(headers: &HeaderMap, uri: &Uri) -> Value {
    let query = uri.query().unwrap_or_default();
    let (method, is_version_4) = match text(headers, AUTHORIZATION) {
        Some(header) => ("AuthHeader", header.starts_with("AWS4")),
        None if query.contains("AWSAccessKeyId=") => ("QueryString", false),
        None if query.contains("X-Amz-Signature=") => ("QueryString", true),
        None => return json!({"AuthenticationMethod": "HtmlForm"}),
    };
    let version = if is_version_4 { "SigV4" } else { "SigV2" };
    json!({"AuthenticationMethod": method, "SignatureVersion": version})
}

/// Code and message of an answer that is an error.
fn failure(answer: &Response<Body>) -> Option<Failure> {
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let body = answer.body().bytes().unwrap_or_default();
    let xml = String::from_utf8_lossy(&body);
    let code = element(&xml, "Code").unwrap_or_else(|| status.as_u16().to_string());
    Some(Failure { code, message: element(&xml, "Message").unwrap_or_default() })
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    Some(plain.replace("&apos;", "'").replace("&amp;", "&"))
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
