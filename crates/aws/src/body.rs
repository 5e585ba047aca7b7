//! Reads a request's body: no more of it than allowed, in no more time, and hashed on the way.

mod gzip;
mod memory;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::body::{Body as HttpBody, Frame};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, Sleep, sleep_until};

pub use self::memory::{BodyMemory, Held};
use crate::ApiError;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is longer than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TimedOut,
    #[error("too many bytes of requests are held already")]
    NoRoom,
    #[error("the body is not gzip, as its Content-Encoding says")]
    NotGzip(#[source] std::io::Error),
    #[error("the client went away")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// On which terms a body is read.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The most bytes it may have.
    pub limit: usize,
    /// When the last of them must be there.
    pub deadline: Instant,
    /// What the bodies of all calls share.
    pub memory: &'a BodyMemory,
    /// Whether the signature covers it.
    pub is_signed: bool,
}

/// A body that has been read.
#[derive(Debug)]
pub struct ReadBody {
    pub bytes: Bytes,
    pub(crate) sha256: Option<[u8; 32]>,
    /// Its room, which others get when this is dropped.
    pub held: Held,
}

impl ReadBody {
    /// The SHA-256 of the bytes, which was taken while they came in if they were signed.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.sha256.unwrap_or_else(|| Sha256::digest(&self.bytes).into())
    }
}

/// Reads the whole body. Bytes are counted before they are kept.
pub async fn read_body<B>(body: B, terms: Terms<'_>) -> Result<ReadBody, BodyError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Terms { limit, deadline, memory, is_signed } = terms;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge { limit });
    }
    let mut held = memory.hold(announced)?;
    let mut body = std::pin::pin!(body);
    let mut late = Late { deadline, timer: None };
    let mut hash = is_signed.then(Sha256::new);
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while !body.is_end_stream() {
        let next = std::future::poll_fn(|context| late.poll_frame(body.as_mut(), context)).await?;
        let Some(frame) = next else { break };
        let Ok(data) = frame.into_data() else {
            continue; // Trailers.
        };
        let n_kept = first.len() + rest.as_ref().map_or(0, BytesMut::len);
        if data.len() > limit - n_kept {
            return Err(BodyError::TooLarge { limit });
        }
        held.grow_to(n_kept + data.len(), memory)?;
        if let Some(hash) = &mut hash {
            hash.update(&data); // Now, while it is in the cache.
        }
        if n_kept == 0 {
            first = data; // Most bodies are one frame, which is not copied.
        } else {
            let kept = rest.get_or_insert_with(|| {
                // Room for all that is announced, which is within the limit: growing would copy.
                let mut kept = BytesMut::with_capacity(announced);
                kept.extend_from_slice(&std::mem::take(&mut first));
                kept
            });
            kept.extend_from_slice(&data);
        }
    }
    let sha256 = hash.map(|hash| hash.finalize().into());
    Ok(ReadBody { bytes: rest.map_or(first, BytesMut::freeze), sha256, held })
}

/// The deadline. Its timer is not made before something has to be waited for.
struct Late {
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Late {
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut B>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BodyError>>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Poll::Ready(frame) = body.poll_frame(context) {
            let frame = frame.transpose().map_err(|error| BodyError::Broken(error.into()));
            return Poll::Ready(frame);
        }
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| Err(BodyError::TimedOut))
    }
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
            BodyError::NoRoom => {
                Self::new("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE, message)
            }
            BodyError::NotGzip(cause) => Self::serialization(message).caused_by(cause),
            BodyError::Broken(cause) => Self::serialization(message).caused_by(cause),
        }
    }
}
