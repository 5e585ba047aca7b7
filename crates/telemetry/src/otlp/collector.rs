//! Brings requests to a collector.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use sagebrush_outbound::{Poster, Settings};

use super::Destination;

/// The timeout is OTLP's default.
const SETTINGS: Settings = Settings { timeout: Duration::from_secs(10), max_idle: 1 };

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untold {
    /// It may be taken another time; after this one, if the collector says so.
    #[error("{reason}")]
    ForNow { reason: String, after: Option<Duration> },
    /// It never will.
    #[error("{0}")]
    ForGood(String),
}

/// Takes requests.
#[async_trait]
pub(crate) trait Collector: Send + Sync + 'static {
    async fn post(&self, body: Bytes) -> Result<(), Untold>;
}

pub(crate) struct HttpCollector {
    url: Uri,
    headers: HeaderMap,
    poster: Poster,
}

impl HttpCollector {
    pub(crate) fn new(destination: &Destination) -> Self {
        let mut headers = destination.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("sagebrush"));
        Self { url: destination.url.clone(), headers, poster: Poster::new(SETTINGS) }
    }
}

#[async_trait]
impl Collector for HttpCollector {
    async fn post(&self, body: Bytes) -> Result<(), Untold> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.poster.send(request).await;
        judge(&answer.map_err(|error| for_now(error.to_string()))?)
    }
}

/// OTLP names the answers after which a request may be sent again.
fn judge(answer: &Parts) -> Result<(), Untold> {
    let status = answer.status;
    let reason = format!("the collector answered {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            Err(Untold::ForNow { reason, after })
        }
        _ => Err(Untold::ForGood(reason)),
    }
}

fn for_now(reason: String) -> Untold {
    Untold::ForNow { reason, after: None }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    #[test]
    fn only_what_may_pass_is_sent_again() {
        let check = |status: u16, after: Option<&'static str>, wanted| {
            let (mut answer, ()) = Response::new(()).into_parts();
            answer.status = StatusCode::from_u16(status).unwrap();
            if let Some(after) = after {
                answer.headers.insert(RETRY_AFTER, HeaderValue::from_static(after));
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
