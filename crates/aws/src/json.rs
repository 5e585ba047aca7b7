//! AWS JSON 1.0 and 1.1: bytes to values, answers and errors to bytes.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::ApiError;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const AMZ_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const AMZ_JSON_1_0: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// How deep values may nest. No operation of AWS goes beyond 20.
const MAX_DEPTH: usize = 64;

/// Reads a request's body. An empty one is an empty structure.
///
/// Duplicate keys are refused: of two parties that read them, one takes the first and the other
/// the last.
pub fn read(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| ApiError::serialization(format!("The body is not JSON: {error}")))
}

/// An answer.
#[must_use]
pub fn success(body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    response(StatusCode::OK, body, request_id)
}

/// An error, as SageMaker and its runtime write it.
#[must_use]
pub fn failure(error: &ApiError, request_id: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "__type": error.code, "message": error.message });
    let mut response = response(error.status, body.to_string().into_bytes(), request_id);
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert(ERROR_TYPE, code);
    }
    if let Some(code) = error.query_code {
        response.headers_mut().extend(query_error(code, error.status));
    }
    response.headers_mut().extend(error.retry_after());
    response
}

/// The header that tells what an error was called in the query protocol.
pub(crate) fn query_error(code: &str, status: StatusCode) -> Option<(HeaderName, HeaderValue)> {
    let at_fault = if status.is_server_error() { "Receiver" } else { "Sender" };
    let code = HeaderValue::from_str(&format!("{code};{at_fault}"));
    code.ok().map(|code| (QUERY_ERROR, code))
}

/// The version that a request is written in. Its answer is written in the same.
pub(crate) fn version(headers: &HeaderMap) -> HeaderValue {
    match headers.get(CONTENT_TYPE) {
        Some(version) if *version == AMZ_JSON_1_0 => AMZ_JSON_1_0,
        Some(_) | None => AMZ_JSON,
    }
}

fn response(status: StatusCode, body: Vec<u8>, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, AMZ_JSON);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Reads a value without duplicate keys, and not too deep.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(deeper)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom("a key stands twice"));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refuse(body: &str) {
        let error = read(body.as_bytes()).unwrap_err();
        assert_eq!(error.code, "SerializationException", "{body:.40}");
        assert!(error.message.starts_with("The body is not JSON: "), "{}", error.message);
    }

    #[test]
    fn reads_json_and_nothing_else() {
        assert_eq!(read(b"").unwrap(), json!({}));
        let value = json!({ "a": [1, -1, 1.5, "é", true, null, {}], "b": {} });
        assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        for bad in [
            "{",
            "{}x",
            "{} {}",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\"}",
            "nul",
            "01",
            "1e999",
            "-1e999",
            "NaN",
            "Infinity",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"\n\"",
            "/**/{}",
            "\u{feff}{}",
            "{\"a\":1,\"a\":2}",
            "[{\"a\":{\"b\":1,\"\\u0062\":2}}]",
        ] {
            refuse(bad);
        }
        assert!(read(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(64).as_bytes()).is_ok());
        refuse(&nested(65));
        refuse(&"[".repeat(1_000_000));
        refuse(&"{\"a\":".repeat(1_000_000));
    }

    #[tokio::test]
    async fn errors_are_what_botocore_reads() {
        let response = failure(&ApiError::validation("no \"x\""), "id-1");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"__type":"ValidationException","message":"no \"x\""}"#);
        assert_eq!(parts.status, 400);
        assert_eq!(parts.headers["content-type"], "application/x-amz-json-1.1");
        assert_eq!(parts.headers["x-amzn-requestid"], "id-1");
        assert_eq!(parts.headers["x-amzn-errortype"], "ValidationException");
        assert!(!parts.headers.contains_key("x-amzn-query-error"));
    }

    #[test]
    fn errors_say_what_they_were_called_in_the_query_protocol() {
        let error = ApiError::validation("no").once_called("AWS.SimpleQueueService.No");
        let response = failure(&error, "id-1");
        let header = &response.headers()["x-amzn-query-error"];
        assert_eq!(header, "AWS.SimpleQueueService.No;Sender");
    }

    #[test]
    fn an_answer_has_the_version_of_its_request() {
        let check = |sent: Option<&'static str>, expected: &str| {
            let sent = sent.map(|version| (CONTENT_TYPE, HeaderValue::from_static(version)));
            assert_eq!(version(&sent.into_iter().collect()), expected);
        };
        check(Some("application/x-amz-json-1.0"), "application/x-amz-json-1.0");
        check(Some("application/x-amz-json-1.1"), "application/x-amz-json-1.1");
        check(None, "application/x-amz-json-1.1");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            drop(read(&bytes));
        }
    }
}
