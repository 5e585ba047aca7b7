//! Spans as OTLP has them in JSON: `ExportTraceServiceRequest` of its specification.
//!
//! Ids are hexadecimal, 64-bit numbers are strings, enums are their numbers.

use bytes::Bytes;
use sagebrush_core::trace::{Kind, Span, SpanContext, Value};
use serde::Serialize;
use serde_json::json;

use crate::otlp::Destination;
use crate::otlp::json::{Attribute, Is, resource, scope};

/// The code of `Status` for what failed.
const FAILED: u8 = 2;

/// The body of a request that tells `spans`.
pub(super) fn request(destination: &Destination, spans: &[Span]) -> Bytes {
    let spans: Vec<_> = spans.iter().map(Written::of).collect();
    let body = json!({"resourceSpans": [{
        "resource": resource(destination),
        "scopeSpans": [{
            "scope": scope(destination),
            "spans": spans,
        }],
    }]});
    Bytes::from(body.to_string())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'s> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'s str>,
    name: &'s str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    trace_id: String,
    span_id: String,
}

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

impl<'s> Written<'s> {
    fn of(span: &'s Span) -> Self {
        let took = u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX);
        let attribute =
            |(key, value): &'s (&'static str, Value)| Attribute { key, value: is(value) };
        Self {
            trace_id: span.context.trace.to_string(),
            span_id: span.context.span.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()),
            trace_state: span.state.as_deref(),
            name: &span.name,
            kind: match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Consumer => 5,
            },
            start_time_unix_nano: span.began.to_string(),
            end_time_unix_nano: span.began.saturating_add(took).to_string(),
            attributes: span.attributes.iter().map(attribute).collect(),
            links: span.links.iter().map(Link::of).collect(),
            status: Status { code: span.is_failed.then_some(FAILED) },
        }
    }
}

impl Link {
    fn of(to: &SpanContext) -> Self {
        Self { trace_id: to.trace.to_string(), span_id: to.span.to_string() }
    }
}

/// The value of an attribute, as OTLP has it.
fn is(value: &Value) -> Is<'_> {
    match value {
        Value::Text(text) => Is::Text(text),
        Value::Number(number) => Is::Number(*number),
        Value::Bool(value) => Is::Bool(*value),
    }
}
