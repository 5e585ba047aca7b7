//! A call and its reply as bytes; `worker.py` says how they look.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use sagebrush_core::worker::{Call, Payload, Reply, Timings, WorkerError};

use crate::contract::error_text;

/// What stands before the head: its length, the status, the length of the body.
const START: usize = 16;
/// A call's start and head fill at least so many bytes.
const FIRST: usize = 256;
/// A worker is the user's code: it does not say how much memory we take.
const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: u64 = 256 << 20;

/// Statuses that a worker says before any call.
const READY: u32 = 0;
const FAILED: u32 = 1;

/// The start and the head of a call's frame; the body follows it as it is.
pub(super) fn call_head(call: &Call) -> BytesMut {
    let mut frame = BytesMut::with_capacity(FIRST * 2);
    frame.put_bytes(0, START);
    frame.put_slice(call.request_id.as_bytes());
    let content_type = call.payload.content_type.as_deref().unwrap_or_default();
    let accept = call.accept.as_deref().unwrap_or_default();
    let target = call.target_model.as_deref();
    let target = target.map(|target| ("x-amzn-sagemaker-target-model", target));
    let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    field(&mut frame, content_type);
    field(&mut frame, accept);
    for (name, value) in headers.chain(target) {
        field(&mut frame, name);
        field(&mut frame, value);
    }
    let head_length = u32::try_from(frame.len() - START).unwrap_or(u32::MAX);
    let body_length = u64::try_from(call.payload.body.len()).unwrap_or(u64::MAX);
    if let Some(start) = frame.get_mut(..START) {
        let mut start = start;
        start.put_u32_le(head_length);
        start.put_u32_le(0);
        start.put_u64_le(body_length);
    }
    frame.put_bytes(0, FIRST.saturating_sub(frame.len()));
    frame
}

/// A header's value has no newline: HTTP forbids it. What is not Latin-1 has no byte here.
fn field(frame: &mut BytesMut, text: &str) {
    frame.put_u8(b'\n');
    if text.is_ascii() {
        frame.put_slice(text.as_bytes());
    } else {
        frame.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')));
    }
}

/// A reply's frame, as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    status: u32,
    head: usize,
    body: usize,
}

