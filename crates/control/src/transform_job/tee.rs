//! An output and what is captured of it, written beside each other: both whole, or neither.

use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta};
use tokio::sync::mpsc;

use super::object::{Failure, Part};

/// The output ended before it was whole, and so does what is captured of it.
#[derive(Debug, thiserror::Error)]
#[error("the output is not whole")]
struct NotWhole;

/// The bytes of an output, and the lines of what is captured.
pub(super) fn told_apart(
    parts: BoxStream<'static, Result<Part, Failure>>,
) -> (impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, ByteStream) {
    let (sender, captured) = mpsc::channel(1);
    let bytes = stream::try_unfold((parts, sender), |(mut parts, sender)| async move {
        let part = parts.try_next().await?;
        // `None` says that all is there.
        let captured = part.as_ref().map(|part| part.captured.clone().unwrap_or_default());
        sender.send(captured).await.map_err(|_| Failure::NotCaptured)?;
        Ok(part.map(|part| (part.bytes, (parts, sender))))
    });
    let lines = stream::try_unfold(captured, |mut captured| async move {
        match captured.recv().await {
            Some(line) => Ok(line.map(|line| (line, captured))),
            None => Err(io::Error::other(NotWhole)),
        }
    });
    (bytes, lines.boxed())
}

/// What came of both. Where one failed because the other did, the other's reason counts.
pub(super) fn both(
    (output, captured): (Result<(), Failure>, Result<ObjectMeta, ObjectError>),
) -> Result<(), Failure> {
    match captured {
        Err(ObjectError::Io(error)) if is_not_whole(&error) => output,
        Err(error) => Err(Failure::Capture(error)),
        Ok(_) => output,
    }
}

fn is_not_whole(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<NotWhole>())
}
