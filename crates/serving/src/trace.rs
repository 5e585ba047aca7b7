//! The spans of a call, made of what is measured of it anyway.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sagebrush_core::instance::Instance;
use sagebrush_core::route::VariantId;
use sagebrush_core::trace::{
    AMAZON_TRACE_ID, Kind, Open, SpanContext, TRACEPARENT, TRACESTATE, Tracer,
};
use sagebrush_core::{Region, ResourceName};

use crate::error::InvokeError;
use crate::invoke::{Invoked, Streamed};

/// The headers by which a trace goes on in a model's code.
static CARRIERS: [HeaderName; 3] = [
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static(TRACESTATE),
    HeaderName::from_static(AMAZON_TRACE_ID),
];

/// The trace of one call that is traced. It is told when this is dropped: a call whose client has
/// left has no status.
pub(crate) struct CallTrace {
    open: Box<Open>,
    operation: &'static str,
    /// The span that the model's code sees as its parent.
    model: SpanContext,
    /// When the worker was asked whose reply comes in parts.
    asked_at: Duration,
}

impl CallTrace {
    /// Of a call at the door, if it is traced.
    #[inline]
    pub(crate) fn begin(
        tracer: &Tracer,
        operation: &'static str,
        headers: &HeaderMap,
    ) -> Option<Box<Self>> {
        let header = |wanted: &str| {
            let name = CARRIERS.iter().find(|name| name.as_str() == wanted)?;
            headers.get(name)?.to_str().ok()
        };
        let open = tracer.begin(Kind::Server, operation, header)?;
        let mut trace = Self::of(open, operation);
        trace.open.set("http.request.method", "POST");
        trace.open.set("rpc.system", "aws-api");
        trace.open.set("rpc.service", "SageMakerRuntime");
        trace.open.set("rpc.method", operation);
        Some(trace)
    }

    pub(crate) fn of(open: Box<Open>, operation: &'static str) -> Box<Self> {
        let model = open.next_id();
        Box::new(Self { open, operation, model, asked_at: Duration::ZERO })
    }

    /// Says which endpoint is called; names that strangers make up are not told.
    pub(crate) fn aims(&mut self, region: &Region, endpoint: &ResourceName) {
        self.open.rename(format!("{} {endpoint}", self.operation));
        self.open.set("sagebrush.endpoint", endpoint.as_str());
        self.open.set("cloud.region", region.as_str());
    }

    /// The trace of which this is the root, for a part that begins later.
    pub(crate) fn context(&self) -> (SpanContext, Option<&str>) {
        (self.open.context(), self.open.state())
    }

