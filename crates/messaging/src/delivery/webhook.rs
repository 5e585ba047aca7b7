//! Posts messages to webhooks over HTTP, with TLS or without.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use sagebrush_outbound::{Poster, Settings};

/// As SNS waits.
const SETTINGS: Settings = Settings { timeout: Duration::from_secs(15), max_idle: 4 };

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

pub(super) struct HttpWebhooks(Poster);

impl HttpWebhooks {
    pub(super) fn new() -> Self {
        Self(Poster::new(SETTINGS))
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    async fn post(&self, post: Post) -> Result<(), Undelivered> {
        let mut request = Request::post(&post.url)
            .header(CONTENT_TYPE, "text/plain; charset=UTF-8")
            .header(USER_AGENT, "Amazon Simple Notification Service Agent");
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(post.body)));
        let request = request.map_err(|error| Undelivered::ForGood(error.to_string()))?;
        let answer = self.0.send(request).await;
        judge(answer.map_err(|error| Undelivered::ForNow(error.to_string()))?.status)
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
