//! The body of a reply in parts.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use hyper::body::{Body, Frame};

use crate::error::StreamError;
use crate::eventstream;
use crate::meter::StreamMeter;
use crate::trace::{CallTrace, StreamEnd};

/// Parts that are ready together are written together, up to so many bytes.
const TOGETHER: usize = 16 << 10;

/// Parts as they come, as messages of an event stream. No part waits for another one, and none is
/// asked for before the one before it was taken. Dropped, it gives the call up.
pub struct Frames {
    /// `None` once they have ended.
    running: Option<Running>,
}

struct Running {
    parts: BoxStream<'static, Result<Bytes, StreamError>>,
    counted: Counted,
}

/// Counts the end of a reply, whichever it is.
struct Counted {
    meter: StreamMeter,
    end: StreamEnd,
    trace: Option<Box<CallTrace>>,
}

impl Frames {
    pub(super) fn new(
        parts: BoxStream<'static, Result<Bytes, StreamError>>,
        meter: StreamMeter,
        trace: Option<Box<CallTrace>>,
    ) -> Self {
        let counted = Counted { meter, end: StreamEnd::Abandoned, trace };
        Self { running: Some(Running { parts, counted }) }
    }
}

impl Running {
    /// Adds what is ready; true when nothing follows it.
    fn put(&mut self, context: &mut Context<'_>, out: &mut BytesMut) -> bool {
        let Self { parts, counted } = self;
        while out.len() < TOGETHER {
            match parts.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(part))) => {
                    counted.meter.part();
                    eventstream::put_part(out, &part);
                }
                Poll::Ready(Some(Err(error))) => {
                    counted.end = StreamEnd::Broken;
                    counted.meter.broken();
                    eventstream::put_error(out, &error);
                    return true;
                }
                Poll::Ready(None) => {
                    counted.end = StreamEnd::Whole;
                    return true;
                }
                Poll::Pending => return false,
            }
        }
        false
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(running) = &mut self.running else { return Poll::Ready(None) };
        let mut out = BytesMut::new();
        if running.put(context, &mut out) {
            self.running = None; // The worker has others to answer.
        } else if out.is_empty() {
            return Poll::Pending;
        }
        let frame = (!out.is_empty()).then(|| Ok(Frame::data(out.freeze())));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.running.is_none()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.ended(self.end != StreamEnd::Abandoned);
        if let Some(trace) = &mut self.trace {
            trace.stream_ended(self.end);
        }
    }
}
