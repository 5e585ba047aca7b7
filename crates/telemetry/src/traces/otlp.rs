//! Spans as OTLP has them in JSON: `ExportTraceServiceRequest` of its specification.
//!
//! Ids are hexadecimal, 64-bit numbers are strings, enums are their numbers.

use bytes::Bytes;
use sagebrush_core::trace::{Kind, Span, SpanContext, Value};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::json;

use super::Destination;

/// The code of `Status` for what failed.
const FAILED: u8 = 2;

/// The body of a request that tells `spans`.
pub(super) fn request(destination: &Destination, spans: &[Span]) -> Bytes {
    let attribute = |key, text| Attribute { key, value: Is::Text(text) };
    let attributes = [
        attribute("service.name", &destination.service),
        attribute("service.version", destination.version),
    ];
    let spans: Vec<_> = spans.iter().map(Written::of).collect();
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": attributes},
        "scopeSpans": [{
            "scope": {"name": "sagebrush", "version": destination.version},
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
            |(key, value): &'s (&'static str, Value)| Attribute { key, value: Is::of(value) };
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

#[derive(Serialize)]
struct Attribute<'s> {
    key: &'s str,
    value: Is<'s>,
}

enum Is<'s> {
    Text(&'s str),
    Number(i64),
    Bool(bool),
}

impl<'s> Is<'s> {
    fn of(value: &'s Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Number(number) => Self::Number(*number),
            Value::Bool(value) => Self::Bool(*value),
        }
    }
}

impl Serialize for Is<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Text(text) => map.serialize_entry("stringValue", text)?,
            Self::Number(number) => map.serialize_entry("intValue", &number.to_string())?,
            Self::Bool(value) => map.serialize_entry("boolValue", value)?,
        }
        map.end()
    }
}
