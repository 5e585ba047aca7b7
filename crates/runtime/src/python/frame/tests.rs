use std::time::Duration;

use proptest::prelude::*;
use sagebrush_core::worker::{Call, Payload, Reply, Session, WorkerError};
use tokio::time::Instant;

use super::reply::Ready;
use super::{
    CALL, FAILED, FrameError, LATE, PART, READY, ROOM, Received, Replies, START, Said, frame,
    frame_for_parts,
};

const HOUR: Duration = Duration::from_secs(3600);

fn call(id: &str, attributes: &str, body: Vec<u8>) -> Call {
    Call {
        payload: Payload { content_type: Some("text/csv".to_owned()), body: body.into() },
        accept: None,
        headers: vec![("x-amzn-sagemaker-custom-attributes", attributes.to_owned())],
        target_model: Some("a.tar.gz".to_owned()),
        target_container: None,
        request_id: id.into(),
        deadline: Instant::now() + HOUR,
    }
}

fn head(id: &str, attributes: &str) -> String {
    format!(
        "{id}\ntext/csv\n\nx-amzn-sagemaker-custom-attributes\n{attributes}\n\
         x-amzn-sagemaker-target-model\na.tar.gz"
    )
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// What a worker finds in a frame: heads and bodies.
fn read(frame: &[u8], mut behind: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut at = START;
    let calls = (0..number(frame, 4)).map(|_| {
        let (head, body) = (number(frame, at), number(frame, at + 8));
        let begin = at + CALL;
        at = begin + head + body;
        let text = String::from_utf8(frame[begin..begin + head].to_vec()).unwrap();
        let rest = if frame.len() < at { std::mem::take(&mut behind) } else { &[] };
        let body = if rest.is_empty() { &frame[begin + head..at] } else { rest };
        (text, body.to_vec())
    });
    calls.collect()
}

/// A frame as it is on the way: with a small body in it, with a large one behind it.
fn sent(calls: &[Call]) -> (Vec<u8>, Vec<u8>) {
    let parts = frame(calls, Instant::now(), HOUR);
    assert!(parts.iter().all(|part| !part.is_empty()));
    let mut whole = parts.into_iter().map(Vec::from).collect::<Vec<_>>().concat();
    assert_eq!(number(&whole, 4), calls.len());
    let behind = whole.split_off(number(&whole, 0));
    (whole, behind)
}

#[tokio::test]
async fn a_large_body_stands_behind_a_padded_frame() {
    let check = |attributes: usize, body: usize, length: usize, behind: bool| {
        let attributes = "x".repeat(attributes);
        let call = call("id", &attributes, vec![7; body]);
        let (whole, rest) = sent(std::slice::from_ref(&call));
        assert_eq!((whole.len(), rest.len()), (length, if behind { body } else { 0 }), "{body}");
        assert_eq!(read(&whole, &rest), [(head("id", &attributes), vec![7; body])]);
    };
    let before = START + CALL + head("id", "").len();
    check(0, 0, before, false);
    check(10, 3, before + 13, false);
    check(0, ROOM - before, ROOM, false);
    check(0, ROOM - before + 1, ROOM, true);
    check(0, 5 << 20, ROOM, true);
    check(ROOM, 1, before + ROOM, true);
}

#[tokio::test]
async fn the_time_that_is_left_is_the_calls_own() {
    let mut calls = [call("a", "", vec![]), call("b", "", vec![]), call("c", "", vec![])];
    let now = Instant::now();
    calls[0].deadline = now + Duration::from_millis(3);
    calls[1].deadline = now - Duration::from_millis(3);
    let parts = frame(&calls, now, Duration::from_millis(10));
    let frame = &parts[0];
    let each = CALL + head("a", "").len();
    let left = [0, 1, 2].map(|i| number(frame, START + i * each + 4));
    assert_eq!(left, [3_000, 0, 10_000]);
}

fn reply(status: u32, head: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(head.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(status.to_le_bytes());
    for number in [body.len() as u64, 1_000, 2_000, 3_000] {
        frame.extend(number.to_le_bytes());
    }
    frame.extend(head.as_bytes());
    frame.extend(body);
    frame
}

/// What is made of `bytes` that come in pieces of `piece`.
fn received(
    n_wanted: usize,
    bytes: &[u8],
    piece: usize,
) -> Result<Option<Vec<Result<Reply, WorkerError>>>, FrameError> {
    let mut replies = Replies::new(n_wanted);
    let mut left = bytes;
    loop {
        let is_whole = replies.advance()?;
        if is_whole && left.is_empty() {
            return Ok(Some(replies.take()));
        }
        let input = replies.input();
        let n = piece.min(left.len()).min(input.capacity() - input.len());
        if n == 0 {
            return Ok(None);
        }
        input.extend(&left[..n]);
        left = &left[n..];
    }
}

#[test]
fn a_reply_is_read_back() {
    let bytes = reply(200, "text/csv\nattr", b"5");
    let read = received(1, &bytes, 7).unwrap().unwrap().remove(0).unwrap();
    assert_eq!(read.payload.content_type.as_deref(), Some("text/csv"));
    assert_eq!(read.custom_attributes.as_deref(), Some("attr"));
    assert_eq!((read.timings.pre.as_micros(), read.timings.post.as_micros()), (1, 3));
    assert_eq!(read.payload.body, "5");
}

#[test]
fn a_reply_says_what_becomes_of_its_session() {
    for (head, session) in [
        ("", None),
        ("text/csv\nattr\ns-1; Expires=x", Some(Session::New("s-1; Expires=x".to_owned()))),
        ("\n\n\ns-1", Some(Session::Closed("s-1".to_owned()))),
    ] {
        let bytes = reply(200, head, b"5");
        let read = received(1, &bytes, 7).unwrap().unwrap().remove(0).unwrap();
        assert_eq!(read.session, session, "{head:?}");
    }
}

#[test]
fn a_status_that_is_not_2xx_is_the_models_own() {
    let bytes = [reply(422, "text/plain", b"no"), reply(LATE, "", b"")].concat();
    let errors = received(2, &bytes, 99).unwrap().unwrap();
    let [Err(WorkerError::Model { status: 422, message, .. }), Err(WorkerError::TimedOut)] =
        errors.as_slice()
    else {
        panic!("{errors:?}")
    };
    assert_eq!(message, "no");
}

#[test]
fn what_a_worker_makes_up_is_refused() {
    let mut long = reply(200, "", b"");
    long[12] = 1;
    assert_eq!(received(1, &long, 99).err(), Some(FrameError::TooLong { body: 1 << 32 }));
    let two = [reply(200, "", b""), reply(200, "", b"")].concat();
    assert_eq!(received(1, &two, 999).err(), Some(FrameError::TooMuch));
    assert_eq!(received(3, &two, 999).unwrap().map(|replies| replies.len()), None);
}

#[test]
fn what_is_said_before_any_call() {
    let check = |status, body: &[u8], wanted| {
        assert_eq!(Ready::read(&mut reply(status, "", body)), wanted);
    };
    check(READY, b"", Ok(Some(Ready { together: false })));
    check(READY, b"together", Ok(Some(Ready { together: true })));
    check(FAILED, b"why", Err(FrameError::Failed { reason: "why".to_owned() }));
    check(200, b"", Err(FrameError::Unexpected { status: 200 }));
    let mut part = reply(READY, "", b"together");
    part.pop();
    assert_eq!(Ready::read(&mut part), Ok(None));
}

#[tokio::test]
async fn a_call_for_parts_looks_like_any_other_but_for_its_number() {
    for body in [0, ROOM] {
        let call = call("id", "", vec![7; body]);
        let of = |parts: std::collections::VecDeque<bytes::Bytes>| {
            parts.into_iter().map(Vec::from).collect::<Vec<_>>().concat()
        };
        let now = Instant::now();
        let mut one = of(frame(std::slice::from_ref(&call), now, HOUR));
        one[4] = 0;
        assert_eq!(one, of(frame_for_parts(&call, now, HOUR)));
    }
}

/// What is made of `bytes` that come in pieces of `piece`, and whether it is all.
fn heard(bytes: &[u8], piece: usize) -> Result<(Vec<Said>, bool), FrameError> {
    let (mut received, mut said, mut left) = (Received::default(), Vec::new(), bytes);
    loop {
        while let Some(next) = received.next()? {
            said.push(next);
        }
        let input = received.input();
        let n = piece.min(left.len()).min(input.capacity() - input.len());
        if n == 0 {
            return Ok((said, input.is_empty()));
        }
        input.extend(&left[..n]);
        left = &left[n..];
    }
}

#[test]
fn the_first_part_has_the_head_and_the_last_may_be_an_error() {
    let parts = [reply(PART, "text/csv\nattr", b"1"), reply(PART, "", b"2")];
    let (said, _) = heard(&[parts.concat(), reply(422, "text/x", b"no")].concat(), 9).unwrap();
    let [Said::Part(first), Said::Part(second), Said::Last(Err(last))] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(first.payload.content_type.as_deref(), Some("text/csv"));
    assert_eq!(first.custom_attributes.as_deref(), Some("attr"));
    assert_eq!((&first.payload.body[..], &second.payload.body[..]), (&b"1"[..], &b"2"[..]));
    assert!(matches!(last, WorkerError::Model { status: 422, .. }), "{last:?}");
}

#[test]
fn what_a_worker_makes_up_of_parts_is_refused() {
    let long = reply(PART, "", &vec![0; (1 << 20) + 1]);
    let wanted = Some(FrameError::LongPart { body: (1 << 20) + 1 });
    assert_eq!(heard(&long, 99_999).err(), wanted);
    let more = [reply(200, "", b""), reply(PART, "", b"")].concat();
    assert_eq!(heard(&more, 999).err(), Some(FrameError::TooMuch));
    let mut endless = reply(PART, "", b"");
    endless[14] = 1;
    assert!(matches!(heard(&endless, 99), Err(FrameError::TooLong { .. })));
}

proptest! {
    #[test]
    fn parts_are_read_in_any_pieces(
        lengths in proptest::collection::vec(0..6_000_usize, 0..20),
        large in proptest::option::of(1_usize << 17..1 << 20),
        piece in 1..70_000_usize,
    ) {
        let lengths: Vec<_> = lengths.into_iter().chain(large).collect();
        let body = |at: usize, length: usize| vec![u8::try_from(at).unwrap(); length];
        let frames = lengths.iter().enumerate();
        let frames: Vec<_> = frames.map(|(at, n)| reply(PART, "a/b", &body(at, *n))).collect();
        let bytes = [frames.concat(), reply(200, "", b"end")].concat();
        let piece = if large.is_some() { piece.max(999) } else { piece };
        let (mut said, is_all) = heard(&bytes, piece).unwrap();
        prop_assert!(is_all);
        let Some(Said::Last(Ok(last))) = said.pop() else { panic!("{said:?}") };
        prop_assert_eq!(&last.payload.body[..], b"end");
        prop_assert_eq!(said.len(), lengths.len());
        for (at, (said, length)) in said.into_iter().zip(&lengths).enumerate() {
            let Said::Part(part) = said else { panic!("{said:?}") };
            prop_assert!(part.payload.body == body(at, *length));
        }
    }

    #[test]
    fn calls_are_found_as_they_were(
        calls in proptest::collection::vec(("[a-z]{0,9}", 0..30_000_usize), 2..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let bodies: Vec<_> = calls.iter().map(|(id, n)| (id, vec![u8::try_from(id.len()).unwrap(); *n])).collect();
        let made: Vec<_> = bodies.iter().map(|(id, body)| call(id, id, body.clone())).collect();
        let (whole, rest) = sent(&made);
        prop_assert!(rest.is_empty());
        let wanted: Vec<_> = bodies.into_iter().map(|(id, body)| (head(id, id), body)).collect();
        prop_assert_eq!(read(&whole, &rest), wanted);
    }

    #[test]
    fn replies_are_read_in_any_pieces(
        lengths in proptest::collection::vec(0..6_000_usize, 1..20),
        large in proptest::option::of(1_usize << 20..3 << 20),
        piece in 1..70_000_usize,
    ) {
        let lengths: Vec<_> = lengths.into_iter().chain(large).collect();
        let body = |at: usize, length: usize| vec![u8::try_from(at).unwrap(); length];
        let frames = lengths.iter().enumerate();
        let frames: Vec<_> = frames.map(|(at, n)| reply(200, "a/b", &body(at, *n))).collect();
        let bytes = frames.concat();
        let piece = if large.is_some() { piece.max(999) } else { piece };
        let read = received(lengths.len(), &bytes, piece).unwrap().unwrap();
        prop_assert_eq!(read.len(), lengths.len());
        for (at, (reply, length)) in read.into_iter().zip(&lengths).enumerate() {
            prop_assert!(reply.unwrap().payload.body == body(at, *length));
        }
        let cut = &bytes[..bytes.len() - 1];
        prop_assert!(received(lengths.len(), cut, piece).unwrap().is_none());
    }

    #[test]
    fn no_bytes_panic(
        mut input in proptest::collection::vec(any::<u8>(), 0..200),
        n_wanted in 0..4_usize,
        small in any::<bool>(),
    ) {
        if small { // Else nearly all are too long.
            for at in [1, 2, 3, 9, 10, 11, 12, 13, 14, 15] {
                if let Some(byte) = input.get_mut(at) { *byte = 0; }
            }
        }
        drop(received(n_wanted, &input, 50));
        drop(heard(&input, 50));
        drop(Ready::read(&mut input));
    }
}
