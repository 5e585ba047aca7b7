//! What a worker says that answers a call in parts. It is the user's code: nothing is believed.

use std::collections::VecDeque;

use bytes::Bytes;
use sagebrush_core::worker::{Reply, WorkerError};

use super::PART;
use super::reply::{FIRST_READ, FrameError, Start};

/// A worker splits parts that are longer.
pub(super) const LONGEST_PART: usize = 1 << 20;

/// The replies to one call, as far as they have come.
#[derive(Debug, Default)]
pub(in super::super) struct Received {
    input: Vec<u8>,
    whole: VecDeque<Said>,
    is_over: bool,
}

#[derive(Debug)]
pub(in super::super) enum Said {
    /// A part; the first one with what stands in the head.
    Part(Reply),
    /// The last part, or what ended them.
    Last(Result<Reply, WorkerError>),
}

impl Received {
    /// Where more bytes belong; there is room.
    pub(in super::super) fn input(&mut self) -> &mut Vec<u8> {
        if self.input.len() == self.input.capacity() {
            self.input.reserve(FIRST_READ);
        }
        &mut self.input
    }

    /// The next reply, if it has come.
    pub(in super::super) fn next(&mut self) -> Result<Option<Said>, FrameError> {
        if self.whole.is_empty() {
            self.advance()?;
        }
        Ok(self.whole.pop_front())
    }

    /// Looks at what has come.
    fn advance(&mut self) -> Result<(), FrameError> {
        let (mut starts, mut length) = (Vec::new(), 0);
        while !self.is_over {
            let rest = self.input.get(length..).unwrap_or_default();
            let Some(start) = Start::read(rest)? else { break };
            if start.status == PART && start.body > LONGEST_PART {
                return Err(FrameError::LongPart { body: start.body });
            }
            let missing = start.length().saturating_sub(rest.len());
            if missing > 0 {
                if length == 0 {
                    self.input.reserve_exact(missing);
                }
                break;
            }
            length += start.length();
            self.is_over = start.status != PART;
            starts.push(start);
        }
        if self.is_over && self.input.len() > length {
            return Err(FrameError::TooMuch);
        }
        if length > 0 {
            let rest = self.input.split_off(length);
            let frames = Bytes::from(std::mem::replace(&mut self.input, rest));
            self.settle(&frames, starts);
        }
        Ok(())
    }

    fn settle(&mut self, frames: &Bytes, starts: Vec<Start>) {
        let mut at = 0;
        for start in starts {
            let frame = frames.slice(at..at + start.length());
            at += start.length();
            self.whole.push_back(match start.status {
                PART => Said::Part(start.part(&frame)),
                _ => Said::Last(start.reply(&frame)),
            });
        }
    }
}
