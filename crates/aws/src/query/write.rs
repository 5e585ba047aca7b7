//! The XML of answers and errors.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use sagebrush_wire::{Operation, Shape};
use serde_json::Value;

use crate::ApiError;
use crate::json::REQUEST_ID;

const TEXT_XML: HeaderValue = HeaderValue::from_static("text/xml");

/// The XML of an operation's output.
pub fn write<O: Operation>(output: &O::Output, request_id: &str) -> Result<Vec<u8>, ApiError> {
    let value = serde_json::to_value(output).map_err(ApiError::internal)?;
    Ok(answer(O::NAME, O::SERVICE.xml_namespace, O::output_shape(), &value, request_id)
        .into_bytes())
}

pub(super) fn answer(
    operation: &str,
    namespace: &str,
    shape: &Shape,
    output: &Value,
    request_id: &str,
) -> String {
    let mut xml = String::with_capacity(512);
    // Writing to a string cannot fail, here and below.
    let _ = write!(xml, r#"<{operation}Response xmlns="{}">"#, escape(namespace));
    element(&mut xml, &format!("{operation}Result"), |xml| content(xml, shape, output));
    element(&mut xml, "ResponseMetadata", |xml| text_element(xml, "RequestId", request_id));
    let _ = write!(xml, "</{operation}Response>");
    xml
}

/// An answer.
#[must_use]
pub fn success(body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    response(StatusCode::OK, body, request_id)
}

/// An error, under the name that it has in the query protocol.
#[must_use]
pub fn failure(error: &ApiError, request_id: &str) -> Response<Full<Bytes>> {
    let at_fault = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let mut xml = String::with_capacity(256);
    element(&mut xml, "ErrorResponse", |xml| {
        element(xml, "Error", |xml| {
            text_element(xml, "Type", at_fault);
            text_element(xml, "Code", code(error));
            text_element(xml, "Message", &error.message);
        });
        text_element(xml, "RequestId", request_id);
    });
    let mut response = response(error.status, xml.into_bytes(), request_id);
    response.headers_mut().extend(error.retry_after());
    response
}

/// What an error is called in the query protocol, which is older than the names of JSON and CBOR.
pub(crate) fn code(error: &ApiError) -> &str {
    if let Some(code) = error.query_code {
        return code;
    }
    match &*error.code {
        "ValidationException" => "ValidationError",
        "UnknownOperationException" => "InvalidAction",
        "SerializationException" => "MalformedInput",
        "AccessDeniedException" => "AccessDenied",
        other => other,
    }
}

fn response(status: StatusCode, body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT_XML);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn content(xml: &mut String, shape: &Shape, value: &Value) {
    match (shape, value) {
        (Shape::Structure(members), Value::Object(fields)) => {
            for member in *members {
                let field = fields.get(member.name).filter(|field| !field.is_null());
                if let Some(field) = field {
                    element(xml, member.name, |xml| content(xml, member.shape, field));
                }
            }
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            for item in items {
                element(xml, "member", |xml| content(xml, member, item));
            }
        }
        (Shape::Map { value: entry, .. }, Value::Object(entries)) => {
            for (key, value) in entries {
                element(xml, "entry", |xml| {
                    text_element(xml, "key", key);
                    element(xml, "value", |xml| content(xml, entry, value));
                });
            }
        }
        (Shape::Timestamp, Value::Number(seconds)) => {
            xml.push_str(&iso_8601(seconds.as_f64().unwrap_or_default()));
        }
        (_, Value::String(text)) => xml.push_str(&escape(text)),
        (_, Value::Bool(_) | Value::Number(_)) => _ = write!(xml, "{value}"),
        (_, Value::Null | Value::Array(_) | Value::Object(_)) => {}
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn iso_8601(seconds: f64) -> String {
    let at = jiff::Timestamp::from_millisecond((seconds * 1000.0).round() as i64);
    let at = at.unwrap_or_default();
    if at.subsec_millisecond() == 0 {
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }
}

fn element(xml: &mut String, name: &str, write: impl FnOnce(&mut String)) {
    let _ = write!(xml, "<{name}>");
    write(xml);
    let _ = write!(xml, "</{name}>");
}

fn text_element(xml: &mut String, name: &str, text: &str) {
    element(xml, name, |xml| xml.push_str(&escape(text)));
}

/// XML has no way at all to say most control characters; a U+FFFD stands in for them.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\r' => escaped.push_str("&#xD;"),
            '\n' | '\t' => escaped.push(letter),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}
