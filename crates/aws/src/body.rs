//! Reads a request's body, and no more of it than allowed.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use crate::ApiError;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is longer than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TimedOut,
    #[error("the client went away")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// Reads the whole body. Bytes are counted before they are kept.
pub async fn read_body<B>(body: B, limit: usize, deadline: Instant) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let announced = body.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge { limit });
    }
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) =
        timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::TimedOut)?
    {
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else {
            continue; // Trailers.
        };
        let n_kept = first.len() + rest.as_ref().map_or(0, BytesMut::len);
        if data.len() > limit - n_kept {
            return Err(BodyError::TooLarge { limit });
        }
        if n_kept == 0 {
            first = data; // Most bodies are one frame, which is not copied.
        } else {
            let kept = rest.get_or_insert_with(|| {
                // Room for all that is announced, which is within the limit: growing would copy.
                let mut kept = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
                kept.extend_from_slice(&std::mem::take(&mut first));
                kept
            });
            kept.extend_from_slice(&data);
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::TooLarge { .. } => {
                Self::new("RequestEntityTooLargeException", StatusCode::PAYLOAD_TOO_LARGE, message)
            }
            BodyError::TimedOut => {
                Self::new("RequestTimeoutException", StatusCode::REQUEST_TIMEOUT, message)
            }
            BodyError::Broken(cause) => Self::serialization(message).caused_by(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use hyper::body::Frame;

    use super::*;

    /// Frames, then nothing for ever if `stalls`.
    struct Frames {
        frames: Vec<&'static str>,
        stalls: bool,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop() {
                Some(data) => {
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))))
                }
                None if self.stalls => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    async fn read(frames: &[&'static str], limit: usize, stalls: bool) -> Result<Bytes, BodyError> {
        let frames = frames.iter().rev().copied().collect();
        read_body(Frames { frames, stalls }, limit, Instant::now() + Duration::from_secs(5)).await
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
}
