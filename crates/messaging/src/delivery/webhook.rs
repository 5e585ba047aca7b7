//! Posts messages to webhooks over HTTP, with TLS or without.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Scheme;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sagebrush_core::task;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// As SNS waits.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How much of an answer is read, so that its connection is of further use.
const MAX_ANSWER: usize = 64 << 10;
const IDLE: Duration = Duration::from_secs(30);

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// Why something did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    /// It may arrive another time.
    #[error("{0}")]
    ForNow(String),
    /// It never will.
    #[error("{0}")]
    ForGood(String),
}

/// Brings a message to a webhook.
#[async_trait]
pub(super) trait Webhooks: Send + Sync + 'static {
    async fn post(&self, post: Post) -> Result<(), Undelivered>;
}

pub(super) struct HttpWebhooks {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made with the first post to an `https` URL: the authorities that the system trusts are read
    /// from its disk.
    secure: OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl HttpWebhooks {
    pub(super) fn new() -> Self {
        Self { plain: builder().build_http(), secure: OnceCell::new() }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, Undelivered> {
        let answer = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            self.secure.get_or_try_init(secure).await?.request(request).await
        } else {
            self.plain.request(request).await
        };
        let answer = answer.map_err(|error| Undelivered::ForNow(lowest(&error)))?;
        let status = answer.status();
        // What it says does not matter, only that it has been said.
        Limited::new(answer.into_body(), MAX_ANSWER).collect().await.ok();
        Ok(status)
    }
}

fn builder() -> Builder {
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(4);
    client
}

async fn secure() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, Undelivered> {
    let trusting = task::blocking(|| HttpsConnectorBuilder::new().with_native_roots());
    let untold = |reason: &dyn Error| {
        let text = format!("the authorities that this system trusts cannot be read: {reason}");
        Undelivered::ForNow(text)
    };
    let trusting = trusting.await.map_err(|error| untold(&error))?;
    let connector = trusting.map_err(|error| untold(&error))?.https_only().enable_http1().build();
    Ok(builder().build(connector))
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    /// Redirects are not followed: who subscribed named one address.
    async fn post(&self, post: Post) -> Result<(), Undelivered> {
        let mut request = Request::post(&post.url)
            .header(CONTENT_TYPE, "text/plain; charset=UTF-8")
            .header(USER_AGENT, "Amazon Simple Notification Service Agent");
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(post.body)));
        let request = request.map_err(|error| Undelivered::ForGood(error.to_string()))?;
        let late = |_| Undelivered::ForNow("the webhook did not answer in time".to_owned());
        judge(timeout(TIMEOUT, self.send(request)).await.map_err(late)??)
    }
}

/// Other than 429, an answer of 3xx or 4xx will not change.
fn judge(status: StatusCode) -> Result<(), Undelivered> {
    let text = format!("the webhook answered {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Err(Undelivered::ForNow(text))
        }
        _ if status.is_redirection() || status.is_client_error() => Err(Undelivered::ForGood(text)),
        _ => Err(Undelivered::ForNow(text)),
    }
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

    fn check(status: u16, expected: Option<bool>) {
        let retried = match judge(StatusCode::from_u16(status).unwrap()) {
            Ok(()) => None,
            Err(Undelivered::ForNow(_)) => Some(true),
            Err(Undelivered::ForGood(_)) => Some(false),
        };
        assert_eq!(retried, expected, "{status}");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [200, 201, 204] {
            check(status, None);
        }
        for status in [408, 429, 500, 502, 503] {
            check(status, Some(true));
        }
        for status in [301, 302, 307, 400, 403, 404, 410] {
            check(status, Some(false));
        }
    }
}
