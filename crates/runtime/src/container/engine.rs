//! A container engine's HTTP API, over its Unix socket: Docker Engine API 1.41, which Podman's
//! service speaks too.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::contract::{Address, Connection, chain};

const VERSION: &str = "/v1.41";
/// The engine is on this machine; what it does at once takes seconds at most, but on a busy disk.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest answer that is one document.
const LARGEST: usize = 16 << 20;

pub(super) struct Engine {
    address: Address,
}

/// Why the engine did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("the container engine at {socket} cannot be used: {reason}")]
    Unreachable { socket: String, reason: String },
    #[error("the container engine answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("the container engine answered nonsense: {0}")]
    Nonsense(String),
}

/// An answer that comes bit by bit.
pub(super) struct Flow {
    connection: Connection,
    body: Incoming,
    socket: String,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { address: Address::Socket(socket) }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let text = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&text).map_err(|error| EngineError::Nonsense(error.to_string()))
    }

    /// The answer is given as text: many have none.
    pub(super) async fn post(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, EngineError> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), EngineError> {
        self.call(Method::DELETE, path, None).await.map(drop)
    }

    /// Asks for an answer that may take as long as it likes.
    pub(super) async fn flow(&self, method: Method, path: &str) -> Result<Flow, EngineError> {
        self.begin(method, path, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, EngineError> {
        let call = async { self.begin(method, path, body).await?.all().await };
        let late = || self.unreachable(format!("it took longer than {} s", TIMEOUT.as_secs()));
        timeout(TIMEOUT, call).await.unwrap_or_else(|_late| Err(late()))
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Flow, EngineError> {
        let request = request(method, path, body)
            .map_err(|error| EngineError::Nonsense(format!("{path} is no path: {error}")))?;
        let connection = Connection::open(&self.address).await;
        let mut connection = connection.map_err(|error| self.unreachable(error.to_string()))?;
        let response = connection.send(request).await;
        let response = response.map_err(|lost| self.unreachable(chain(&lost.error)))?;
        let status = response.status();
        let socket = self.address.to_string();
        let flow = Flow { connection, body: response.into_body(), socket };
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(flow);
        }
        let text = flow.all().await.unwrap_or_default();
        Err(EngineError::Refused { status, message: message(&text) })
    }

    fn unreachable(&self, reason: String) -> EngineError {
        EngineError::Unreachable { socket: self.address.to_string(), reason }
    }
}

impl Flow {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        self.connection.chunk(&mut self.body).await.map_err(|error| EngineError::Unreachable {
            socket: self.socket.clone(),
            reason: chain(&error),
        })
    }

    pub(super) async fn all(mut self) -> Result<Vec<u8>, EngineError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await? {
            if all.len() + chunk.len() > LARGEST {
                return Err(EngineError::Nonsense(format!("more than {LARGEST} bytes")));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

impl EngineError {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// The engine did what it could: asking again does not help.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_client_error(),
            Self::Unreachable { .. } | Self::Nonsense(_) => false,
        }
    }
}

fn request(
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let text = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{VERSION}{path}"))
        .header(HOST, "docker")
        .header(CONTENT_LENGTH, text.len());
    if body.is_some() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request.body(Full::new(Bytes::from(text)))
}

/// The engine's own words.
fn message(text: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    match serde_json::from_slice::<Error>(text) {
        Ok(error) => error.message,
        Err(_other) => String::from_utf8_lossy(text).trim().to_owned(),
    }
}