impl Start {
    /// `None` until enough has come.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(start) = input.first_chunk::<START>() else { return Ok(None) };
        let number = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let body = u64::from(number(8)) | u64::from(number(12)) << 32;
        let head = usize::try_from(number(0)).unwrap_or(usize::MAX);
        if head > LONGEST_HEAD || body > LONGEST_BODY {
            return Err(FrameError::TooLong { body });
        }
        let body = usize::try_from(body).map_err(|_| FrameError::TooLong { body })?;
        Ok(Some(Self { status: number(4), head, body }))
    }

    /// How many bytes the whole frame has.
    pub(super) fn length(self) -> usize {
        START + self.head + self.body
    }

    /// What the whole frame says.
    pub(super) fn reply(self, frame: &Bytes) -> Result<Reply, WorkerError> {
        let head = String::from_utf8_lossy(frame.get(START..START + self.head).unwrap_or_default());
        let body = frame.slice((START + self.head).min(frame.len())..);
        let mut fields = head.split('\n');
        let mut field = || fields.next().filter(|field| !field.is_empty()).map(str::to_owned);
        let (content_type, custom_attributes) = (field(), field());
        let status = u16::try_from(self.status).unwrap_or(500);
        if !(200..300).contains(&status) {
            let message = error_text(&body);
            return Err(WorkerError::Model { status, message, content_type });
        }
        let mut time = || {
            let nanos = field().and_then(|text| text.parse().ok());
            nanos.map_or(Duration::ZERO, Duration::from_nanos)
        };
        let timings = Timings { pre: time(), model: time(), post: time() };
        Ok(Reply { payload: Payload { content_type, body }, custom_attributes, timings })
    }

    /// What a frame says that comes before any call: that the model is loaded, or why not.
    pub(super) fn loaded(self, frame: &Bytes) -> Result<(), FrameError> {
        match self.status {
            READY => Ok(()),
            FAILED => {
                let body = frame.slice((START + self.head).min(frame.len())..);
                Err(FrameError::Failed { reason: String::from_utf8_lossy(&body).into_owned() })
            }
            status => Err(FrameError::Unexpected { status }),
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("its reply would have {body} bytes: more than {LONGEST_BODY}")]
    TooLong { body: u64 },
    #[error("it said more than its reply")]
    TooMuch,
    /// The model could not be loaded; the traceback.
    #[error("{reason}")]
    Failed { reason: String },
    #[error("it said {status} before any call")]
    Unexpected { status: u32 },
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, Bytes, BytesMut};
    use proptest::prelude::*;
    use sagebrush_core::worker::{Call, Payload, WorkerError};
    use tokio::time::Instant;

    use super::{FIRST, FrameError, START, Start, call_head};

    fn call(attributes: &str) -> Call {
        Call {
            payload: Payload {
                content_type: Some("text/csv".to_owned()),
                body: Bytes::from("1,2"),
            },
            accept: None,
            headers: vec![("x-amzn-sagemaker-custom-attributes", attributes.to_owned())],
            target_model: Some("a.tar.gz".to_owned()),
            target_container: None,
            request_id: "id".into(),
            deadline: Instant::now(),
        }
    }

    fn reply(status: u32, head: &str, body: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_u32_le(u32::try_from(head.len()).unwrap());
        frame.put_u32_le(status);
        frame.put_u64_le(body.len() as u64);
        frame.put_slice(head.as_bytes());
        frame.put_slice(body);
        frame.freeze()
    }

    #[tokio::test]
    async fn a_call_fills_its_first_block_or_more() {
        let frame = call_head(&call("a"));
        assert_eq!(frame.len(), FIRST);
        let head = "id\ntext/csv\n\nx-amzn-sagemaker-custom-attributes\na\n\
                    x-amzn-sagemaker-target-model\na.tar.gz";
        assert_eq!(frame[..4], u32::try_from(head.len()).unwrap().to_le_bytes());
        assert_eq!(frame[8..16], 3_u64.to_le_bytes());
        assert_eq!(&frame[START..START + head.len()], head.as_bytes());
        let long = call_head(&call(&"x".repeat(1024)));
        assert!(long.len() > 1024 + START);
    }

    #[test]
    fn a_reply_is_read_back() {
        let frame = reply(200, "text/csv\nattr\n1000\n2000\n3000", b"5");
        let start = Start::read(&frame).unwrap().unwrap();
        assert_eq!(start.length(), frame.len());
        let read = start.reply(&frame).unwrap();
        assert_eq!(read.payload.content_type.as_deref(), Some("text/csv"));
        assert_eq!(read.custom_attributes.as_deref(), Some("attr"));
        assert_eq!((read.timings.pre.as_micros(), read.timings.post.as_micros()), (1, 3));
        assert_eq!(read.payload.body, "5");
    }

    #[test]
    fn a_status_that_is_not_2xx_is_the_models_own() {
        let frame = reply(422, "text/plain\n\n0\n0\n0", b"no");
        let start = Start::read(&frame).unwrap().unwrap();
        let error = start.reply(&frame).unwrap_err();
        assert!(
            matches!(error, WorkerError::Model { status: 422, message, .. } if message == "no")
        );
    }

    #[test]
    fn sizes_that_a_worker_makes_up_are_refused() {
        let mut frame = reply(200, "", b"").to_vec();
        frame[12] = 1;
        assert_eq!(Start::read(&frame), Err(FrameError::TooLong { body: 1 << 32 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let frame = Bytes::from(input);
            if let Ok(Some(start)) = Start::read(&frame) {
                drop(start.reply(&frame));
                drop(start.loaded(&frame));
            }
        }
    }
}
