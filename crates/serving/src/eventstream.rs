//! `application/vnd.amazon.eventstream`: messages with headers and checksums.
//!
//! ```text
//! message: length: u32, length of the headers: u32, CRC-32 of these eight bytes: u32,
//!          headers, payload, CRC-32 of all before: u32
//! header:  length of the name: u8, name, 7 for text, length of the value: u16, value
//! ```
//!
//! All numbers are big-endian.

use bytes::{BufMut as _, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use serde_json::json;

use crate::error::{ModelStreamCode, StreamError};

pub const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

/// Longer parts become several messages. Clients take payloads of 16 MiB at most.
pub const LONGEST_PAYLOAD: usize = 128 << 10;
/// How much longer than its payload a message is.
const FRAME: usize = 16;
/// The type of a header's value that is text.
const TEXT: u8 = 7;

const PART: [(&str, &str); 3] = [
    (":event-type", "PayloadPart"),
    (":content-type", "application/octet-stream"),
    (":message-type", "event"),
];

/// Adds a part of a reply. SageMaker Runtime API: `PayloadPart`.
pub fn put_part(out: &mut BytesMut, part: &[u8]) {
    for payload in part.chunks(LONGEST_PAYLOAD) {
        put_message(out, &PART, payload);
    }
}

/// Adds what ended a reply.
pub fn put_error(out: &mut BytesMut, error: &StreamError) {
    let (kind, payload) = match error {
        StreamError::Model { code, message } => {
            let code = match code {
                ModelStreamCode::ModelInvocationTimeExceeded => "ModelInvocationTimeExceeded",
                ModelStreamCode::StreamBroken => "StreamBroken",
            };
            ("ModelStreamError", json!({"Message": message, "ErrorCode": code}))
        }
        StreamError::Internal { message } => ("InternalStreamFailure", json!({"Message": message})),
    };
    let headers = [
        (":exception-type", kind),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    put_message(out, &headers, payload.to_string().as_bytes());
}

fn put_message(out: &mut BytesMut, headers: &[(&str, &str)], payload: &[u8]) {
    let n_headers: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let length = FRAME + n_headers + payload.len();
    out.reserve(length);
    let begin = out.len();
    out.put_u32(number(length));
    out.put_u32(number(n_headers));
    put_checksum(out, begin);
    for (name, value) in headers {
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
        out.put_u8(TEXT);
        out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    put_checksum(out, begin);
}

/// Adds the checksum of all from `begin` on.
fn put_checksum(out: &mut BytesMut, begin: usize) {
    let message = out.get(begin..).unwrap_or_default();
    let checksum = checksum(CrcAlgorithm::Crc32IsoHdlc, message);
    out.put_u32(u32::try_from(checksum).unwrap_or_default());
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
