//! Appends lines to streams, on a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use sagebrush_core::logs::LogStream;
use sagebrush_core::{Clock, Timestamp};

use super::groups::{Group, Groups};
use super::stream::{Event, Stream};
use super::{Backlog, Limits, Streams};

/// How many bytes are written in one go.
const MAX_BATCH_BYTES: usize = 1 << 20;

pub(super) enum Order {
    Write(Line),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
    /// Done when all lines before it are written.
    Do(Work),
}

/// What else is to be done.
pub(super) type Work = Box<dyn FnOnce(&Writer) + Send>;

pub(super) struct Line {
    pub(super) at: LogStream,
    pub(super) time: Timestamp,
    pub(super) text: String,
}

pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) streams: Arc<Streams>,
    pub(super) groups: Arc<Groups>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) limits: Limits,
}

/// Lines for one stream.
type Batch = BTreeMap<LogStream, Vec<Event>>;

impl Writer {
    /// Writes what comes until nobody can send any more.
    pub(super) fn run(self, queue: &Receiver<Order>) {
        let mut told = 0;
        while let Ok(first) = queue.recv() {
            let mut flushes = Vec::new();
            let mut work = None;
            let mut batch = Batch::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write(line) => bytes += self.take(line, &mut batch),
                    Order::Flush(done) => flushes.push(done),
                    Order::Do(this) => work = Some(this),
                }
                let has_room = bytes < MAX_BATCH_BYTES && work.is_none();
                next = if has_room { queue.try_recv().ok() } else { None };
            }
            for (name, events) in batch {
                self.append(&name, &events);
            }
            self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
            if let Some(work) = work {
                work(&self);
            }
            drop(flushes); // Whoever waits hears that the other end is gone.
            told = self.tell_dropped(told);
        }
    }

    /// Adds a line to the batch and returns its size.
    fn take(&self, line: Line, batch: &mut Batch) -> usize {
        let size = line.text.len();
        let event = Event { time: line.time.0, ingested: self.clock.now().0, message: line.text };
        batch.entry(line.at).or_default().push(event);
        size
    }

    fn append(&self, name: &LogStream, events: &[Event]) {
        let appended = self.stream(name).and_then(|stream| self.write(&stream, events));
        if let Err(error) = appended {
            tracing::warn!(group = %name.group, stream = %name.stream, %error, "log is not writable");
            self.backlog.dropped.fetch_add(events.len() as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, stream: &Stream, events: &[Event]) -> io::Result<()> {
        let rotated = stream.append(events, self.limits.file_bytes)?;
        if rotated {
            self.make_room(&stream.name);
        }
        Ok(())
    }

    /// The stream of that name, made with its group if it is not there.
    pub(super) fn stream(&self, name: &LogStream) -> io::Result<Arc<Stream>> {
        if let Some(stream) = self.streams.lock().get(name) {
            return Ok(stream.clone());
        }
        if self.groups.get(&name.region, &name.group).is_none() {
            self.make_room_for_group().map_err(io::Error::other)?;
            self.groups.put(Group::new(&name.region, &name.group, self.clock.now().0))?;
        }
        let stream = Arc::new(Stream::create(&self.dir, name, self.clock.now().0)?);
        self.streams.lock().insert(name.clone(), stream.clone());
        self.make_room(name);
        Ok(stream)
    }

    /// Removes streams while there is too much of all, those first that were written longest ago.
    fn make_room(&self, writing: &LogStream) {
        let mut streams = self.streams.lock();
        let mut total: u64 = streams.values().map(|stream| stream.room()).sum();
        while total > self.limits.total_bytes {
            let others = streams.values().filter(|stream| stream.name != *writing);
            let written = |one: &&Arc<Stream>| one.summary().last_ingestion.unwrap_or(one.created);
            let oldest = others.min_by_key(written).cloned();
            let Some(oldest) = oldest else { return };
            streams.remove(&oldest.name);
            total = total.saturating_sub(oldest.room());
            oldest.remove();
        }
    }

    /// Warns once for each time the writer was behind.
    fn tell_dropped(&self, told: u64) -> u64 {
        let dropped = self.backlog.dropped.load(Ordering::Relaxed);
        if dropped > told {
            tracing::warn!(lines = dropped - told, "log lines were dropped");
        }
        dropped
    }
}
