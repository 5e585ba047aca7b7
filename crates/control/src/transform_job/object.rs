//! One object of a job: read, split, answered and written, all as streams.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sagebrush_core::objects::{ByteStream, ObjectError};
use sagebrush_core::store::StoreError;
use sagebrush_core::task;
use sagebrush_core::worker::{Payload, WorkerError};
use sagebrush_records::{Batch, Batches, RecordError, Strategy, Unfit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::inputs::Input;
use super::owned::Owned;
use super::run::Running;
use super::tee;

/// The type of captured data.
const JSON_LINES: &str = "application/jsonlines";

/// What is no more than so many bytes is worked on where it is: to change threads costs more.
const LIGHT: usize = 16 << 10;

/// Writes the output of an object, unless it was written before.
pub(super) async fn transform(running: &Arc<Running>, input: &Input) -> Result<(), Failure> {
    let (from, to) = (input.at.to_string(), input.output.to_string());
    if running.is_done(&to).await? {
        running.progress.kept(&from);
        return Ok(());
    }
    let (_, body) = running.objects.get(&input.at, None).await.map_err(Failure::Input)?;
    let parts = parts(running.clone(), from.as_str().into(), body);
    match &running.capturing {
        None => write(running, input, parts.map_ok(|part| part.bytes)).await?,
        Some(capturing) => {
            let (bytes, lines) = tee::told_apart(parts);
            let at = capturing.at(&input.relative);
            let capture = running.objects.put(&at, Some(JSON_LINES), lines);
            tee::both(tokio::join!(write(running, input, bytes), capture))?;
        }
    }
    running.note_done(&to).await?;
    running.progress.wrote(&from, &to);
    Ok(())
}

async fn write(
    running: &Running,
    input: &Input,
    bytes: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
) -> Result<(), Failure> {
    let accept = running.calls.accept.as_deref();
    let written =
        running.objects.put(&input.output, accept, bytes.map_err(io::Error::other).boxed());
    written.await.map(|_| ()).map_err(Failure::of_output)
}

/// A part of an output.
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// The line that is captured of it, if any is.
    pub(super) captured: Option<Bytes>,
}

/// The parts of an output in their order. Many are made at once, each in a task of its own.
fn parts(
    running: Arc<Running>,
    input: Arc<str>,
    body: ByteStream,
) -> BoxStream<'static, Result<Part, Failure>> {
    let at_once = running.look_ahead;
    let reader = Reader {
        batches: Some(Batches::new(running.shape.clone())),
        is_light: running.shape.strategy == Strategy::SingleRecord && !running.shape.gzip,
        body,
        room: running.room.clone(),
    };
    let batches = stream::try_unfold(reader, |mut reader| async move {
        let next = reader.next().await?;
        Ok(next.map(|next| (next, reader)))
    });
    let answers = batches.map_ok(move |(batch, room)| {
        let part = part(running.clone(), input.clone(), batch);
        let part = Owned::spawn("transform-payload", part);
        async move {
            let part = part.await.unwrap_or_else(|error| Err(Failure::Crashed(error.to_string())));
            part.map(|part| (part, room))
        }
    });
    answers.try_buffered(at_once).map_ok(|(part, _room)| part).boxed()
}

/// Has a payload answered, and makes of the answer what is written.
async fn part(running: Arc<Running>, input: Arc<str>, batch: Batch) -> Result<Part, Failure> {
    let (first, n_records) = (batch.first, batch.n_records);
    let reply = running.calls.answer(&input, &batch, &running.progress).await;
    let reply = reply.map_err(|error| Failure::Model { first, n_records, error })?.payload;
    running.progress.answered(&input, n_records);
    let is_light = batch.payload.len() + reply.body.len() < LIGHT;
    let make = move || {
        let processing = &running.shape.processing;
        let bytes = processing.written(&batch, reply.content_type.as_deref(), &reply.body)?;
        let captured = running.capturing.as_ref().map(|capturing| {
            let content_type = running.calls.content_type.clone();
            let sent = Payload { content_type, body: batch.payload };
            capturing.line(running.clock.now(), &sent, &reply)
        });
        Ok(Part { bytes, captured })
    };
    let made = if is_light { Ok(make()) } else { task::blocking(make).await };
    let made = made.map_err(|error| Failure::Crashed(error.to_string()))?;
    made.map_err(|reason| Failure::Answer { first, n_records, reason })
}

