use bytes::{Buf as _, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use proptest::prelude::*;

use super::{LONGEST_PAYLOAD, put_error, put_part};
use crate::error::{ModelStreamCode, StreamError};

/// A message as a client reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(one, _)| one == name).unwrap().1
    }
}

fn crc(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap()
}

/// Takes the next message, if it is there.
fn take(input: &mut BytesMut) -> Option<Message> {
    let length = usize::try_from(u32::from_be_bytes(*input.first_chunk()?)).unwrap();
    if input.len() < length {
        return None;
    }
    let whole = input.split_to(length);
    assert_eq!((&whole[8..12]).get_u32(), crc(&whole[..8]));
    assert_eq!((&whole[length - 4..]).get_u32(), crc(&whole[..length - 4]));
    let n_headers = usize::try_from((&whole[4..8]).get_u32()).unwrap();
    let (mut rest, payload) = whole[12..length - 4].split_at(n_headers);
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let mut text = |length: usize| {
            let (text, after) = rest.split_at(length);
            rest = after;
            String::from_utf8(text.to_vec()).unwrap()
        };
        let length = text(1).as_bytes()[0];
        let name = text(usize::from(length));
        assert_eq!(text(1).as_bytes()[0], 7);
        let length = text(2);
        let length = u16::from_be_bytes(*length.as_bytes().first_chunk().unwrap());
        headers.push((name, text(usize::from(length))));
    }
    Some(Message { headers, payload: payload.to_vec() })
}

/// All messages in `bytes`, which end with the last of them.
pub(crate) fn read(bytes: &[u8]) -> Vec<Message> {
    let mut input = BytesMut::from(bytes);
    let messages = std::iter::from_fn(|| take(&mut input)).collect();
    assert!(input.is_empty(), "half a message is left");
    messages
}

fn part(bytes: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_part(&mut out, bytes);
    out
}

#[test]
fn a_part_to_the_byte() {
    let wanted = "0000006e000000595197ff150b3a6576656e742d7479706507000b5061796c6f6164506172740d3a\
                  636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73747265616d0d\
                  3a6d6573736167652d747970650700056576656e7448656c6c6fe8b2a5b0";
    let hex: String = part(b"Hello").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, wanted);
}

#[test]
fn a_long_part_becomes_several_messages() {
    let check = |length: usize, wanted: &[usize]| {
        let lengths: Vec<_> =
            read(&part(&vec![7; length])).iter().map(|m| m.payload.len()).collect();
        assert_eq!(lengths, wanted);
    };
    check(0, &[]);
    check(LONGEST_PAYLOAD, &[LONGEST_PAYLOAD]);
    check(LONGEST_PAYLOAD + 1, &[LONGEST_PAYLOAD, 1]);
}

#[test]
fn errors_in_the_words_of_the_api() {
    let check = |error: &StreamError, kind: &str, payload: &str| {
        let mut out = BytesMut::new();
        put_error(&mut out, error);
        let [message] = &read(&out)[..] else { panic!("{out:?}") };
        assert_eq!(message.header(":message-type"), "exception");
        assert_eq!(message.header(":exception-type"), kind);
        assert_eq!(message.header(":content-type"), "application/json");
        assert_eq!(message.payload, payload.as_bytes());
    };
    let message = "\"\u{e4}\"\n".to_owned();
    let model = |code| StreamError::Model { code, message: message.clone() };
    check(
        &model(ModelStreamCode::StreamBroken),
        "ModelStreamError",
        "{\"ErrorCode\":\"StreamBroken\",\"Message\":\"\\\"\u{e4}\\\"\\n\"}",
    );
    check(
        &model(ModelStreamCode::ModelInvocationTimeExceeded),
        "ModelStreamError",
        "{\"ErrorCode\":\"ModelInvocationTimeExceeded\",\"Message\":\"\\\"\u{e4}\\\"\\n\"}",
    );
    let internal = StreamError::Internal { message: "oh".to_owned() };
    check(&internal, "InternalStreamFailure", "{\"Message\":\"oh\"}");
}

proptest! {
    #[test]
    fn parts_are_found_however_the_bytes_are_cut(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3000), 0..20),
        piece in 1..5000_usize,
    ) {
        let mut out = BytesMut::new();
        parts.iter().for_each(|part| put_part(&mut out, part));
        let (mut input, mut found) = (BytesMut::new(), Vec::new());
        for piece in out.chunks(piece) {
            input.extend_from_slice(piece);
            found.extend(std::iter::from_fn(|| take(&mut input)).map(|message| message.payload));
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(found, parts);
    }
}
