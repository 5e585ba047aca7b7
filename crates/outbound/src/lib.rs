//! Requests of the server to others, over HTTP with TLS or without.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sagebrush_core::task;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// How much of an answer is read, so that its connection is of further use.
const MAX_ANSWER: usize = 64 << 10;
/// How long a connection is kept for further requests.
const IDLE: Duration = Duration::from_secs(30);

/// Sends requests. Redirects are not followed: who gave an address named one.
pub struct Poster {
    settings: Settings,
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made with the first request to an `https` URL: the authorities that the system trusts are
    /// read from its disk.
    secure: OnceCell<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a request and its answer may take together.
    pub timeout: Duration,
    /// How many idle connections are kept to one host.
    pub max_idle: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("there was no answer in time")]
    Late,
    /// The lowest reason: "Connection refused" says more than "client error".
    #[error("{0}")]
    Unreachable(String),
    #[error("the authorities that this system trusts cannot be read: {0}")]
    Authorities(String),
}

impl Poster {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let plain = builder(settings).build_http();
        Self { settings, plain, secure: OnceCell::new() }
    }

    /// Sends a request, and returns the head of its answer. The body is read and thrown away: it
    /// does not matter what it says, only that it has been said.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Parts, SendError> {
        timeout(self.settings.timeout, self.exchange(request)).await.map_err(|_| SendError::Late)?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Parts, SendError> {
        let answer = self.begin(request).await?.await;
        let answer = answer.map_err(|error| SendError::Unreachable(lowest(&error)))?;
        let (head, body) = Response::into_parts(answer);
        Limited::new(body, MAX_ANSWER).collect().await.ok();
        Ok(head)
    }

    async fn begin(&self, request: Request<Full<Bytes>>) -> Result<ResponseFuture, SendError> {
        if request.uri().scheme() == Some(&Scheme::HTTPS) {
            let secure = self.secure.get_or_try_init(|| secure(self.settings)).await?;
            return Ok(secure.request(request));
        }
        Ok(self.plain.request(request))
    }
}

fn builder(settings: Settings) -> Builder {
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    client.pool_max_idle_per_host(settings.max_idle);
    client
}

async fn secure(
    settings: Settings,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, SendError> {
    let trusting = task::blocking(|| HttpsConnectorBuilder::new().with_native_roots());
    let unread = |reason: &dyn Error| SendError::Authorities(reason.to_string());
    let trusting = trusting.await.map_err(|error| unread(&error))?;
    let connector = trusting.map_err(|error| unread(&error))?.https_only().enable_http1().build();
    Ok(builder(settings).build(connector))
}

fn lowest(error: &dyn Error) -> String {
    let mut lowest = error;
    while let Some(source) = lowest.source() {
        lowest = source;
    }
    lowest.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const SETTINGS: Settings = Settings { timeout: Duration::from_secs(10), max_idle: 1 };

    /// Sends a request to somebody who answers so, and then waits for ever.
    async fn send(answer: &'static [u8], settings: Settings) -> Result<Parts, SendError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let serving = task::spawn("answer", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let request = Request::post(url).body(Full::from("x")).unwrap();
        let sent = Poster::new(settings).send(request).await;
        serving.abort();
        sent
    }

    #[tokio::test]
    async fn the_head_of_an_answer_is_told_and_no_redirect_followed() {
        let answer = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 2\r\n\r\nno";
        let head = send(answer, SETTINGS).await.unwrap();
        assert_eq!(
            (head.status.as_u16(), &head.headers["location"]),
            (302, &"/y".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_awaited() {
        let settings = Settings { timeout: Duration::from_millis(200), ..SETTINGS };
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1";
        assert!(matches!(send(answer, settings).await, Err(SendError::Late)));
    }

    #[tokio::test]
    async fn whoever_is_not_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let request = Request::post(url).body(Full::default()).unwrap();
        let error = Poster::new(SETTINGS).send(request).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