    /// Has the model's code go on with the trace.
    pub(crate) fn goes_with(&self, headers: &mut Vec<(&'static str, String)>) {
        headers.retain(|(name, _)| !CARRIERS.iter().any(|carrier| carrier == name));
        headers.extend(self.model.headers(self.open.state()));
    }

    /// Adds what a worker did with the call.
    pub(crate) fn invoked(&mut self, invoked: &Invoked) {
        self.placed(&invoked.variant, &invoked.instance, invoked.batch.size);
        self.retried(invoked.was_retried);
        let mut links = Vec::new();
        if let Some(traced) = &invoked.traced {
            links.extend(traced.iter().filter(|span| **span != self.model));
        }
        let timings = invoked.outcome.as_ref().map(|reply| reply.timings).unwrap_or_default();
        let took = invoked.model_latency;
        let worker = self.waited(invoked.queued, invoked.gathered, took);
        let (model_at, model) = match timings.model.is_zero() {
            false => (worker + timings.pre, timings.model),
            true => (worker, took),
        };
        if !timings.pre.is_zero() {
            self.open.part("pre", worker, timings.pre);
        }
        self.model(model_at, model, links, invoked.outcome.as_ref().err());
        if !timings.post.is_zero() {
            self.open.part("post", model_at + model, timings.post);
        }
        if let Err(error) = &invoked.outcome {
            self.failed(error);
        }
    }

    /// Adds what a worker did with a call up to the first part of its reply.
    pub(crate) fn streamed(&mut self, streamed: &Streamed) {
        self.placed(&streamed.variant, &streamed.instance, 1);
        self.retried(streamed.was_retried);
        self.asked_at = self.waited(streamed.queued, Duration::ZERO, streamed.model_latency);
        let first_part = i64::try_from(streamed.model_latency.as_micros()).unwrap_or(i64::MAX);
        self.open.set("sagebrush.stream.first_part_us", first_part);
        if let Err(error) = &streamed.outcome {
            self.model(self.asked_at, streamed.model_latency, Vec::new(), Some(error));
            self.failed(error);
        }
    }

    /// Adds what became of the parts.
    pub(crate) fn stream_ended(&mut self, ended: StreamEnd) {
        let took = self.open.elapsed().saturating_sub(self.asked_at);
        self.model(self.asked_at, took, Vec::new(), None);
        match ended {
            StreamEnd::Whole => {}
            StreamEnd::Broken => self.open.fail("ModelStreamError"),
            StreamEnd::Abandoned => self.open.set("sagebrush.abandoned", true),
        }
    }

    /// The call was put aside when it came.
    pub(crate) fn waited_in_backlog(&mut self, backlog: Duration) {
        self.open.began_before(backlog);
        self.open.part("backlog", Duration::ZERO, backlog);
    }

    /// Adds that the result was stored just now, and why it is no reply.
    pub(crate) fn stored(&mut self, took: Duration, failure: Option<&'static str>) {
        self.open.part("output", self.open.elapsed().saturating_sub(took), took);
        if let Some(failure) = failure {
            self.open.fail(failure);
        }
    }

    /// Tells nothing of it.
    pub(crate) fn forget(self) {
        self.open.forget();
    }

    /// Adds a part that is no model's.
    pub(crate) fn part(&mut self, name: &'static str, after: Duration, took: Duration) {
        self.open.part(name, after, took);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.open.elapsed()
    }

    pub(crate) fn failed(&mut self, error: &InvokeError) {
        let (code, status) = error.code();
        if status.is_server_error() {
            self.open.fail(code);
        } else {
            self.open.set("error.type", code);
        }
    }

    /// What the client was answered.
    pub(crate) fn answered(&mut self, status: StatusCode, request_id: &str) {
        self.open.set("http.response.status_code", status.as_u16());
        self.open.set("aws.request_id", request_id);
    }

    fn placed(&mut self, variant: &VariantId, instance: &Arc<Instance>, batch_size: usize) {
        self.open.set("sagebrush.variant", &*variant.name);
        self.open.set("sagebrush.config", &*variant.config);
        self.open.set("sagebrush.instance", &*instance.id);
        self.open.set("sagebrush.batch.size", batch_size);
    }

    /// Says that what is told is a second try's: the first ended with its worker.
    fn retried(&mut self, was_retried: bool) {
        if was_retried {
            self.open.set("sagebrush.retried", true);
        }
    }

    /// Adds the waits before a worker that has answered just now, and says when it began.
    fn waited(&mut self, queued: Duration, gathered: Duration, took: Duration) -> Duration {
        let worker = self.open.elapsed().saturating_sub(took);
        let gathering = worker.saturating_sub(gathered);
        self.open.part("queue", gathering.saturating_sub(queued), queued);
        self.open.part("batch", gathering, gathered);
        worker
    }

    fn model(
        &mut self,
        began: Duration,
        took: Duration,
        links: Vec<SpanContext>,
        error: Option<&InvokeError>,
    ) {
        let span = self.open.part_of(self.model, "model", (began, took));
        span.links = links;
        if let Some(error) = error {
            span.fail(error.code().0);
        }
    }
}

/// How the parts of a reply came to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Whole,
    Broken,
    Abandoned,
}

/// What a call that is not traced came with, for the model's code to go by.
pub(crate) fn pass_on(headers: &HeaderMap, to: &mut Vec<(&'static str, String)>) {
    for (carrier, name) in CARRIERS.iter().zip([TRACEPARENT, TRACESTATE, AMAZON_TRACE_ID]) {
        if let Some(Ok(value)) = headers.get(carrier).map(HeaderValue::to_str) {
            to.push((name, value.to_owned()));
        }
    }
}
