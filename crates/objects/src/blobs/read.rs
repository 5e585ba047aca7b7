use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use s3s::stream::{ByteStream, RemainingLength};
use sagebrush_core::objects::Blob;
use sagebrush_core::task;

use super::{Blobs, Pins, lost};

/// How much is read at once. A reader holds one such chunk, and its connection another.
const CHUNK: u64 = 256 << 10;

impl Blobs {
    /// Reads `range` of the bytes that `blobs` make up in their order.
    ///
    /// Blobs that are removed from now on stay readable until the reader is dropped.
    ///
    /// # Errors
    /// `NotFound` if one of them was removed already: the caller's row is an old one.
    pub async fn read(&self, blobs: &[Blob], range: Range<u64>) -> io::Result<BlobReader> {
        let pins = self.pin(blobs);
        let pieces = pieces(blobs, &range);
        let left = range.end.saturating_sub(range.start);
        let opened = task::blocking(move || Cursor::open(pins, pieces));
        let cursor = opened.await.map_err(lost)??;
        Ok(BlobReader { left, state: State::Idle(cursor) })
    }
}

/// A part of one blob.
struct Piece {
    id: String,
    at: Range<u64>,
}

/// Cuts `range` of the whole into parts of the blobs.
fn pieces(blobs: &[Blob], range: &Range<u64>) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    let mut start = 0;
    for blob in blobs {
        let from = range.start.max(start);
        let to = range.end.min(start + blob.size);
        if from < to {
            pieces.push_back(Piece { id: blob.id.clone(), at: from - start..to - start });
        }
        start += blob.size;
    }
    pieces
}

/// Where a reader is.
struct Cursor {
    pins: Pins,
    file: Option<(File, Range<u64>)>,
    behind: VecDeque<Piece>,
}

impl Cursor {
    fn open(pins: Pins, pieces: VecDeque<Piece>) -> io::Result<Self> {
        for piece in &pieces {
            if !pins.blobs.path(&piece.id).try_exists()? {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        let mut cursor = Self { pins, file: None, behind: pieces };
        cursor.open_next()?;
        Ok(cursor)
    }

    fn open_next(&mut self) -> io::Result<()> {
        self.file = match self.behind.pop_front() {
            Some(piece) => Some((File::open(self.pins.blobs.path(&piece.id))?, piece.at)),
            None => None,
        };
        Ok(())
    }

    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let Some((file, at)) = &mut self.file else {
            return Ok(None);
        };
        let length = CHUNK.min(at.end - at.start);
        let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut chunk, at.start)?;
        at.start += length;
        if at.start == at.end {
            self.open_next()?;
        }
        Ok(Some(chunk.into()))
    }
}

/// The body of an answer must be `Sync`, for `s3s`; so must what it waits for.
struct SyncFuture<T>(Pin<Box<dyn Future<Output = T> + Send + Sync>>);

/// A stream of chunks; reads no further ahead than one of them.
pub struct BlobReader {
    left: u64,
    state: State,
}

enum State {
    Idle(Cursor),
    Reading(SyncFuture<Result<(Cursor, Option<Bytes>), io::Error>>),
    Done,
}

impl BlobReader {
    fn start(cursor: Cursor) -> SyncFuture<Result<(Cursor, Option<Bytes>), io::Error>> {
        let mut cursor = cursor;
        SyncFuture(Box::pin(async move {
            let read = task::blocking(move || cursor.next_chunk().map(|chunk| (cursor, chunk)));
            read.await.map_err(lost)?
        }))
    }
}

impl Stream for BlobReader {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Done) {
            State::Idle(cursor) => Self::start(cursor),
            State::Reading(reading) => reading,
            State::Done => return Poll::Ready(None),
        };
        match reading.0.as_mut().poll(cx) {
            Poll::Pending => {
                self.state = State::Reading(reading);
                Poll::Pending
            }
            Poll::Ready(Ok((cursor, Some(chunk)))) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                self.state = State::Idle(cursor);
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Ok((_, None))) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
        }
    }
}

/// A [`BlobReader`] as `s3s` wants it.
pub(crate) struct BodyReader(pub(crate) BlobReader);

impl Stream for BodyReader {
    type Item = Result<Bytes, s3s::StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map_err(Into::into)
    }
}

impl ByteStream for BodyReader {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.0.left)
            .map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
