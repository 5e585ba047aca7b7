//! The audit log: who called what, kept in files and queried as CloudTrail does.
//!
//! [`AuditLog`] takes calls and never waits; a thread of its own makes a [`record`] of each, takes
//! the secrets out ([`secrets`]) and appends it to a [`journal`]: there is one for calls that
//! change something and one for those that only read, so that the many do not push out the few.
//! [`lookup`] searches them, [`api`] speaks CloudTrail.

mod api;
mod journal;
mod lookup;
mod record;
mod secrets;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sagebrush_core::audit::{AuditSink, AuditedCall};
use sagebrush_core::metrics::{Counter, Registry};
use sagebrush_core::{Clock, Timestamp, task};

pub use api::operations;

use journal::Journal;
use record::Record;

/// How much is kept, and how much may wait to be written.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of calls that change something.
    pub writes: Kept,
    /// Of calls that only read.
    pub reads: Kept,
    /// Calls that may wait for the disk, and their bytes.
    pub queued: usize,
    pub queued_bytes: usize,
    /// Whether calls that move data are kept too: messages, log lines, metrics,
    /// objects.
    pub data_events: bool,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub lasts: Duration,
    pub bytes: u64,
}

const DAY: Duration = Duration::from_hours(24);

impl Default for Limits {
    fn default() -> Self {
        Self {
            writes: Kept { lasts: DAY * 90, bytes: 1 << 30 },
            reads: Kept { lasts: DAY * 7, bytes: 256 << 20 },
            queued: 4096,
            queued_bytes: 16 << 20,
            data_events: false,
        }
    }
}

/// How often what is too old is removed.
const SWEEP_EVERY: i64 = 3600 * 1000;

/// The operations that move data, of services that serve others besides.
const DATA: &[(&str, &[&str])] = &[
    ("sagemaker", &["InvokeEndpoint", "InvokeEndpointAsync", "InvokeEndpointWithResponseStream"]),
    (
        "sqs",
        &[
            "SendMessage",
            "SendMessageBatch",
            "ReceiveMessage",
            "DeleteMessage",
            "DeleteMessageBatch",
            "ChangeMessageVisibility",
            "ChangeMessageVisibilityBatch",
        ],
    ),
    ("sns", &["Publish", "PublishBatch"]),
    ("logs", &["PutLogEvents", "GetLogEvents", "FilterLogEvents"]),
    ("events", &["PutEvents"]),
    (
        "monitoring",
        &["PutMetricData", "GetMetricData", "GetMetricStatistics", "GetMetricWidgetImage"],
    ),
];

/// Of S3, what is about a bucket manages; the rest is about objects. CloudTrail makes one exception.
fn moves_data(service: &str, operation: &str) -> bool {
    if service == "s3" {
        return !operation.contains("Bucket") || operation == "HeadBucket";
    }
    DATA.iter().any(|(name, them)| *name == service && them.contains(&operation))
}

/// Who did what.
pub struct AuditLog {
    journals: Arc<Journals>,
    orders: SyncSender<Order>,
    clock: Arc<dyn Clock>,
    backlog: Arc<Backlog>,
    max_queued_bytes: usize,
    data_events: bool,
}

struct Journals {
    writes: Journal,
    reads: Journal,
}

struct Backlog {
    bytes: AtomicUsize,
    /// Calls that were lost because the disk was behind or full.
    dropped: Arc<Counter>,
}

enum Order {
    Write {
        at: Timestamp,
        size: usize,
        call: Box<AuditedCall>,
    },
    /// Answered when all calls before it are written.
    Flush(SyncSender<()>),
}

impl AuditLog {
    /// Takes over what is below `dir` and starts to write. Blocks.
    ///
    /// # Errors
    /// When `dir` cannot be made or read.
    pub fn open(
        dir: &Path,
        clock: Arc<dyn Clock>,
        limits: &Limits,
        metrics: &Registry,
    ) -> io::Result<Self> {
        let journals = Arc::new(Journals {
            writes: Journal::open(&dir.join("writes"), limits.writes)?,
            reads: Journal::open(&dir.join("reads"), limits.reads)?,
        });
        let (name, help) =
            ("sagebrush_audit_calls_dropped_total", "Calls that are missing in the audit log.");
        let dropped = metrics.counter(name, help, Vec::new());
        let backlog = Arc::new(Backlog { bytes: AtomicUsize::default(), dropped });
        let (orders, queue) = sync_channel(limits.queued);
        let writer = Writer {
            journals: journals.clone(),
            backlog: backlog.clone(),
            clock: clock.clone(),
            swept: Timestamp::default(),
        };
        let _detached = task::thread("audit", move || writer.run(&queue))?;
        let (max_queued_bytes, data_events) = (limits.queued_bytes, limits.data_events);
        Ok(Self { journals, orders, clock, backlog, max_queued_bytes, data_events })
    }

    /// Waits until every call taken so far is in its file.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(0);
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _ended = wait.recv(); // An error too says that the writer is through.
        }
    }
}

impl AuditSink for AuditLog {
    fn wants(&self, service: &str, operation: &str) -> bool {
        self.data_events || !moves_data(service, operation)
    }

    fn record(&self, call: AuditedCall) {
        let size = record::size(&call);
        let queued = self.backlog.bytes.fetch_add(size, Ordering::Relaxed);
        let has_room = queued.saturating_add(size) <= self.max_queued_bytes;
        let order = Order::Write { at: self.clock.now(), size, call: Box::new(call) };
        let is_sent = has_room && self.orders.try_send(order).is_ok();
        if !is_sent {
            self.backlog.bytes.fetch_sub(size, Ordering::Relaxed);
            self.backlog.dropped.add(1);
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.flush();
    }
}

struct Writer {
    journals: Arc<Journals>,
    backlog: Arc<Backlog>,
    clock: Arc<dyn Clock>,
    swept: Timestamp,
}

impl Writer {
    /// Writes what comes until nobody can send any more.
    fn run(mut self, queue: &Receiver<Order>) {
        let mut told = 0;
        self.sweep();
        while let Ok(order) = queue.recv() {
            match order {
                Order::Write { at, size, call } => {
                    self.write(Record::of(*call, at));
                    self.backlog.bytes.fetch_sub(size, Ordering::Relaxed);
                }
                Order::Flush(done) => drop(done), // Whoever waits hears that the other end is gone.
            }
            if self.clock.now().0 - self.swept.0 >= SWEEP_EVERY {
                self.sweep();
            }
            let dropped = self.backlog.dropped.get();
            if dropped > told {
                tracing::warn!(calls = dropped - told, "calls are missing in the audit log");
                told = dropped;
            }
        }
    }

    fn write(&self, record: Record) {
        let journal = if record.read_only { &self.journals.reads } else { &self.journals.writes };
        if let Err(error) = journal.append(&record) {
            tracing::warn!(%error, "the audit log is not writable");
            self.backlog.dropped.add(1);
        }
    }

    fn sweep(&mut self) {
        self.swept = self.clock.now();
        for journal in [&self.journals.writes, &self.journals.reads] {
            if let Err(error) = journal.sweep(self.swept) {
                tracing::warn!(%error, "old calls could not be removed from the audit log");
            }
        }
    }
}
