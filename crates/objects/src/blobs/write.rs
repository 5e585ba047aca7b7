use std::fs::{self, File};
use std::io::{self, Write as _};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use sagebrush_core::objects::Blob;
use sagebrush_core::task;

use super::{Blobs, Pins, lost, remove_file, sync_dir};
use crate::digest::{Digests, Sums};

/// How much of a body is gathered before it is hashed and written in one go.
///
/// With one batch being written and one being gathered, an upload holds two of them.
const BATCH: usize = 1 << 20;

/// Why a body did not become a blob. `E` is what its stream failed with.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    #[error("the body ended early")]
    Body(E),
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    #[error("writing a blob failed")]
    Io(#[from] io::Error),
}

/// A blob that no row refers to yet: unless it is kept, it is removed when dropped.
pub struct NewBlob {
    blobs: Blobs,
    id: String,
    size: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In `tmp/`.
    Draft,
    /// In its place, and durable.
    Placed,
    /// A row refers to it, or may.
    Kept,
}

impl NewBlob {
    fn new(blobs: &Blobs) -> Self {
        Self { blobs: blobs.clone(), id: blobs.new_id(), size: 0, stage: Stage::Draft }
    }

    /// What a row says to refer to it.
    #[must_use]
    pub fn blob(&self) -> Blob {
        Blob { id: self.id.clone(), size: self.size }
    }

    /// Leaves the blob to its row; without one, to the next sweep.
    pub fn keep(mut self) {
        self.stage = Stage::Kept;
    }

    /// Moves the file to where blobs are; durable when this returns.
    fn place(&mut self) -> io::Result<()> {
        let dir = self.blobs.make_dir_of(&self.id)?;
        fs::rename(self.blobs.tmp_path(&self.id), self.blobs.path(&self.id))?;
        self.stage = Stage::Placed;
        sync_dir(&dir)
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        match self.stage {
            Stage::Draft => remove_file(&self.blobs.tmp_path(&self.id)),
            Stage::Placed => remove_file(&self.blobs.path(&self.id)),
            Stage::Kept => {}
        }
        self.blobs.state().writing.remove(&self.id);
    }
}

/// Drops blobs where that may block.
pub(crate) async fn discard<T: Send + 'static>(unwanted: T) {
    if let Err(error) = task::blocking(move || drop(unwanted)).await {
        tracing::warn!(%error, "discarding a blob failed");
    }
}

impl Blobs {
    /// Writes a body of at most `limit` bytes, and finds its checksums.
    ///
    /// # Errors
    /// When the body or the disk fails; then nothing is left behind. The same if the future is
    /// dropped.
    pub async fn write<S, E>(
        &self,
        mut body: S,
        digests: Digests,
        limit: u64,
    ) -> Result<(NewBlob, Sums), WriteError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
        E: Send,
    {
        let mut batch = Batch::gather(&mut body).await.map_err(WriteError::Body)?;
        let mut writer = Box::new(Writer::new(self, digests));
        let mut size = 0;
        loop {
            size += batch.size as u64;
            if size > limit {
                discard(writer).await;
                return Err(WriteError::TooLong(limit));
            }
            let is_last = batch.is_last;
            let written = task::blocking(move || writer.step(batch));
            let (written, next) = tokio::join!(written, Batch::gather_unless(is_last, &mut body));
            writer = match written.map_err(lost)?? {
                Step::Done(blob, sums) => return Ok((blob, sums)),
                Step::More(writer) => writer,
            };
            batch = match next {
                Ok(next) => next,
                Err(error) => {
                    discard(writer).await;
                    return Err(WriteError::Body(error));
                }
            };
        }
    }

    /// Makes new blobs of the same bytes, by hard links where the file system has them.
    ///
    /// # Errors
    /// `NotFound` if one of them was removed in the meantime.
    pub async fn copy(&self, from: &[Blob]) -> io::Result<Vec<NewBlob>> {
        let pins = self.pin(from);
        let blobs = self.clone();
        let from = from.to_vec();
        task::blocking(move || blobs.copy_now(&from, &pins)).await.map_err(lost)?
    }

    fn copy_now(&self, from: &[Blob], _pins: &Pins) -> io::Result<Vec<NewBlob>> {
        from.iter().map(|blob| self.copy_one(blob)).collect()
    }

    fn copy_one(&self, from: &Blob) -> io::Result<NewBlob> {
        let mut copy = NewBlob::new(self);
        copy.size = from.size;
        let source = self.path(&from.id);
        let draft = self.tmp_path(&copy.id);
        match fs::hard_link(&source, &draft) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => {
                // No links here, or too many of this file.
                fs::copy(&source, &draft)?;
                File::open(&draft)?.sync_all()?;
            }
        }
        copy.place()?;
        Ok(copy)
    }
}

/// A run of chunks as they came.
struct Batch {
    chunks: Vec<Bytes>,
    size: usize,
    is_last: bool,
}

impl Batch {
    async fn gather<S, E>(body: &mut S) -> Result<Self, E>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let mut batch = Self { chunks: Vec::new(), size: 0, is_last: false };
        while batch.size < BATCH {
            let Some(chunk) = body.next().await else {
                batch.is_last = true;
                break;
            };
            let chunk = chunk?;
            batch.size += chunk.len();
            batch.chunks.push(chunk);
        }
        Ok(batch)
    }

    async fn gather_unless<S, E>(ended: bool, body: &mut S) -> Result<Self, E>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        if ended {
            return Ok(Self { chunks: Vec::new(), size: 0, is_last: true });
        }
        Self::gather(body).await
    }
}

enum Step {
    More(Box<Writer>),
    Done(NewBlob, Sums),
}

/// A blob being written.
struct Writer {
    /// Made with the first batch.
    file: Option<File>,
    blob: NewBlob,
    digests: Digests,
}

impl Writer {
    fn new(blobs: &Blobs, digests: Digests) -> Self {
        Self { file: None, blob: NewBlob::new(blobs), digests }
    }

    /// Writes one batch, and ends the blob behind the last.
    fn step(mut self: Box<Self>, batch: Batch) -> io::Result<Step> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::create_new(self.blob.blobs.tmp_path(&self.blob.id))?,
        };
        for chunk in &batch.chunks {
            self.digests.update(chunk);
            file.write_all(chunk)?;
            self.blob.size += chunk.len() as u64;
        }
        if !batch.is_last {
            self.file = Some(file);
            return Ok(Step::More(self));
        }
        file.sync_all()?;
        self.blob.place()?;
        Ok(Step::Done(self.blob, self.digests.finish()))
    }
}
