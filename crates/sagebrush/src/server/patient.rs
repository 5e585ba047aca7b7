//! A body whose sender may be slow, but not for ever. For bodies of any length, which no deadline
//! fits.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::pace::Pace;

/// How long the sender may send nothing.
const GRACE: Duration = Duration::from_secs(60);
/// A frame of this size that was there at once is of a sender that is not slow.
const WHOLE: usize = 4096;

pub(crate) struct Patient<B> {
    body: B,
    pace: Pace,
    has_waited: bool,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatientError {
    #[error("the body came too slowly")]
    TooSlow,
    #[error("the client went away")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl<B> Patient<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, pace: Pace::new(GRACE), has_waited: false }
    }
}

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = PatientError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PatientError>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(context) else {
            this.has_waited = true;
            ready!(this.pace.poll_lost(context));
            return Poll::Ready(Some(Err(PatientError::TooSlow)));
        };
        let frame = match next {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(PatientError::Broken(error.into())))),
            Some(Ok(frame)) => frame,
        };
        let n_bytes = frame.data_ref().map_or(0, Bytes::len);
        let has_waited = std::mem::take(&mut this.has_waited);
        if !has_waited && n_bytes >= WHOLE {
            this.pace.reset(); // What time passed was ours.
        } else {
            this.pace.moved(n_bytes);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
