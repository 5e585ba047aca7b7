//! S3 over HTTP: who calls, which bucket is meant, and the answer's last touches.

mod access;
mod call;
mod hosts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result, StdError, s3_error};
use sagebrush_aws::sigv4::Grant;
use sagebrush_core::access::Authorizer;
use sagebrush_core::audit::AuditSink;
use sagebrush_core::trace::Tracer;
use sagebrush_core::{AccountId, Region};
use uuid::Uuid;

use self::access::Gate;
use self::call::{CALL, Call, Listeners};
use self::hosts::Hosts;
use crate::backend::Objects;
use crate::front::Front;

pub(crate) use self::call::Asker;

/// What is known of an access key, if it may sign; the second argument is the session token.
pub type GrantOf = Arc<dyn Fn(&str, Option<&str>) -> Option<Grant<'static>> + Send + Sync>;

/// The most that a body of XML may have. A `DeleteObjects` of 1,000 keys of 1 KB has half of it.
const MAX_XML: usize = 2 << 20;

/// The most that a file in a form may have; `s3s` holds it in memory.
const MAX_FORM_FILE: u64 = 64 << 20;
/// A week, in seconds: how long AWS lets a presigned URL be good.
const LONGEST_EXPIRES: u64 = 7 * 24 * 3600;

/// What an [`S3Door`] must know.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Of all buckets.
    pub account: String,
    /// Where a bucket is whose creator says nothing.
    pub region: String,
    /// Domains below which the first labels are a bucket: `localhost` makes `b.localhost` the
    /// bucket `b`. Those of AWS need not be named.
    pub domains: Vec<String>,
}

/// Answers S3 requests.
#[derive(Clone)]
pub struct S3Door {
    service: S3Service,
    listeners: Listeners,
}

impl S3Door {
    #[must_use]
    pub fn new(
        objects: Objects,
        config: DoorConfig,
        grant_of: GrantOf,
        authorizer: Arc<dyn Authorizer>,
    ) -> Self {
        let mut limits = S3Config::default();
        limits.xml_max_body_size = MAX_XML;
        limits.post_object_max_file_size = MAX_FORM_FILE;
        let listeners = Listeners {
            audit: None,
            tracer: Tracer::default(),
            account: AccountId(config.account.as_str().into()),
            region: Region::new(&config.region),
        };
        let front = Front::new(objects, config.account, config.region);
        let mut builder = S3ServiceBuilder::new(front);
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
        builder.set_host(Hosts::new(config.domains));
        builder.set_auth(Secrets(grant_of.clone()));
        builder.set_access(Gate { grant_of, authorizer });
        Self { service: builder.build(), listeners }
    }

    /// Tells `sink` of each call whose signature is good.
    #[must_use]
    pub fn audited(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.listeners.audit = Some(sink);
        self
    }

    /// Has its calls traced.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.listeners.tracer = tracer;
        self
    }

    /// Answers one request. Bodies are streamed both ways.
    pub async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        StdError: From<B::Error>,
    {
        let id = RequestId::new();
        if lasts_too_long(&request) {
            let message = "X-Amz-Expires must be less than a week (in seconds); that is, the given \
                           X-Amz-Expires must be less than 604800 seconds";
            let code = "AuthorizationQueryParametersError";
            return id.sign(failed(StatusCode::BAD_REQUEST, code, message));
        }
        let token = session_token(&request);
        let call = Call::new(&request, token, &self.listeners, &id.id);
        let answered = async {
            let answer = self.service.call(request.map(Body::http_body_unsync)).await;
            let answer = answer.unwrap_or_else(|error| id.unexpected(error.into()));
            CALL.with(|call| call.answered(answer))
        };
        id.sign(CALL.scope(call, answered).await)
    }
}

struct Secrets(GrantOf);

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let token = CALL.try_with(|call| call.session_token.clone()).ok().flatten();
        let grant = (self.0)(access_key, token.as_deref());
        grant.map(|grant| SecretKey::from(&*grant.secret)).ok_or_else(|| {
            s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )
        })
    }
}

/// Temporary keys are good only with their token, in the header or, presigned, in the query.
fn session_token<B>(request: &Request<B>) -> Option<String> {
    const NAME: &str = "x-amz-security-token";
    if let Some(header) = request.headers().get(NAME) {
        return header.to_str().ok().map(str::to_owned);
    }
    let token = query(request, NAME)?;
    let token = percent_encoding::percent_decode_str(token).decode_utf8().ok()?;
    Some(token.into_owned())
}

/// Whether a presigned URL is to be good for more than a week.
fn lasts_too_long<B>(request: &Request<B>) -> bool {
    let seconds = query(request, "x-amz-expires").and_then(|seconds| seconds.parse::<u64>().ok());
    seconds.is_some_and(|seconds| seconds > LONGEST_EXPIRES)
}

/// A value of the query, as it stands there.
fn query<'r, B>(request: &'r Request<B>, name: &str) -> Option<&'r str> {
    let mut pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// What a client can tell us when it complains.
struct RequestId {
    id: Arc<str>,
    host_id: String,
}

impl RequestId {
    fn new() -> Self {
        let random = Uuid::new_v4();
        let mut id = random.simple().to_string().to_uppercase();
        id.truncate(16); // As long as AWS's.
        Self { id: id.into(), host_id: BASE64_STANDARD.encode(random.as_bytes()) }
    }

    /// The answer where the library has none.
    fn unexpected(&self, error: StdError) -> Response<Body> {
        tracing::error!(%error, request_id = &*self.id, "answering an S3 request failed");
        let message = "We encountered an internal error. Please try again.";
        failed(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// Puts the ids into the headers, and into the body of an error.
    fn sign(&self, answer: Response<Body>) -> Response<Body> {
        let (mut parts, mut body) = answer.into_parts();
        if parts.status == StatusCode::NOT_MODIFIED {
            body = Body::empty();
            parts.headers.remove(header::CONTENT_TYPE);
        }
        let is_error = parts.status.is_client_error() || parts.status.is_server_error();
        if let Some(signed) = body.bytes().filter(|_| is_error).and_then(|xml| self.insert(&xml)) {
            body = Body::from(signed);
            let xml = HeaderValue::from_static("application/xml");
            parts.headers.insert(header::CONTENT_TYPE, xml);
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        for (name, value) in [("x-amz-request-id", &*self.id), ("x-amz-id-2", &self.host_id)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                parts.headers.insert(name, value);
            }
        }
        Response::from_parts(parts, body)
    }

    fn insert(&self, xml: &[u8]) -> Option<String> {
        let open = std::str::from_utf8(xml).ok()?.strip_suffix("</Error>")?;
        let Self { id, host_id } = self;
        Some(format!("{open}<RequestId>{id}</RequestId><HostId>{host_id}</HostId></Error>"))
    }
}

fn failed(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error>"
    );
    let mut answer = Response::new(Body::from(xml));
    *answer.status_mut() = status;
    answer
}
