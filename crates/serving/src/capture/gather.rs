//! The output of a reply in parts, gathered while they go to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};

use super::tally::Why;
use super::{Capture, Record};
use crate::error::StreamError;

/// Of longer replies nothing is captured: they would have to be held in memory.
const LONGEST: usize = 4 << 20;

/// Parts, of which the bytes are kept. A reply that is broken or given up is not captured.
pub(crate) struct Gathering {
    parts: BoxStream<'static, Result<Bytes, StreamError>>,
    capture: Capture,
    /// `None` once it is not to be captured, or is.
    record: Option<Record>,
    bytes: usize,
}

impl Gathering {
    pub(crate) fn new(
        parts: BoxStream<'static, Result<Bytes, StreamError>>,
        capture: Capture,
        record: Record,
    ) -> Self {
        Self { parts, capture, record: Some(record), bytes: 0 }
    }

    fn keep(&mut self, part: &Bytes) {
        let Some(record) = self.record.as_mut().filter(|record| record.keeps_output()) else {
            return;
        };
        self.bytes += part.len();
        let why = match self.bytes > LONGEST {
            true => Why::Long,
            false if record.add_output(part) => return,
            false => Why::Full,
        };
        self.capture.drop_record(record, why);
        self.record = None;
    }
}

impl Stream for Gathering {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.parts.poll_next_unpin(context);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(part))) => self.keep(part),
            Poll::Ready(Some(Err(_))) => self.record = None,
            Poll::Ready(None) => {
                if let Some(record) = self.record.take() {
                    self.capture.offer(record);
                }
            }
        }
        polled
    }
}