/// Makes payloads of an object, no more at once than there is room for.
struct Reader {
    /// Away while they are worked on.
    batches: Option<Batches>,
    /// The next payload is never far.
    is_light: bool,
    body: ByteStream,
    room: Arc<Semaphore>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<(Batch, OwnedSemaphorePermit)>, Failure> {
        // Taken in the order of the payloads: the oldest one always has it, so all get on.
        let room = self.room.clone().acquire_owned().await;
        let room = room.map_err(|error| Failure::Crashed(error.to_string()))?;
        let mut piece = None;
        loop {
            if let Some(batch) = self.looked(piece.take()).await? {
                return Ok(Some((batch, room)));
            }
            match self.body.next().await {
                Some(next) => piece = Some(Piece::More(next.map_err(read_error)?)),
                None => {
                    let last = self.looked(Some(Piece::End)).await?;
                    return Ok(last.map(|batch| (batch, room)));
                }
            }
        }
    }

    /// Takes a piece, where that may take long, and gives the next payload.
    async fn looked(&mut self, piece: Option<Piece>) -> Result<Option<Batch>, Failure> {
        let Some(mut batches) = self.batches.take() else { return Ok(None) };
        let look = move || {
            match piece {
                Some(Piece::More(piece)) => batches.push(piece),
                Some(Piece::End) => batches.end(),
                None => {}
            }
            let next = batches.next_batch();
            (batches, next)
        };
        let looked = if self.is_light { Ok(look()) } else { task::blocking(look).await };
        let (batches, next) = looked.map_err(|error| Failure::Crashed(error.to_string()))?;
        self.batches = Some(batches);
        Ok(next?)
    }
}

enum Piece {
    More(Bytes),
    End,
}

fn read_error(error: io::Error) -> Failure {
    Failure::Input(ObjectError::Io(error))
}

/// Why an object has no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it cannot be read: {}", told(.0))]
    Input(#[source] ObjectError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}: {error}", records(*.first, *.n_records))]
    Model { first: u64, n_records: u64, error: WorkerError },
    #[error("{}: {reason}", records(*.first, *.n_records))]
    Answer { first: u64, n_records: u64, reason: Unfit },
    #[error("its output cannot be written: {}", told(.0))]
    Output(#[source] ObjectError),
    #[error("its captured data cannot be written: {}", told(.0))]
    Capture(#[source] ObjectError),
    #[error("its data cannot be captured")]
    NotCaptured,
    #[error("what was written cannot be noted: {0}")]
    Store(#[from] StoreError),
    #[error("its transformation crashed: {0}")]
    Crashed(String),
}

impl Failure {
    /// What went wrong with an output: in making it, or in writing it.
    fn of_output(error: ObjectError) -> Self {
        match error {
            ObjectError::Io(error) => match error.downcast::<Self>() {
                Ok(failure) => failure,
                Err(error) => Self::Output(ObjectError::Io(error)),
            },
            error @ (ObjectError::NoSuchBucket(_)
            | ObjectError::NoSuchKey(_)
            | ObjectError::Full
            | ObjectError::Index(_)) => Self::Output(error),
        }
    }
}

/// With what is behind an error of the disk.
fn told(error: &ObjectError) -> String {
    match error {
        ObjectError::Io(source) => format!("{error}: {source}"),
        ObjectError::NoSuchBucket(_)
        | ObjectError::NoSuchKey(_)
        | ObjectError::Full
        | ObjectError::Index(_) => error.to_string(),
    }
}

fn records(first: u64, n_records: u64) -> String {
    match n_records {
        0 | 1 => format!("record {first}"),
        _ => format!("records {first} to {}", first + n_records - 1),
    }
}
