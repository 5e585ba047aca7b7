//! The task that owns the writing connection.
//!
//! It takes what is queued, at most [`BATCH`] writes, and commits it in one transaction: one
//! `fsync` for all of them. It never waits for more to come. Each write has a savepoint, so that
//! one that fails is undone alone.

mod batch;
mod job;

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use sagebrush_core::metrics::{Counter, Histogram};
use sagebrush_core::store::StoreError;
use sagebrush_core::task;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use batch::Batches;
use job::{Job, Queued};

/// How many writes one transaction carries at most.
const BATCH: usize = 64;

/// How many writes may wait; who comes then waits for a place.
const QUEUE: usize = 1024;

/// One change, as a transaction of its own would make it.
#[async_trait]
pub(super) trait Write: Send + Sync + 'static {
    type Output: Send + 'static;
    type Error: From<StoreError> + Send + 'static;

    /// Carries it out within a transaction. What an error leaves behind is undone; it may be
    /// called again after that.
    async fn apply(&self, db: &mut SqliteConnection) -> Result<Self::Output, Self::Error>;
}

/// Where writes are handed in.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    meters: Arc<OnceLock<Meters>>,
}

/// What is measured of commits.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) took: Arc<Histogram>,
    pub(super) writes: Arc<Counter>,
}

enum Message {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task, which holds `lock` until the connection is closed.
    pub(super) fn start(db: SqliteConnection, options: SqliteConnectOptions, lock: File) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let meters = Arc::default();
        let batches = Batches::new(db, options);
        task::spawn("sqlite-writer", run(batches, messages, lock, Arc::clone(&meters)));
        Self { queue, meters }
    }

    /// Measures commits from now on.
    pub(super) fn measure(&self, meters: Meters) {
        let _first_one_stays = self.meters.set(meters);
    }

    /// Carries out `write`, and returns once it is durable.
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Output, W::Error> {
        let (reply, outcome) = oneshot::channel();
        let job = Box::new(Queued::new(write, reply));
        self.queue.send(Message::Write(job)).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // Either fails only when the task has ended already.
        self.queue.send(Message::Close(done)).await.ok();
        closed.await.ok();
    }
}

fn closed() -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::BrokenPipe, "the store is closed"))
}

async fn run(
    mut batches: Batches,
    mut messages: mpsc::Receiver<Message>,
    lock: File,
    meters: Arc<OnceLock<Meters>>,
) {
    let mut closers = Vec::new();
    let mut queued = Vec::with_capacity(BATCH);
    while messages.recv_many(&mut queued, BATCH).await > 0 {
        let mut jobs = Vec::with_capacity(queued.len());
        for message in queued.drain(..) {
            match message {
                Message::Write(job) => jobs.push(job),
                Message::Close(done) => {
                    closers.push(done);
                    messages.close(); // What is queued is still received.
                }
            }
        }
        let (began, n_writes) = (Instant::now(), jobs.len());
        batches.carry_out(jobs).await;
        if let Some(meters) = meters.get() {
            meters.took.observe(began.elapsed());
            meters.writes.add(u64::try_from(n_writes).unwrap_or(u64::MAX));
        }
    }
    if let Some(db) = batches.into_connection() {
        finish(db).await;
    }
    drop(lock);
    for done in closers {
        done.send(()).ok(); // Who asked may have left.
    }
}

/// Moves the log into the database, and closes it.
async fn finish(mut db: SqliteConnection) {
    let moved = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut db).await;
    if let Err(error) = moved {
        tracing::warn!(%error, "the log stays beside the database until it is opened again");
    }
    if let Err(error) = db.close().await {
        tracing::warn!(%error, "closing the database failed");
    }
}
