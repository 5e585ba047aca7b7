//! Brings requests to a collector, over HTTP with TLS or without.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sagebrush_core::task;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::Destination;

/// OTLP's default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that its connection is of further use.
const MAX_ANSWER: usize = 64 << 10;
const IDLE: Duration = Duration::from_secs(30);

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untold {
    /// It may be taken another time; after this one, if the collector says so.
    #[error("{reason}")]
    ForNow { reason: String, after: Option<Duration> },
    /// It never will.
    #[error("{0}")]
    ForGood(String),
}

/// Takes requests.
#[async_trait]
pub(super) trait Collector: Send + Sync + 'static {
    async fn post(&self, body: Bytes) -> Result<(), Untold>;
}

pub(super) struct HttpCollector {
    url: Uri,
    headers: HeaderMap,
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made with the first request to an `https` URL: the authorities that the system trusts are
    /// read from its disk.
    secure: OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl HttpCollector {
    pub(super) fn new(destination: &Destination) -> Self {
        let mut headers = destination.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("sagebrush"));
        let (plain, secure) = (builder().build_http(), OnceCell::new());
        Self { url: destination.url.clone(), headers, plain, secure }
    }

    async fn send(&self, body: Bytes) -> Result<Response<()>, Untold> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = if self.url.scheme() == Some(&Scheme::HTTPS) {
            self.secure.get_or_try_init(secure).await?.request(request).await
        } else {
            self.plain.request(request).await
        };
        let (head, body) = answer.map_err(|error| for_now(lowest(&error)))?.into_parts();
        // What it says does not matter, only that it has been said.
        Limited::new(body, MAX_ANSWER).collect().await.ok();
        Ok(Response::from_parts(head, ()))
    }
}

#[async_trait]
impl Collector for HttpCollector {
    async fn post(&self, body: Bytes) -> Result<(), Untold> {
        let late = |_| for_now("the collector did not answer in time".to_owned());
        judge(&timeout(TIMEOUT, self.send(body)).await.map_err(late)??)
    }
}

/// OTLP names the answers after which a request may be sent again.
fn judge(answer: &Response<()>) -> Result<(), Untold> {
    let status = answer.status();
    let reason = format!("the collector answered {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            Err(Untold::ForNow { reason, after })
        }
        _ => Err(Untold::ForGood(reason)),
    }
}

fn builder() -> Builder {
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(1);
    client
}

async fn secure() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, Untold> {
    let trusting = task::blocking(|| HttpsConnectorBuilder::new().with_native_roots());
    let untold = |reason: &dyn Error| {
        for_now(format!("the authorities that this system trusts cannot be read: {reason}"))
    };
    let trusting = trusting.await.map_err(|error| untold(&error))?;
    let connector = trusting.map_err(|error| untold(&error))?.https_only().enable_http1().build();
    Ok(builder().build(connector))
}

fn for_now(reason: String) -> Untold {
    Untold::ForNow { reason, after: None }
}

/// The lowest reason: "Connection refused" says more than "client error".
fn lowest(error: &dyn Error) -> String {
    let mut lowest = error;
    while let Some(source) = lowest.source() {
        lowest = source;
    }
    lowest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_sent_again() {
        let check = |status: u16, after: Option<&'static str>, wanted| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(after) = after {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(after));
            }
            let again = match judge(&answer) {
                Ok(()) => None,
                Err(Untold::ForNow { after, .. }) => Some((true, after)),
                Err(Untold::ForGood(_)) => Some((false, None)),
            };
            assert_eq!(again, wanted, "{status}");
        };
        check(200, None, None);
        for status in [429, 502, 503, 504] {
            check(status, None, Some((true, None)));
        }
        check(503, Some("7"), Some((true, Some(Duration::from_secs(7)))));
        check(429, Some("Mon"), Some((true, None)));
        for status in [301, 400, 401, 404, 413, 500] {
            check(status, None, Some((false, None)));
        }
    }
}
