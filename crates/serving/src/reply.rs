//! The reply, or the error in AWS's words, as HTTP. SageMaker Runtime API: `InvokeEndpoint`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use sagebrush_aws::ApiError;
use sagebrush_core::worker::{Reply, Session, Timings};
use serde_json::json;

use crate::async_inference::Accepted;
use crate::error::InvokeError;
use crate::eventstream;
use crate::headers::{CLOSED_SESSION, CUSTOM_ATTRIBUTES, INVOKED_VARIANT, MODEL_TYPE, NEW_SESSION};
use crate::invoke::PartedReply;
use crate::server_timing;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const OUTPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-outputlocation");
const FAILURE_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-failurelocation");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub total: Duration,
    /// Until the worker had a free slot.
    pub queued: Duration,
    /// From there to the start of its batch.
    pub gathered: Duration,
    /// How many calls the worker answered together; 0 if it was not asked.
    pub batch_size: usize,
    /// How long the worker took: SageMaker's `ModelLatency`.
    pub model_latency: Duration,
    pub timings: Timings,
}

impl Spent {
    /// All that is not the model's: SageMaker's `OverheadLatency`.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        self.total.saturating_sub(self.model_latency)
    }
}

/// The model's reply.
#[must_use]
pub fn success(
    reply: Reply,
    variant: &str,
    request_id: &Arc<str>,
    spent: &Spent,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.payload.body));
    let headers = response.headers_mut();
    headers.reserve(8); // Ours and hyper's, without growing on the way.
    match reply.payload.content_type.as_deref() {
        None => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        Some("application/json") => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Some("text/csv") => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv"));
        }
        Some("text/csv; charset=utf-8") => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
        }
        Some(other) => set(headers, CONTENT_TYPE, other),
    }
    set(headers, HeaderName::from_static(INVOKED_VARIANT), variant);
    if let Some(attributes) = &reply.custom_attributes {
        set(headers, HeaderName::from_static(CUSTOM_ATTRIBUTES), attributes);
    }
    match &reply.session {
        Some(Session::New(id)) => set(headers, HeaderName::from_static(NEW_SESSION), id),
        Some(Session::Closed(id)) => set(headers, HeaderName::from_static(CLOSED_SESSION), id),
        None => {}
    }
    set(headers, REQUEST_ID, request_id);
    headers.insert(SERVER_TIMING, server_timing::value(spent));
    response
}

/// The head of a reply whose parts `body` has.
#[must_use]
pub(crate) fn parted<B>(
    body: B,
    reply: &PartedReply,
    variant: &str,
    request_id: &Arc<str>,
    spent: &Spent,
) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(eventstream::MEDIA_TYPE));
    let model_type = reply.content_type.as_deref().unwrap_or("application/octet-stream");
    set(headers, HeaderName::from_static(MODEL_TYPE), model_type);
    set(headers, HeaderName::from_static(INVOKED_VARIANT), variant);
    if let Some(attributes) = &reply.custom_attributes {
        set(headers, HeaderName::from_static(CUSTOM_ATTRIBUTES), attributes);
    }
    set(headers, REQUEST_ID, request_id);
    headers.insert(SERVER_TIMING, server_timing::value(spent));
    response
}

/// That the call will be answered, and where.
pub(crate) fn accepted(accepted: &Accepted, request_id: &Arc<str>) -> Response<Full<Bytes>> {
    let body = json!({"InferenceId": accepted.inference_id}).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, "application/json");
    set(headers, OUTPUT_LOCATION, &accepted.output_location);
    set(headers, FAILURE_LOCATION, &accepted.failure_location);
    set(headers, REQUEST_ID, request_id);
    response
}

/// An error of the data plane.
#[must_use]
pub fn failure(error: &InvokeError, request_id: &Arc<str>, spent: &Spent) -> Response<Full<Bytes>> {
    let (code, status) = error.code();
    let body = match error {
        InvokeError::Model { message, original_status, original_message, log_group } => json!({
            "Message": message,
            "OriginalStatusCode": original_status,
            "OriginalMessage": original_message,
            "LogStreamArn": log_group,
        }),
        InvokeError::NoEndpoint { .. }
        | InvokeError::NotInService { .. }
        | InvokeError::OnlyAsynchronous { .. }
        | InvokeError::NotAsynchronous { .. }
        | InvokeError::NoVariant { .. }
        | InvokeError::Invalid(_)
        | InvokeError::NoCapacity { .. }
        | InvokeError::Overloaded { .. }
        | InvokeError::Throttled { .. }
        | InvokeError::NotReady(_)
        | InvokeError::Internal => json!({"Message": error.to_string()}),
    };
    let mut response = error_response(code, status, &body, request_id, spent);
    if let Some(wait) = retry_after(error) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

/// After how many seconds another try may do better; a load takes longer than a queue.
fn retry_after(error: &InvokeError) -> Option<Duration> {
    match error {
        InvokeError::NoCapacity { .. } | InvokeError::Throttled { .. } => {
            Some(Duration::from_secs(1))
        }
        InvokeError::Overloaded { retry_after, .. } => Some(*retry_after),
        InvokeError::NotReady(_) => Some(Duration::from_secs(5)),
        InvokeError::NoEndpoint { .. }
        | InvokeError::NotInService { .. }
        | InvokeError::OnlyAsynchronous { .. }
        | InvokeError::NotAsynchronous { .. }
        | InvokeError::NoVariant { .. }
        | InvokeError::Invalid(_)
        | InvokeError::Model { .. }
        | InvokeError::Internal => None,
    }
}

/// An error of the door: a signature that does not fit, a body that is too long.
#[must_use]
pub fn refusal(error: &ApiError, request_id: &Arc<str>, spent: &Spent) -> Response<Full<Bytes>> {
    let body = json!({"message": error.message});
    let mut response = error_response(&error.code, error.status, &body, request_id, spent);
    response.headers_mut().extend(error.retry_after());
    response
}

fn error_response(
    code: &str,
    status: StatusCode,
    body: &serde_json::Value,
    request_id: &Arc<str>,
    spent: &Spent,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, "application/json");
    set(headers, ERROR_TYPE, code);
    set(headers, REQUEST_ID, request_id);
    headers.insert(SERVER_TIMING, server_timing::value(spent));
    response
}

/// A value that is not fit for a header is left out: a model must not break the answer.
fn set(headers: &mut http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
