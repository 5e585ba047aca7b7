//! The body of a request, which must have been read to its end before the next one is looked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::socket::Doing;

/// A body as it comes in. When it is dropped too early, its connection is spoiled: what is left
/// of it would be taken for a request.
pub(crate) struct Asked {
    body: Incoming,
    doing: Arc<Doing>,
    is_over: bool,
}

impl Asked {
    pub(super) fn new(body: Incoming, doing: Arc<Doing>) -> Self {
        Self { body, doing, is_over: false }
    }
}

impl Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.is_over = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            self.doing.spoil();
        }
    }
}
