//! Brings objects into a folder: bytes arrive on the runtime and are written on a thread that may
//! block, with a short queue between.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectStore};
use sagebrush_core::task;
use tokio::sync::mpsc;

use crate::extract::{ExtractError, extract};
use crate::folder::Folder;
use crate::names::EntryName;
use crate::plan::{Content, Part, Plan, explain};
use crate::{Limits, LoadError};

/// How many chunks may wait for the thread that writes.
const QUEUE: usize = 16;

/// Fills the new folder `to` with what `plan` names and returns the bytes of its files.
pub(crate) async fn bring(
    objects: &dyn ObjectStore,
    plan: &Plan,
    to: PathBuf,
    limits: &Limits,
) -> Result<u64, LoadError> {
    let uri = &plan.uri;
    let created = task::blocking(move || Folder::create(&to)).await;
    let created = created.map_err(|_| LoadError::unavailable(uri, "unpacking was interrupted"))?;
    let folder = Arc::new(created.map_err(|error| local(uri, &error))?);
    match &plan.content {
        Content::Archive(part) => {
            let limits = limits.clone();
            let unpack = move |packed: Incoming| extract(packed, &folder, &limits);
            pour(objects, uri, part, unpack).await
        }
        Content::Files(files) => {
            let mut bytes = 0_u64;
            for (name, part) in files {
                let (folder, name) = (folder.clone(), name.clone());
                let write = move |content: Incoming| write_file(content, &folder, &name);
                bytes = bytes.saturating_add(pour(objects, uri, part, write).await?);
            }
            Ok(bytes)
        }
    }
}

fn write_file(mut content: Incoming, to: &Folder, name: &EntryName) -> Result<u64, ExtractError> {
    let mut file = to.file(name, false)?;
    Ok(io::copy(&mut content, &mut file)?)
}

/// Streams one object into `write`, which runs where it may block.
async fn pour<W>(
    objects: &dyn ObjectStore,
    uri: &str,
    part: &Part,
    write: W,
) -> Result<u64, LoadError>
where
    W: FnOnce(Incoming) -> Result<u64, ExtractError> + Send + 'static,
{
    let got = objects.get(&part.at, None).await;
    let (meta, stream) = got.map_err(|error| match error {
        ObjectError::NoSuchKey(_) => LoadError::Overwritten, // Look again what is there now.
        ObjectError::NoSuchBucket(_)
        | ObjectError::Full
        | ObjectError::Io(_)
        | ObjectError::Index(_) => LoadError::Failed(explain(&error, uri)),
    })?;
    if meta.etag != part.etag {
        return Err(LoadError::Overwritten);
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    let incoming = Incoming { receiver, chunk: Bytes::new() };
    let (fed, written) =
        tokio::join!(feed(stream, sender, part.size), task::blocking(move || write(incoming)));
    let written = written.map_err(|_| LoadError::unavailable(uri, "unpacking was interrupted"))?;
    if let Err(error) = fed {
        tracing::warn!(%uri, %error, "reading model data failed");
        return Err(LoadError::unavailable(uri, "the object store failed"));
    }
    written.map_err(|error| match error {
        ExtractError::Refused(reason) => LoadError::refused(uri, reason),
        ExtractError::Io(error) => local(uri, &error),
    })
}

/// Sends a stream's chunks until it ends or nobody takes them any more. An object that ends
/// early is an error here, so that it does not pass for a truncated archive.
async fn feed(
    mut stream: ByteStream,
    to: mpsc::Sender<io::Result<Bytes>>,
    size: u64,
) -> io::Result<()> {
    let mut fed = 0_u64;
    while let Some(chunk) = stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return fail(&to, error).await,
        };
        fed = fed.saturating_add(chunk.len() as u64);
        if to.send(Ok(chunk)).await.is_err() {
            return Ok(()); // It has seen enough.
        }
    }
    if fed < size {
        return fail(&to, io::ErrorKind::UnexpectedEof.into()).await;
    }
    Ok(())
}

async fn fail(to: &mpsc::Sender<io::Result<Bytes>>, error: io::Error) -> io::Result<()> {
    // The kind is enough there: nobody listens if this fails, and the caller has the error.
    drop(to.send(Err(error.kind().into())).await);
    Err(error)
}

/// What writing on this machine failed with. The error itself may name paths: it goes to the log.
fn local(uri: &str, error: &io::Error) -> LoadError {
    tracing::warn!(%uri, %error, "writing model data failed");
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    LoadError::unavailable(
        uri,
        if is_full { "not enough disk space is left" } else { "its files could not be written" },
    )
}

/// The other end of [`feed`], for a thread that may block.
struct Incoming {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => break,
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        self.chunk.advance(count);
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
