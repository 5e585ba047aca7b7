//! An asynchronous call as the store keeps it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use sagebrush_core::objects::ObjectRef;
use sagebrush_core::resource::{Resource, Stored};
use sagebrush_core::trace::{Kind, SpanContext, TRACEPARENT, TRACESTATE, Tracer};
use sagebrush_core::{ResourceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::trace::CallTrace;

/// SageMaker Runtime API: `InvokeEndpointAsync`.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsyncCall;

impl Resource for AsyncCall {
    const KIND: &'static str = "async-call";
    type Spec = CallSpec;
    type Status = CallState;

    fn status_word(status: &CallState) -> &str {
        match status {
            CallState::Waiting => "Waiting",
            CallState::Done(_) => "Done",
        }
    }
}

/// All that is needed to answer the call, whatever becomes of its endpoint's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CallSpec {
    pub(super) endpoint: ResourceName,
    pub(super) inference_id: String,
    pub(super) input: Input,
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) custom_attributes: Option<String>,
    /// Where the result goes: one of these two.
    pub(super) output: Location,
    pub(super) failure: Location,
    /// `RequestTTLSeconds`.
    pub(super) ttl_s: u32,
    /// `InvocationTimeoutSeconds`.
    pub(super) timeout_s: u32,
    pub(super) success: Option<Topic>,
    pub(super) error: Option<Topic>,
    /// The role that reads the input and writes the result.
    #[serde(default)]
    pub(super) role_arn: Option<String>,
    /// The trace that it goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Carried>,
}

/// Where the payload is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Input {
    Object(Location),
    /// It came with the call.
    Text(String),
    Base64(String),
}

/// An object, as its URI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Location(pub(super) ObjectRef);

/// Who is told of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Topic {
    pub(super) arn: String,
    /// `IncludeInferenceResponseIn`.
    pub(super) has_response: bool,
}

/// A trace, as its headers name it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Carried {
    parent: String,
    state: Option<String>,
}

/// How far the call is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum CallState {
    /// For its turn, or for its answer.
    #[default]
    Waiting,
    /// Its result is there; it remains to be told.
    Done(Done),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) at: Timestamp,
    pub(super) result: CallResult,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CallResult {
    Completed {
        content_type: Option<String>,
    },
    Failed {
        reason: String,
    },
    /// It waited longer than its TTL, or took longer than it might.
    Expired {
        reason: String,
    },
}

impl CallSpec {
    /// From the acceptance to here it may wait for its turn.
    pub(super) fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_s.into())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s.into())
    }

    /// Who is told of `result`.
    pub(super) fn topic(&self, result: &CallResult) -> Option<&Topic> {
        match result {
            CallResult::Completed { .. } => self.success.as_ref(),
            CallResult::Failed { .. } | CallResult::Expired { .. } => self.error.as_ref(),
        }
    }

    /// Where `result` is.
    pub(super) fn location(&self, result: &CallResult) -> &ObjectRef {
        match result {
            CallResult::Completed { .. } => &self.output.0,
            CallResult::Failed { .. } | CallResult::Expired { .. } => &self.failure.0,
        }
    }
}

impl Carried {
    /// The trace of a call at the door.
    pub(crate) fn of(trace: &CallTrace) -> Self {
        let (parent, state) = trace.context();
        Self { parent: parent.traceparent(), state: state.map(str::to_owned) }
    }

    /// What a call that is not traced came with.
    pub(crate) fn passing(headers: &HeaderMap) -> Option<Self> {
        let header = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
        Some(Self { parent: header(TRACEPARENT)?, state: header(TRACESTATE) })
    }

    /// Begins the span of the call's turn, if it is traced.
    pub(super) fn go_on(&self, tracer: &Tracer, operation: &'static str) -> Option<Box<CallTrace>> {
        let parent = SpanContext::parse(&self.parent)?;
        let open = tracer.go_on(Kind::Consumer, operation, parent, self.state.as_deref())?;
        Some(CallTrace::of(open, operation))
    }

    /// The headers that the model's code sees if it is not.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let state = self.state.clone().map(|state| (TRACESTATE, state));
        [(TRACEPARENT, self.parent.clone())].into_iter().chain(state)
    }
}

impl Input {
    /// A payload that came with its call.
    pub(super) fn inline(body: &Bytes) -> Self {
        match str::from_utf8(body) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(STANDARD.encode(body)),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(uri: String) -> Result<Self, String> {
        ObjectRef::parse(&uri).map(Self).ok_or_else(|| format!("{uri} is no S3 URI"))
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.0.to_string()
    }
}

/// When the call is too old to be begun.
pub(super) fn expires_at(call: &Stored<AsyncCall>) -> Timestamp {
    let ttl = i64::try_from(call.spec.ttl().as_millis()).unwrap_or(i64::MAX);
    Timestamp(call.created_at.0.saturating_add(ttl))
}
