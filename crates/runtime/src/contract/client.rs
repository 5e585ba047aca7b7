//! Requests to one container, over connections that are kept.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use sagebrush_core::worker::{Call, ExecutionParameters, Reply, WorkerError};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::address::Address;
use super::answer::{Answer, UnderWay};
use super::connection::{Connection, Lost};
use super::failure::{CallFailure, chain};
use super::pool::Pool;

/// SageMaker: "the container must respond to `/ping` within 2 seconds".
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const PARAMETERS_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const TARGET_MODEL: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-target-model");

/// Headers that speak about one connection, or about the body as this client frames it.
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "accept",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a container answers what.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) ping: PathAndQuery,
    pub(crate) invocations: PathAndQuery,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            ping: PathAndQuery::from_static("/ping"),
            invocations: PathAndQuery::from_static("/invocations"),
        }
    }
}

/// Speaks the container contract with one container.
pub(crate) struct ContractClient {
    address: Address,
    authority: HeaderValue,
    paths: Paths,
    pool: Arc<Pool>,
    under_way: UnderWay,
}

/// A request; one that can be sent twice.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A response of which the head has come, and the connection that brings the rest.
pub(super) struct Begun {
    pub(super) connection: Connection,
    pub(super) response: Response<Incoming>,
    /// Where the connection belongs afterwards.
    pub(super) pool: Arc<Pool>,
}

impl Outgoing {
    fn call(path: &PathAndQuery, call: Call) -> Self {
        let headers = headers(&call);
        Self { method: Method::POST, path: path.clone(), headers, body: call.payload.body }
    }
}

impl ContractClient {
    /// Keeps up to `most_idle` connections.
    pub(crate) fn new(address: Address, paths: Paths, most_idle: usize) -> Self {
        let authority = HeaderValue::from_str(&address.authority());
        Self {
            authority: authority.unwrap_or(HeaderValue::from_static("localhost")),
            address,
            paths,
            pool: Arc::new(Pool::new(most_idle)),
            under_way: UnderWay::default(),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// `GET /ping`: `Ok` if it answered 200 in time.
    pub(crate) async fn ping(&self) -> Result<(), CallFailure> {
        let request = Outgoing {
            method: Method::GET,
            path: self.paths.ping.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = timeout(PING_TIMEOUT, self.exchange(&request)).await;
        let answer = answer.unwrap_or(Err(CallFailure::Final(WorkerError::TimedOut)))?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(CallFailure::Final(answer.into_error())),
        }
    }

    /// `GET /execution-parameters`: how the container wants to be called by transform jobs. Most
    /// do not say.
    pub(crate) async fn execution_parameters(&self) -> Option<ExecutionParameters> {
        let request = Outgoing {
            method: Method::GET,
            path: PathAndQuery::from_static("/execution-parameters"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let answer = timeout(PARAMETERS_TIMEOUT, self.exchange(&request)).await.ok()?.ok()?;
        let body = (answer.status == StatusCode::OK).then_some(answer.body)?;
        let parameters = serde_json::from_slice(&body);
        parameters.inspect_err(|error| tracing::warn!(%error, "bad execution parameters")).ok()
    }

    /// `POST /invocations`.
    pub(crate) async fn invoke(&self, call: Call) -> Result<Reply, CallFailure> {
        self.invoke_at(&self.paths.invocations, call).await
    }

    pub(super) async fn invoke_at(
        &self,
        path: &PathAndQuery,
        call: Call,
    ) -> Result<Reply, CallFailure> {
        let since = Instant::now();
        let deadline = call.deadline;
        let request = Outgoing::call(path, call);
        let answer = timeout_at(deadline, self.exchange(&request)).await;
        let answer = answer.unwrap_or(Err(CallFailure::Final(WorkerError::TimedOut)))?;
        answer.into_reply(since).map_err(CallFailure::Final)
    }

    /// Closes the connections that no call uses: a server that is to end may wait for them.
    pub(crate) fn close(&self) {
        self.pool.clear();
    }

    /// Sends a request and reads the response to its end.
    pub(super) async fn exchange(&self, request: &Outgoing) -> Result<Answer, CallFailure> {
        let (connection, response) = self.send(request).await?;
        self.read(connection, response).await
    }

    async fn read(
        &self,
        mut connection: Connection,
        response: Response<Incoming>,
    ) -> Result<Answer, CallFailure> {
        let answer = Answer::read(&mut connection, response, &self.under_way).await?;
        if answer.whole {
            self.pool.give(connection);
        }
        Ok(answer)
    }

    /// Sends a request, and once more if a kept connection turned out to be closed before a byte
    /// of the response came.
    async fn send(
        &self,
        request: &Outgoing,
    ) -> Result<(Connection, Response<Incoming>), CallFailure> {
        let mut written = false;
        if let Some(mut connection) = self.pool.take().await {
            match connection.send(self.request(request)).await {
                Ok(response) => return Ok((connection, response)),
                Err(lost) if lost.heard => return Err(failure(&lost)),
                Err(lost) => written = lost.written,
            }
        }
        let mut connection = Connection::open(&self.address).await.map_err(|error| {
            let reason = format!("{} cannot be reached: {error}", self.address);
            match written {
                true => CallFailure::Broken { reason },
                false => CallFailure::NotSent { reason },
            }
        })?;
        match connection.send(self.request(request)).await {
            Ok(response) => Ok((connection, response)),
            Err(lost) => Err(failure(&Lost { written: lost.written || written, ..lost })),
        }
    }

    /// Sends a call and returns with the head of its response; an error is read to its end.
    pub(super) async fn begin(
        &self,
        path: &PathAndQuery,
        call: Call,
    ) -> Result<Begun, CallFailure> {
        let deadline = call.deadline;
        let request = Outgoing::call(path, call);
        let begun = async {
            let (connection, response) = self.send(&request).await?;
            if !response.status().is_success() {
                let answer = self.read(connection, response).await?;
                return Err(CallFailure::Final(answer.into_error()));
            }
            Ok(Begun { connection, response, pool: self.pool.clone() })
        };
        let begun = timeout_at(deadline, begun).await;
        begun.unwrap_or(Err(CallFailure::Final(WorkerError::TimedOut)))
    }

    pub(super) fn invocations(&self) -> &PathAndQuery {
        &self.paths.invocations
    }

    fn request(&self, outgoing: &Outgoing) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = Uri::from(outgoing.path.clone());
        let mut headers = outgoing.headers.clone();
        headers.insert(HOST, self.authority.clone());
        if outgoing.method == Method::POST {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(outgoing.body.len()));
        }
        *request.headers_mut() = headers;
        request
    }
}

/// What of a call is the API's. Everything else was left at the door.
fn headers(call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(call.headers.len() + 5);
    let mut set = |name: HeaderName, value: Option<&str>| {
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_TYPE, call.payload.content_type.as_deref());
    set(ACCEPT, call.accept.as_deref());
    set(TARGET_MODEL, call.target_model.as_deref());
    for (name, value) in &call.headers {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            && !OF_THE_CONNECTION.contains(&name.as_str())
        {
            set(name, Some(value));
        }
    }
    headers
}

fn failure(lost: &Lost) -> CallFailure {
    let reason = chain(&lost.error);
    match lost.written {
        true => CallFailure::Broken { reason },
        false => CallFailure::NotSent { reason },
    }
}
