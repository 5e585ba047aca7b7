//! A call and its reply as bytes.
//!
//! To a worker goes one frame at a time, of one call or of several; numbers are little-endian:
//!
//! ```text
//! frame: length: u32, n_calls: u32, then the calls
//! call:  head_length: u32, microseconds_left: u32, body_length: u64, head, body
//! reply: head_length: u32, status: u32, body_length: u64, nanoseconds: [u64; 3], head, body
//! ```
//!
//! `length` is that of the whole frame, with one exception: a lone call that would not fit into
//! [`ROOM`] bytes has its body behind the frame, which is padded to `ROOM`. So a worker that reads
//! up to `ROOM` bytes has all of a small call, and a large body can be read into its place.
//! `n_calls` is 0 for a lone call that is to be answered in parts.
//!
//! A worker answers each call of a frame, in their order, with as few writes as it likes. The head
//! is text, its fields separated by newlines. Of a call: request id, content type, accept, then
//! names and values of the API's headers in turn. Of a reply: content type, custom attributes, the
//! session that is new, the session that is closed; those at the end may be left out. The
//! nanoseconds are those of pre-processing, model and post-processing.
//!
//! The status of a reply is the HTTP status, or [`LATE`] for a call whose time was over before it
//! was begun. Before any call the worker says [`READY`], its body `together` if the code has
//! `predict_batch_fn`; or, with the reason as the body, [`FAILED`].
//!
//! A call that is to be answered in parts gets as many replies of the status [`PART`] as the code
//! makes parts, each with one of them, and then a reply like any other: its body is the last part,
//! an error is what ended them. The first reply has the head. We read no faster than parts are
//! wanted, so that a worker that is faster than its reader waits in its write. For each such call
//! we say one byte, [`ENOUGH`]: either early, which makes the worker end before its next part, or
//! when its last reply has come. The worker reads it before the next frame, in either case.
//!
//! A worker that answers several calls one by one notes the number of the one that it begins in a
//! page that we share: if it ends, that call is at fault, and the others are not.

mod parts;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use sagebrush_core::worker::Call;
use tokio::time::Instant;

pub(super) use parts::{Received, Said};
pub(super) use reply::{FrameError, Ready, Replies};

/// What stands before the calls of a frame.
const START: usize = 8;
/// What stands before the head of a call.
const CALL: usize = 16;
/// Workers read so much at first.
const ROOM: usize = 8 << 10;

/// Bodies of several calls that are no longer than this are copied to stand beside their heads.
const COPIED: usize = 16 << 10;

/// Statuses that are not HTTP's.
const READY: u32 = 0;
const FAILED: u32 = 1;
const LATE: u32 = 2;
const PART: u32 = 3;

/// What a worker is told that answers in parts.
pub(super) const ENOUGH: Bytes = Bytes::from_static(b"\x04");

/// The parts of the frame of these calls, none of them empty.
pub(super) fn frame(calls: &[Call], now: Instant, longest: Duration) -> VecDeque<Bytes> {
    let left = |call: &Call| call.deadline.saturating_duration_since(now).min(longest);
    if let [call] = calls {
        return lone(call, left(call), 1);
    }
    let is_copied = |call: &&Call| call.payload.body.len() <= COPIED;
    let copied = calls.iter().filter(is_copied).map(|call| call.payload.body.len());
    let room = START + copied.sum::<usize>() + calls.len() * 256;
    let mut frame = BytesMut::with_capacity(room);
    frame.put_bytes(0, START);
    let (mut first, mut parts, mut length) = (None, VecDeque::new(), 0);
    for call in calls {
        put_head(&mut frame, call, left(call));
        let body = &call.payload.body;
        if is_copied(&call) {
            frame.put_slice(body);
        } else {
            length += frame.len() + body.len();
            let head = frame.split();
            match &mut first {
                None => first = Some(head),
                Some(_) => parts.push_back(head.freeze()),
            }
            parts.push_back(body.clone());
        }
    }
    length += frame.len();
    let mut first = match first {
        None => frame,
        Some(first) => {
            if !frame.is_empty() {
                parts.push_back(frame.freeze());
            }
            first
        }
    };
    put_start(&mut first, length, calls.len());
    parts.push_front(first.freeze());
    parts
}

/// The parts of the frame of a call that is to be answered in parts.
pub(super) fn frame_for_parts(call: &Call, now: Instant, longest: Duration) -> VecDeque<Bytes> {
    lone(call, call.deadline.saturating_duration_since(now).min(longest), 0)
}

fn lone(call: &Call, left: Duration, n_calls: usize) -> VecDeque<Bytes> {
    let body = call.payload.body.clone();
    let mut frame = BytesMut::with_capacity(512);
    frame.put_bytes(0, START);
    put_head(&mut frame, call, left);
    let mut length = frame.len() + body.len();
    if length > ROOM {
        frame.put_bytes(0, ROOM.saturating_sub(frame.len()));
        length = frame.len();
    }
    put_start(&mut frame, length, n_calls);
    let mut parts = VecDeque::from([frame.freeze()]);
    if !body.is_empty() {
        parts.push_back(body);
    }
    parts
}

fn put_start(frame: &mut BytesMut, length: usize, n_calls: usize) {
    if let Some(mut start) = frame.get_mut(..START) {
        start.put_u32_le(number(length));
        start.put_u32_le(number(n_calls));
    }
}

fn put_head(frame: &mut BytesMut, call: &Call, left: Duration) {
    let begin = frame.len();
    frame.put_bytes(0, CALL);
    frame.put_slice(call.request_id.as_bytes());
    put_field(frame, call.payload.content_type.as_deref().unwrap_or_default());
    put_field(frame, call.accept.as_deref().unwrap_or_default());
    let target = call.target_model.as_deref();
    let target = target.map(|target| ("x-amzn-sagemaker-target-model", target));
    let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in headers.chain(target) {
        put_field(frame, name);
        put_field(frame, value);
    }
    let head_length = frame.len() - begin - CALL;
    if let Some(mut start) = frame.get_mut(begin..begin + CALL) {
        start.put_u32_le(number(head_length));
        start.put_u32_le(u32::try_from(left.as_micros()).unwrap_or(u32::MAX));
        start.put_u64_le(u64::try_from(call.payload.body.len()).unwrap_or(u64::MAX));
    }
}

/// A header's value has no newline: HTTP forbids it. What is not Latin-1 has no byte here.
fn put_field(frame: &mut BytesMut, text: &str) {
    frame.put_u8(b'\n');
    if text.is_ascii() {
        frame.put_slice(text.as_bytes());
    } else {
        frame.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')));
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
