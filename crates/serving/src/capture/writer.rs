//! Turns captured calls into objects, beside all calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use sagebrush_core::objects::{ObjectError, ObjectStore};
use sagebrush_core::{Timestamp, task};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::space::Space;
use super::tally::{Tally, Why};
use super::{Captured, Place, line};

/// How long a line waits for others; with a tick and the write it is to be below 5 s.
const LONGEST_WAIT: Duration = Duration::from_millis(3500);
const TICK: Duration = Duration::from_secs(1);
/// An object is written when it has as many bytes, however young it is.
const OBJECT_BYTES: usize = 4 << 20;
/// All are when they have as many together.
const MOST_BYTES: usize = 32 << 20;
/// Objects that are written at once.
const PUTS: usize = 8;
/// How long is waited before each further attempt to store an object.
const PUT_WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// Nothing is captured while less is free: the rest of the disk is for what was acknowledged.
const LEAST_FREE: u64 = 1 << 30;
/// Payloads of more bytes are encoded where that may take its time.
const LARGE: usize = 128 << 10;

pub(super) enum Message {
    Captured(Box<Captured>),
    /// All lines are to be written now.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer {
    objects: Arc<dyn ObjectStore>,
    space: Arc<dyn Space>,
    tally: Arc<Tally>,
    files: HashMap<File, Lines>,
    /// The bytes of all lines.
    bytes: usize,
}

/// Lines with the same go into the same object.
#[derive(PartialEq, Eq, Hash)]
struct File {
    place: Place,
    destination: String,
    hour: i64,
}

struct Lines {
    text: Vec<u8>,
    n: u64,
    first_at: Timestamp,
    due_at: Instant,
}

impl Writer {
    pub(super) fn new(
        objects: Arc<dyn ObjectStore>,
        space: Arc<dyn Space>,
        tally: Arc<Tally>,
    ) -> Self {
        Self { objects, space, tally, files: HashMap::new(), bytes: 0 }
    }

    /// Writes until nobody captures any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = queue.recv() => match message {
                    Some(Message::Captured(captured)) => self.take(captured).await,
                    Some(Message::Flush(done)) => {
                        self.put(|_| true).await;
                        self.tally.report();
                        let _asker_is_there = done.send(());
                    }
                    None => return self.put(|_| true).await,
                },
                now = ticks.tick() => {
                    self.put(|lines| lines.due_at <= now).await;
                    self.tally.report();
                }
            }
        }
    }

    async fn take(&mut self, captured: Box<Captured>) {
        let Some((captured, line)) = encoded(captured).await else { return };
        let Captured { place, config, at, .. } = *captured;
        let destination = config.destination.clone();
        let file = File { place, destination, hour: at.0.div_euclid(3_600_000) };
        self.bytes += line.len();
        let lines = self.files.entry(file).or_insert_with(|| Lines {
            text: Vec::new(),
            n: 0,
            first_at: at,
            due_at: Instant::now() + LONGEST_WAIT,
        });
        lines.text.extend_from_slice(&line);
        lines.n += 1;
        let is_large = lines.text.len() >= OBJECT_BYTES;
        if self.bytes >= MOST_BYTES {
            self.put(|_| true).await;
        } else if is_large {
            self.put(|lines| lines.text.len() >= OBJECT_BYTES).await;
        }
    }

    /// Writes the lines that `is_due` says.
    async fn put(&mut self, is_due: impl Fn(&Lines) -> bool) {
        let due: Vec<_> = self.files.extract_if(|_, lines| is_due(lines)).collect();
        self.bytes -= due.iter().map(|(_, lines)| lines.text.len()).sum::<usize>();
        let this = &*self;
        let put = |(file, lines)| this.put_one(file, lines);
        stream::iter(due).for_each_concurrent(PUTS, put).await;
    }

    async fn put_one(&self, file: File, lines: Lines) {
        if self.space.free().is_some_and(|free| free < LEAST_FREE) {
            return self.tally.dropped(&file.place, Why::Disk, lines.n);
        }
        let n = lines.n;
        match self.stored(&file, lines).await {
            Ok(()) => self.tally.captured(&file.place, n),
            Err(error) => {
                let Place { endpoint, variant, .. } = &file.place;
                tracing::warn!(%error, %endpoint, variant, n, "captured calls were dropped");
                let why = match error {
                    ObjectError::Full => Why::Disk,
                    ObjectError::NoSuchBucket(_)
                    | ObjectError::NoSuchKey(_)
                    | ObjectError::Io(_)
                    | ObjectError::Index(_) => Why::Put,
                };
                self.tally.dropped(&file.place, why, n);
            }
        }
    }

    async fn stored(&self, file: &File, lines: Lines) -> Result<(), ObjectError> {
        let id = Uuid::new_v4().to_string();
        let at = line::object(&file.destination, &file.place, lines.first_at, &id);
        let at = at.ok_or_else(|| ObjectError::NoSuchBucket(file.destination.clone()))?;
        let text = bytes::Bytes::from(lines.text);
        let mut waits = PUT_WAITS.iter();
        loop {
            let body = stream::iter([Ok(text.clone())]).boxed();
            let Err(error) = self.objects.put(&at, Some("application/jsonlines"), body).await
            else {
                return Ok(());
            };
            let may_pass = matches!(error, ObjectError::Io(_) | ObjectError::Index(_));
            match waits.next() {
                Some(wait) if may_pass => tokio::time::sleep(*wait).await,
                Some(_) | None => return Err(error),
            }
        }
    }
}

/// The call with its line; the room for its payloads is free then.
async fn encoded(captured: Box<Captured>) -> Option<(Box<Captured>, Vec<u8>)> {
    let is_large = captured.payload_bytes() > LARGE;
    let encode = move || {
        let mut captured = captured;
        let line = line::line(&captured, &Uuid::new_v4().to_string());
        captured.forget_payloads();
        (captured, line)
    };
    if is_large { task::blocking(encode).await.ok() } else { Some(encode()) }
}
