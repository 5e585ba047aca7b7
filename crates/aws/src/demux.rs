//! One port, many services: tells from the head of a request which door it is for.
//!
//! Pure, and it trusts nothing: the door behind checks the signature against the service it is.

mod host;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};

use self::host::Host;
use crate::cbor::{RPC_V2_CBOR, SMITHY_PROTOCOL};
use crate::query::Form;
use crate::sigv4::Dialect;

// A name that is made once is not parsed with each request.
static AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// How all clients of AWS begin their `Authorization`.
const USUAL_START: &str = "AWS4-HMAC-SHA256 Credential=";

/// Which door a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/healthz`, `/readyz`, `/metrics`: no signature asked.
    Operations(OperationsPage),
    /// The SageMaker runtime. The name is decoded, and not checked.
    Invoke {
        endpoint: String,
        kind: InvokeKind,
    },
    /// AWS JSON: `X-Amz-Target: SageMaker.CreateModel`.
    Json {
        prefix: String,
        operation: String,
    },
    /// Smithy's RPC protocol, version 2, in CBOR. `service` is what JSON calls the prefix.
    Cbor {
        service: String,
        operation: String,
    },
    /// The query protocol. `service` is that of the credential scope, or of the host.
    Query {
        service: String,
    },
    S3,
    /// A service or a path that nobody here serves. `service` is empty if it is not known.
    Unknown {
        service: String,
        operation: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationsPage {
    Health,
    Ready,
    Metrics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvokeKind {
    /// `/endpoints/{name}/invocations`
    RealTime,
    /// `/endpoints/{name}/async-invocations`
    Async,
    /// `/endpoints/{name}/invocations-response-stream`
    Stream,
}

impl Target {
    /// Which words an error is told in.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Query { .. } => Dialect::Query,
            Self::Cbor { .. } => Dialect::Cbor,
            Self::Operations(_)
            | Self::Invoke { .. }
            | Self::Json { .. }
            | Self::S3
            | Self::Unknown { .. } => Dialect::Json,
        }
    }
}

/// Says which door the request is for.
#[must_use]
pub fn route(parts: &Parts) -> Target {
    let host = host::of(parts);
    let query = parts.uri.query().unwrap_or_default();
    let signed_for = signing_service(parts);
    let signed_for = signed_for.as_deref();
    if let Some((prefix, operation)) = json_target(&parts.headers) {
        return Target::Json { prefix, operation };
    }
    if let Some((service, operation)) = cbor_target(parts) {
        return Target::Cbor { service, operation };
    }
    if signed_for.is_some_and(is_s3) || has_signature_v2(&parts.headers, query) {
        return Target::S3;
    }
    if host == Host::S3 && signed_for.is_none() {
        return Target::S3;
    }
    if let Some(page) = operations_page(parts).filter(|_| signed_for.is_none()) {
        return Target::Operations(page);
    }
    let is_runtime = signed_for.is_none_or(|service| service == "sagemaker");
    if let Some((endpoint, kind)) = invocation(parts).filter(|_| is_runtime) {
        return Target::Invoke { endpoint, kind };
    }
    let named = signed_for.or_else(|| host.service());
    if is_query_call(parts, query) {
        return Target::Query { service: named.unwrap_or_default().to_owned() };
    }
    match named {
        None => Target::S3, // Unsigned, and none of the above: a public object, perhaps.
        Some(service) => Target::Unknown {
            service: service.to_owned(),
            operation: format!("{} {}", parts.method, parts.uri.path()),
        },
    }
}

fn json_target(headers: &HeaderMap) -> Option<(String, String)> {
    let target = headers.get(&AMZ_TARGET)?.to_str().ok()?;
    let (prefix, operation) = target.rsplit_once('.').unwrap_or(("", target));
    Some((prefix.to_owned(), operation.to_owned()))
}

/// `POST /service/{service}/operation/{operation}`, with the header that names the protocol.
fn cbor_target(parts: &Parts) -> Option<(String, String)> {
    let is_cbor = parts.headers.get(&SMITHY_PROTOCOL).is_some_and(|it| it == RPC_V2_CBOR);
    if !is_cbor || parts.method != Method::POST {
        return None;
    }
    let (service, rest) = parts.uri.path().strip_prefix("/service/")?.split_once('/')?;
    let operation = rest.strip_prefix("operation/").filter(|rest| !rest.contains('/'))?;
    Some((service.to_owned(), operation.to_owned()))
}

/// The service in the credential scope, be it in the header or in the query.
pub(crate) fn signing_service(parts: &Parts) -> Option<Cow<'_, str>> {
    let query = parts.uri.query().unwrap_or_default();
    let header = parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    match header {
        Some(header) => {
            let credential = match header.strip_prefix(USUAL_START) {
                Some(credential) => credential,
                None => header.split_once("Credential=")?.1,
            };
            service_of(credential.split([',', ' ']).next()?).map(Cow::Borrowed)
        }
        None if query.contains("X-Amz-Credential=") => {
            let form = Form::parse(query.as_bytes()).ok()?;
            service_of(form.get("X-Amz-Credential")?).map(|service| Cow::Owned(service.to_owned()))
        }
        None => None,
    }
}

fn service_of(credential: &str) -> Option<&str> {
    credential.rsplit('/').nth(1)
}

fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3express")
}

/// Only S3 still takes version 2; boto3 presigns with it.
fn has_signature_v2(headers: &HeaderMap, query: &str) -> bool {
    let in_header = headers.get(AUTHORIZATION).is_some_and(|it| it.as_bytes().starts_with(b"AWS "));
    in_header || query.split('&').any(|pair| pair.starts_with("AWSAccessKeyId="))
}

fn operations_page(parts: &Parts) -> Option<OperationsPage> {
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    match parts.uri.path() {
        "/healthz" if is_read => Some(OperationsPage::Health),
        "/readyz" if is_read => Some(OperationsPage::Ready),
        "/metrics" if is_read => Some(OperationsPage::Metrics),
        _ => None,
    }
}

/// `POST /endpoints/{name}/invocations` and its sisters. The name is decoded once.
fn invocation(parts: &Parts) -> Option<(String, InvokeKind)> {
    if parts.method != Method::POST {
        return None;
    }
    let (name, kind) = parts.uri.path().strip_prefix("/endpoints/")?.split_once('/')?;
    let kind = match kind {
        "invocations" => InvokeKind::RealTime,
        "async-invocations" => InvokeKind::Async,
        "invocations-response-stream" => InvokeKind::Stream,
        _ => return None,
    };
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    Some((name.into_owned(), kind))
}

/// A form posted to the root, or `Action=` in the query.
fn is_query_call(parts: &Parts, query: &str) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let is_form =
        content_type.is_some_and(|it| it.starts_with(b"application/x-www-form-urlencoded"));
    let is_posted = parts.method == Method::POST && is_form;
    let is_in_url = query.split('&').any(|pair| pair.starts_with("Action="));
    parts.uri.path() == "/" && (is_posted || is_in_url)
}
