use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::*;

/// Frames, then nothing for ever if `stalls`.
struct Frames {
    frames: Vec<&'static str>,
    stalls: bool,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.frames.pop() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes()))))),
            None if self.stalls => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// Reads with room for eight bytes.
async fn read(frames: &[&'static str], limit: usize, stalls: bool) -> Result<Bytes, BodyError> {
    let memory = BodyMemory::new(8);
    let read = read_with(&memory, frames, limit, stalls).await;
    let n_held = read.as_ref().map_or(0, |body| body.bytes.len());
    assert_eq!(memory.held(), n_held);
    if let Ok(body) = &read {
        assert_eq!(body.sha256(), <[u8; 32]>::from(Sha256::digest(&body.bytes)));
    }
    read.map(|body| body.bytes)
}

async fn read_with(
    memory: &BodyMemory,
    frames: &[&'static str],
    limit: usize,
    stalls: bool,
) -> Result<ReadBody, BodyError> {
    let frames = frames.iter().rev().copied().collect();
    let deadline = Instant::now() + Duration::from_secs(5);
    read_body(Frames { frames, stalls }, Terms { limit, deadline, memory, is_signed: true }).await
}

#[tokio::test(start_paused = true)]
async fn counts_before_it_keeps() {
    assert_eq!(read(&[], 0, false).await.unwrap(), "");
    assert_eq!(read(&["abc"], 3, false).await.unwrap(), "abc");
    assert_eq!(read(&["", "ab", "", "c", "de"], 5, false).await.unwrap(), "abcde");
    assert!(matches!(read(&["abcd"], 3, false).await, Err(BodyError::TooLarge { limit: 3 })));
    assert!(matches!(read(&["ab", "cd"], 3, true).await, Err(BodyError::TooLarge { .. })));
    assert!(matches!(read(&["ab"], 3, true).await, Err(BodyError::TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn bodies_share_their_room() {
    let memory = BodyMemory::new(8);
    let one = read_with(&memory, &["abc", "def"], 100, false).await.unwrap();
    assert_eq!(memory.held(), 6);
    let refused = read_with(&memory, &["gh", "i"], 100, true).await;
    assert!(matches!(refused, Err(BodyError::NoRoom)));
    assert_eq!(memory.held(), 6, "what was refused holds nothing");
    drop(one);
    assert_eq!(memory.held(), 0);
    assert_eq!(read_with(&memory, &["gh", "i"], 100, false).await.unwrap().bytes, "ghi");
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_is_held_before_it_comes() {
    let memory = BodyMemory::new(8);
    let terms = Terms { limit: 100, deadline: Instant::now(), memory: &memory, is_signed: true };
    let body = http_body_util::Full::new(Bytes::from_static(b"nine char"));
    assert!(matches!(read_body(body, terms).await, Err(BodyError::NoRoom)));
}

#[tokio::test(start_paused = true)]
async fn small_bodies_are_not_counted_and_others_are_whole() {
    let memory = BodyMemory::new(1 << 28);
    let small = read_with(&memory, &["small"], 1 << 20, false).await.unwrap();
    assert_eq!((small.bytes.len(), memory.held()), (5, 0));
    let most: &'static str = "x".repeat(4096).leak();
    let large = read_with(&memory, &[most, "y"], 1 << 20, false).await.unwrap();
    assert_eq!(memory.held(), 4097);
    drop(large);
    assert_eq!(memory.held(), 0);
}
