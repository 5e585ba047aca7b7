//! What came back from a container, read under limits.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use sagebrush_core::worker::{Payload, Reply, Session, Timings, WorkerError};
use tokio::time::Instant;

use super::connection::Connection;
use super::failure::{CallFailure, chain};

/// The replies that one container may have under way, together. A program may never end what it
/// says: that must not cost more than the machine has.
pub(crate) const LARGEST_REPLIES: usize = 256 << 20;
/// How much of an error's text is kept.
const LARGEST_ERROR: usize = 64 << 10;
/// What is set aside at once because `Content-Length` says so: it may lie.
const BELIEVED: usize = 8 << 20;
/// The longest value that the API allows.
const LONGEST_ATTRIBUTES: usize = 1024;

const CUSTOM_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
const NEW_SESSION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-new-session-id");
const CLOSED_SESSION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-closed-session-id");

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Cut, when the status is no success.
    pub(crate) body: Bytes,
    /// It was read to its end: the connection can be used again.
    pub(crate) whole: bool,
}

/// The bytes of replies that are being read.
#[derive(Default)]
pub(crate) struct UnderWay(AtomicUsize);

/// A share of [`UnderWay`], returned when dropped.
struct Share<'a> {
    of: &'a UnderWay,
    bytes: usize,
}

impl Answer {
    pub(crate) async fn read(
        connection: &mut Connection,
        response: Response<Incoming>,
        under_way: &UnderWay,
    ) -> Result<Self, CallFailure> {
        let (head, mut body) = response.into_parts();
        let success = head.status.is_success();
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(BELIEVED).min(BELIEVED);
        let mut share = Share { of: under_way, bytes: 0 };
        let mut parts = Parts::default();
        let mut whole = true;
        while let Some(chunk) = connection.chunk(&mut body).await.map_err(broken)? {
            share.grow(chunk.len())?;
            parts.push(chunk, expected);
            if !success && parts.len() > LARGEST_ERROR {
                whole = false;
                break;
            }
        }
        Ok(Self { status: head.status, headers: head.headers, body: parts.join(), whole })
    }

    /// As the reply of a model, or as its error.
    pub(crate) fn into_reply(self, since: Instant) -> Result<Reply, WorkerError> {
        if !self.status.is_success() {
            return Err(self.into_error());
        }
        let Said { content_type, custom_attributes, session } = said(&self.headers);
        let payload = Payload { content_type, body: self.body };
        let timings = Timings { model: since.elapsed(), ..Timings::default() };
        Ok(Reply { payload, custom_attributes, session, timings })
    }

    pub(crate) fn into_error(self) -> WorkerError {
        WorkerError::Model {
            status: self.status.as_u16(),
            content_type: text(&self.headers, &CONTENT_TYPE),
            message: error_text(&self.body),
        }
    }
}

/// What a reply says beside its body.
pub(super) struct Said {
    pub(super) content_type: Option<String>,
    pub(super) custom_attributes: Option<String>,
    pub(super) session: Option<Session>,
}

pub(super) fn said(headers: &HeaderMap) -> Said {
    let bounded = |name| text(headers, name).filter(|value| value.len() <= LONGEST_ATTRIBUTES);
    Said {
        content_type: text(headers, &CONTENT_TYPE),
        custom_attributes: bounded(&CUSTOM_ATTRIBUTES),
        session: Session::said(bounded(&NEW_SESSION), bounded(&CLOSED_SESSION)),
    }
}

/// A header's value, if it is visible ASCII.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A body in chunks; a body of one chunk is never copied.
#[derive(Default)]
struct Parts {
    first: Bytes,
    rest: BytesMut,
}

impl Parts {
    fn push(&mut self, chunk: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(expected.max(self.first.len() + chunk.len()));
            self.rest.extend_from_slice(&self.first);
            self.first.clear();
        }
        self.rest.extend_from_slice(&chunk);
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn join(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), CallFailure> {
        let before = self.of.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes <= LARGEST_REPLIES {
            return Ok(());
        }
        let message = format!(
            "The replies of this container that are under way are together larger than the \
             allowed {LARGEST_REPLIES} bytes."
        );
        Err(CallFailure::Final(WorkerError::Model { status: 500, message, content_type: None }))
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub(super) fn broken(error: hyper::Error) -> CallFailure {
    CallFailure::Broken { reason: chain(&error) }
}

/// What is told of an error's body.
pub(crate) fn error_text(body: &[u8]) -> String {
    cut(body, LARGEST_ERROR)
}

/// The start of `body` as text, at most `most` bytes, never half a character.
fn cut(body: &[u8], most: usize) -> String {
    let mut end = body.len().min(most);
    while body.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) && end > 0 {
        end -= 1;
    }
    String::from_utf8_lossy(&body[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn an_error_is_cut_between_characters() {
        let check = |body: &[u8], most, want: &str| assert_eq!(cut(body, most), want);
        check(b"short", 10, "short");
        check("a\u{e4}b".as_bytes(), 2, "a");
        check("a\u{e4}b".as_bytes(), 3, "a\u{e4}");
        check(b"\xff\xfe", 10, "\u{fffd}\u{fffd}");
        check(b"\x80\x80\x80", 2, "");
        check(b"", 0, "");
    }
}
