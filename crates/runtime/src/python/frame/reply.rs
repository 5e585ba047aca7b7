//! What a worker says. It is the user's code: nothing that it says is believed.

use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::worker::{Payload, Reply, Session, Timings, WorkerError};

use super::{FAILED, LATE, READY};
use crate::contract::error_text;

/// What stands before the head of a reply.
pub(super) const START: usize = 40;
/// A worker does not say how much memory we take.
const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: u64 = 256 << 20;
/// Room for the start of replies; small ones need no more.
pub(super) const FIRST_READ: usize = 4 << 10;
/// Replies that are whole leave the room they came in when there is so much of them.
const WHOLE: usize = 1 << 20;

/// The replies to the calls of a frame, as far as they have come.
#[derive(Debug)]
pub(in super::super) struct Replies {
    n_wanted: usize,
    done: Vec<Result<Reply, WorkerError>>,
    input: Vec<u8>,
    /// The frames at the beginning of `input` that are whole, and how long they are together.
    whole: Vec<Start>,
    whole_length: usize,
}

impl Replies {
    pub(in super::super) fn new(n_wanted: usize) -> Self {
        let input = Vec::with_capacity(FIRST_READ * n_wanted.clamp(1, 16));
        Self { n_wanted, done: Vec::new(), input, whole: Vec::new(), whole_length: 0 }
    }

    /// Where more bytes belong; there is room.
    pub(in super::super) fn input(&mut self) -> &mut Vec<u8> {
        if self.input.len() == self.input.capacity() {
            self.input.reserve(FIRST_READ);
        }
        &mut self.input
    }

    /// Looks at what has come; true once all replies have.
    pub(in super::super) fn advance(&mut self) -> Result<bool, FrameError> {
        while self.done.len() + self.whole.len() < self.n_wanted {
            let rest = self.input.get(self.whole_length..).unwrap_or_default();
            let Some(start) = Start::read(rest)? else { return Ok(false) };
            let missing = start.length().saturating_sub(rest.len());
            if missing > 0 {
                self.make_room(missing);
                return Ok(false);
            }
            self.whole.push(start);
            self.whole_length += start.length();
        }
        if self.input.len() > self.whole_length {
            return Err(FrameError::TooMuch);
        }
        self.settle();
        Ok(true)
    }

    /// What has come, in the order of the calls.
    pub(in super::super) fn take(&mut self) -> Vec<Result<Reply, WorkerError>> {
        self.settle();
        std::mem::take(&mut self.done)
    }

    fn make_room(&mut self, missing: usize) {
        if self.whole_length >= WHOLE {
            self.settle();
        }
        self.input.reserve_exact(missing);
    }

    fn settle(&mut self) {
        let rest = self.input.split_off(self.whole_length.min(self.input.len()));
        let frames = Bytes::from(std::mem::replace(&mut self.input, rest));
        let mut at = 0;
        for start in self.whole.drain(..) {
            let end = at + start.length();
            self.done.push(start.reply(&frames.slice(at..end)));
            at = end;
        }
        self.whole_length = 0;
    }
}

/// What a worker that has loaded its model says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Ready {
    /// It has `predict_batch_fn`: calls of a frame are answered together.
    pub(in super::super) together: bool,
}

impl Ready {
    /// `None` until enough of `input` has come, for which there is room then.
    pub(in super::super) fn read(input: &mut Vec<u8>) -> Result<Option<Self>, FrameError> {
        input.reserve(FIRST_READ);
        let Some(start) = Start::read(input)? else { return Ok(None) };
        if start.length() > input.len() {
            input.reserve_exact(start.length() - input.len());
            return Ok(None);
        }
        let body = input.get(START + start.head..start.length()).unwrap_or_default();
        match start.status {
            READY => Ok(Some(Self { together: body == b"together" })),
            FAILED => {
                Err(FrameError::Failed { reason: String::from_utf8_lossy(body).into_owned() })
            }
            status => Err(FrameError::Unexpected { status }),
        }
    }
}

/// What stands before a reply's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) status: u32,
    head: usize,
    pub(super) body: usize,
    timings: Timings,
}

impl Start {
    /// `None` until enough has come.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(start) = input.first_chunk::<START>() else { return Ok(None) };
        let number = |at: usize| {
            let bytes = start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        let (head, body) = (usize::try_from(number(0)).unwrap_or(usize::MAX), long(8));
        if head > LONGEST_HEAD || body > LONGEST_BODY {
            return Err(FrameError::TooLong { body });
        }
        let body = usize::try_from(body).map_err(|_| FrameError::TooLong { body })?;
        let time = |at| Duration::from_nanos(long(at));
        let timings = Timings { pre: time(16), model: time(24), post: time(32) };
        Ok(Some(Self { status: number(4), head, body, timings }))
    }

    /// How many bytes the whole frame has.
    pub(super) fn length(self) -> usize {
        START + self.head + self.body
    }

    /// What the whole frame says.
    pub(super) fn reply(self, frame: &Bytes) -> Result<Reply, WorkerError> {
        if self.status == LATE {
            return Err(WorkerError::TimedOut);
        }
        let reply = self.part(frame);
        let status = u16::try_from(self.status).unwrap_or(500);
        if !(200..300).contains(&status) {
            let Payload { content_type, body } = reply.payload;
            let message = error_text(&body);
            return Err(WorkerError::Model { status, message, content_type });
        }
        Ok(reply)
    }

    /// What the whole frame has, whatever its status.
    pub(super) fn part(self, frame: &Bytes) -> Reply {
        let head = String::from_utf8_lossy(frame.get(START..START + self.head).unwrap_or_default());
        let body = frame.slice((START + self.head).min(frame.len())..);
        let mut fields = head.split('\n');
        let mut field = || fields.next().filter(|field| !field.is_empty()).map(str::to_owned);
        let (content_type, custom_attributes) = (field(), field());
        let session = Session::said(field(), field());
        let payload = Payload { content_type, body };
        Reply { payload, custom_attributes, session, timings: self.timings }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum FrameError {
    #[error("its reply would have {body} bytes: more than {LONGEST_BODY}")]
    TooLong { body: u64 },
    #[error(
        "a part of its reply would have {body} bytes: more than {}",
        super::parts::LONGEST_PART
    )]
    LongPart { body: usize },
    #[error("it said more than its reply")]
    TooMuch,
    /// The model could not be loaded; the traceback.
    #[error("{reason}")]
    Failed { reason: String },
    #[error("it said {status} before any call")]
    Unexpected { status: u32 },
}
