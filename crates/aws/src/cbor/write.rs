//! Answers and errors in CBOR.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ciborium_ll::{Encoder, Header, simple};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use sagebrush_wire::{Operation, Shape};
use serde_json::Value;

use super::{RPC_V2_CBOR, SMITHY_PROTOCOL, TAG_OF_TIME};
use crate::ApiError;
use crate::json::{REQUEST_ID, query_error};

const CBOR: HeaderValue = HeaderValue::from_static("application/cbor");

/// The CBOR of an operation's output.
pub fn write<O: Operation>(output: &O::Output) -> Result<Vec<u8>, ApiError> {
    let value = serde_json::to_value(output).map_err(ApiError::internal)?;
    body(O::output_shape(), &value).map_err(ApiError::internal)
}

/// An answer.
#[must_use]
pub fn success(body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    response(StatusCode::OK, body, request_id)
}

/// An error.
#[must_use]
pub fn failure(error: &ApiError, request_id: &str) -> Response<Full<Bytes>> {
    // Writing to memory does not fail.
    let body = error_body(error).unwrap_or_default();
    let mut response = response(error.status, body, request_id);
    if let Some(code) = error.query_code {
        response.headers_mut().extend(query_error(code, error.status));
    }
    response.headers_mut().extend(error.retry_after());
    response
}

fn error_body(error: &ApiError) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut cbor = Encoder::from(&mut body);
    cbor.push(Header::Map(Some(2)))?;
    for text in ["__type", &error.code, "message", &error.message] {
        cbor.text(text, None)?;
    }
    Ok(body)
}

fn response(status: StatusCode, body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CBOR);
    headers.insert(&SMITHY_PROTOCOL, HeaderValue::from_static(RPC_V2_CBOR));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// A value by its shape.
pub(super) fn body(shape: &Shape, value: &Value) -> io::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(512);
    content(&mut Encoder::from(&mut body), shape, value)?;
    Ok(body)
}

fn content(cbor: &mut Encoder<&mut Vec<u8>>, shape: &Shape, value: &Value) -> io::Result<()> {
    match (shape, value) {
        (Shape::Structure(members), Value::Object(fields)) => {
            let field = |name: &str| fields.get(name).filter(|field| !field.is_null());
            let n_fields = members.iter().filter(|member| field(member.name).is_some()).count();
            cbor.push(Header::Map(Some(n_fields)))?;
            for member in *members {
                if let Some(field) = field(member.name) {
                    cbor.text(member.name, None)?;
                    content(cbor, member.shape, field)?;
                }
            }
            Ok(())
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            cbor.push(Header::Array(Some(items.len())))?;
            items.iter().try_for_each(|item| content(cbor, member, item))
        }
        (Shape::Map { value: entry, .. }, Value::Object(entries)) => {
            cbor.push(Header::Map(Some(entries.len())))?;
            for (key, value) in entries {
                cbor.text(key, None)?;
                content(cbor, entry, value)?;
            }
            Ok(())
        }
        (Shape::Timestamp, Value::Number(seconds)) => {
            cbor.push(Header::Tag(TAG_OF_TIME))?;
            cbor.push(Header::Float(seconds.as_f64().unwrap_or_default()))
        }
        (Shape::Float { .. }, Value::Number(number)) => {
            cbor.push(Header::Float(number.as_f64().unwrap_or_default()))
        }
        (Shape::Integer { .. }, Value::Number(number)) => cbor.push(integer(number)),
        (Shape::Blob { .. }, Value::String(text)) => {
            let bytes = STANDARD.decode(text).map_err(io::Error::other)?;
            cbor.bytes(&bytes, None)
        }
        (Shape::String { .. }, Value::String(text)) => cbor.text(text, None),
        (Shape::Boolean, Value::Bool(is_true)) => {
            cbor.push(Header::Simple(if *is_true { simple::TRUE } else { simple::FALSE }))
        }
        (_, Value::Null) => cbor.push(Header::Simple(simple::NULL)),
        (shape, value) => {
            Err(io::Error::other(format!("an output has {value} where its shape is {shape:?}")))
        }
    }
}

fn integer(number: &serde_json::Number) -> Header {
    match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => Header::Positive(number),
        (None, Some(number)) => Header::Negative(number.unsigned_abs().wrapping_sub(1)),
        (None, None) => Header::Float(number.as_f64().unwrap_or_default()),
    }
}
