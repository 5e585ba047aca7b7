//! Log lines, kept in files and queried as CloudWatch Logs.
//!
//! [`LogStore`] takes lines and never waits; [`writer`] appends them on a thread of its own, which
//! also makes the [`changes`] that clients ask for; [`stream`] is one log stream on disk;
//! [`groups`] says what is known of groups; [`batch`] has the rules of `PutLogEvents`; [`query`]
//! reads; [`retention`] sweeps; [`api`] speaks CloudWatch Logs.

mod api;
mod batch;
mod changes;
mod error;
mod groups;
mod pattern;
mod query;
mod retention;
mod stream;
mod writer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::{Clock, task};

pub use api::operations;

use self::groups::{Group, Groups};
use self::stream::Stream;
use self::writer::{Line, Order, Writer};

/// The longest line of what runs here; the rest of a longer one is cut.
const MAX_LINE_BYTES: usize = 256 << 10;

/// How many groups there may be, and how many streams clients may make.
const MAX_GROUPS: usize = 10_000;
const MAX_STREAMS: usize = 100_000;

/// How much is kept, and how much may wait to be written.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The size of a file of a stream. A stream has two: the full one and the one being written.
    pub file_bytes: u64,
    /// All streams together; beyond it those go that were written longest ago.
    pub total_bytes: u64,
    /// Lines that may wait for the disk.
    pub queued_lines: usize,
    /// Bytes that may wait for the disk.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 16 << 20,
            total_bytes: 4 << 30,
            queued_lines: 8192,
            queued_bytes: 16 << 20,
        }
    }
}

/// Log lines on the local disk.
pub struct LogStore {
    streams: Arc<Streams>,
    groups: Arc<Groups>,
    orders: SyncSender<Order>,
    clock: Arc<dyn Clock>,
    backlog: Arc<Backlog>,
    max_queued_bytes: usize,
}

/// All streams by name.
#[derive(Default)]
struct Streams(Mutex<BTreeMap<LogStream, Arc<Stream>>>);

/// What waits for the writer, and what could not.
#[derive(Default)]
struct Backlog {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl LogStore {
    /// Takes over the streams below `dir` and starts to write. Blocks.
    ///
    /// # Errors
    /// When `dir` cannot be made or read.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, limits: Limits) -> io::Result<Self> {
        let streams = Arc::new(Streams::read(dir)?);
        let groups = Arc::new(Groups::open(dir)?);
        for stream in streams.lock().values() {
            groups.adopt(Group::new(&stream.name.region, &stream.name.group, stream.created));
        }
        let backlog = Arc::new(Backlog::default());
        let (orders, queue) = sync_channel(limits.queued_lines);
        let max_queued_bytes = limits.queued_bytes;
        let writer = Writer {
            dir: dir.to_owned(),
            streams: streams.clone(),
            groups: groups.clone(),
            clock: clock.clone(),
            backlog: backlog.clone(),
            limits,
        };
        let _detached = task::thread("logs", move || writer.run(&queue))?;
        Ok(Self { streams, groups, orders, clock, backlog, max_queued_bytes })
    }

    /// Lines that were lost because the disk was behind or full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.backlog.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line taken so far is in its file.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(0);
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _ended = wait.recv(); // An error too says that the writer is through.
        }
    }
}

impl LogSink for LogStore {
    fn write(&self, at: &LogStream, line: &str) {
        let text = &line[..line.floor_char_boundary(MAX_LINE_BYTES)];
        let queued = self.backlog.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let line = Line { at: at.clone(), time: self.clock.now(), text: text.to_owned() };
        let has_room = queued.saturating_add(text.len()) <= self.max_queued_bytes;
        let sent = has_room
            && match self.orders.try_send(Order::Write(line)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !sent {
            self.backlog.bytes.fetch_sub(text.len(), Ordering::Relaxed);
            self.backlog.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Streams {
    fn read(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut streams = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.ends_with(groups::FOLDER) {
                continue;
            }
            match Stream::open(&path) {
                Ok(stream) => drop(streams.insert(stream.name.clone(), Arc::new(stream))),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "log stream is not readable");
                }
            }
        }
        Ok(Self(Mutex::new(streams)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogStream, Arc<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The streams of a group, of which there may be many beside those of other groups.
    fn of_group(&self, group: &Group) -> Vec<Arc<Stream>> {
        let (region, name) = (group.region.clone(), group.name.clone());
        let first = LogStream { region, group: name, stream: "".into() };
        let streams = self.lock();
        let from_there = streams.range(&first..);
        let is_of_group = |at: &LogStream| at.region == first.region && at.group == first.group;
        from_there.take_while(|(at, _)| is_of_group(at)).map(|(_, it)| it.clone()).collect()
    }
}
