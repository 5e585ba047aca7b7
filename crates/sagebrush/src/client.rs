//! A client of our own for the commands: signed requests to one server.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sagebrush_aws::sigv4::Signer;
use sagebrush_core::{Clock as _, SystemClock};
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;

/// Longer than any call may take.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Talks to the server that the settings name.
pub struct Client<'a> {
    config: &'a Config,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// An answer with a good status.
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl<'a> Client<'a> {
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        Self { config, http: HttpClient::builder(TokioExecutor::new()).build_http() }
    }

    /// Calls an operation of the SageMaker API.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn sagemaker(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        self.json("sagemaker", &format!("SageMaker.{operation}"), input).await
    }

    /// Calls an operation of the CloudWatch Logs API.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn logs(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        self.json("logs", &format!("Logs_20140328.{operation}"), input).await
    }

    /// Calls an operation of the CloudWatch API.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn cloudwatch(&self, operation: &str, input: &Value) -> Result<Value, Failure> {
        let target = format!("GraniteServiceVersion20100801.{operation}");
        self.json("monitoring", &target, input).await
    }

    /// Calls `InvokeEndpoint`.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn invoke(
        &self,
        endpoint: &str,
        content_type: &str,
        accept: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let mut request = self.request(Method::POST, &format!("/endpoints/{endpoint}/invocations"));
        request = request.header(CONTENT_TYPE, content_type);
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        self.send("sagemaker", request, body).await
    }

    /// Stores an object; its key needs no escapes.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>) -> Result<(), Failure> {
        let request = self.request(Method::PUT, &format!("/{bucket}/{key}"));
        self.send("s3", request, body).await.map(drop)
    }

    async fn json(&self, service: &str, target: &str, input: &Value) -> Result<Value, Failure> {
        let request = self
            .request(Method::POST, "/")
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", target);
        let answer = self.send(service, request, input.to_string().into_bytes()).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::Other(format!("the server's answer is not JSON: {error}")))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let uri = format!("{}{path}", self.config.endpoint_url());
        Request::builder().method(method).uri(uri).header(HOST, self.config.listen.to_string())
    }

    async fn send(
        &self,
        service: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let request = request.body(body).map_err(|error| Failure::Other(error.to_string()))?;
        let (mut parts, body) = request.into_parts();
        let signer = Signer {
            access_key: &self.config.access_key,
            secret: &self.config.secret_key,
            token: None,
            region: &self.config.region,
            service,
        };
        signer
            .sign(&mut parts, &body, SystemClock.now())
            .map_err(|error| Failure::Other(error.to_string()))?;
        let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
        let answer = tokio::time::timeout(TIMEOUT, self.http.request(request)).await;
        let answer = answer.map_err(|_| self.unreachable(&"it did not answer in time"))?;
        let (head, body) = answer.map_err(|error| self.unreachable(&reason(&error)))?.into_parts();
        let body = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
        if head.status.is_success() {
            return Ok(Answer { headers: head.headers, body });
        }
        Err(refused(head.status, &head.headers, &body))
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Failure {
        Failure::Unreachable { url: self.config.endpoint_url(), reason: reason.to_string() }
    }
}

/// The lowest reason: "Connection refused" says more than "client error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut lowest = error;
    while let Some(source) = lowest.source() {
        lowest = source;
    }
    lowest.to_string()
}

/// The error of a JSON service by its body, of S3 by its XML.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let code = header.map(str::to_owned).or_else(|| between(&text, "<Code>", "</Code>"));
    let message = ["message", "Message"].iter().find_map(|name| json[*name].as_str());
    let message = message.map(str::to_owned).or_else(|| between(&text, "<Message>", "</Message>"));
    Failure::Refused {
        status: status.as_u16(),
        code: code.unwrap_or_else(|| status.to_string()),
        message: message.unwrap_or_default(),
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside.to_owned())
}
