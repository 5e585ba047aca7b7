//! An outcome, written in the protocol of its call.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::Full;

use crate::sigv4::Dialect;
use crate::{ApiError, cbor, json, query};

/// The client knows the service from the query protocol, and wants its errors' old names too.
const QUERY_MODE: HeaderName = HeaderName::from_static("x-amzn-query-mode");

/// What has to be known of a call to answer it.
pub(crate) struct AnswerTo {
    dialect: Dialect,
    version: HeaderValue,
    is_query_mode: bool,
    request_id: Arc<str>,
}

impl AnswerTo {
    pub(crate) fn new(dialect: Dialect, headers: &HeaderMap, request_id: Arc<str>) -> Self {
        Self {
            dialect,
            version: json::version(headers),
            is_query_mode: headers.get(QUERY_MODE).is_some_and(|it| it == "true"),
            request_id,
        }
    }

    pub(crate) fn write(self, outcome: Result<Vec<u8>, ApiError>) -> Response<Full<Bytes>> {
        let mut response = match outcome {
            Ok(body) => self.success(body),
            Err(error) => self.failure(&error),
        };
        if self.dialect == Dialect::Json {
            response.headers_mut().insert(CONTENT_TYPE, self.version);
        }
        response
    }

    fn success(&self, body: Vec<u8>) -> Response<Full<Bytes>> {
        match self.dialect {
            Dialect::Json => json::success(body, &self.request_id),
            Dialect::Query => query::success(body, &self.request_id),
            Dialect::Cbor => cbor::success(body, &self.request_id),
        }
    }

    fn failure(&self, error: &ApiError) -> Response<Full<Bytes>> {
        let mut response = match self.dialect {
            Dialect::Json => json::failure(error, &self.request_id),
            Dialect::Query => query::failure(error, &self.request_id),
            Dialect::Cbor => cbor::failure(error, &self.request_id),
        };
        if self.is_query_mode
            && let Some((name, code)) = json::query_error(query::code(error), error.status)
        {
            response.headers_mut().insert(name, code);
        }
        response
    }
}
