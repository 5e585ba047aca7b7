//! A write that waits for its turn, and who waits for it.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use sagebrush_core::store::StoreError;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::Write;
use crate::sqlite::error::failed_for_all;

/// A write of any kind.
#[async_trait]
pub(super) trait Job: Send {
    /// Carries it out, keeps the outcome, and says whether it succeeded.
    async fn run(&mut self, db: &mut SqliteConnection) -> bool;

    /// Answers with the outcome, or with `failure` if that kept it from being committed.
    fn answer(self: Box<Self>, failure: Option<&Arc<sqlx::Error>>);
}

pub(super) struct Queued<W: Write> {
    write: W,
    outcome: Option<Result<W::Output, W::Error>>,
    reply: oneshot::Sender<Result<W::Output, W::Error>>,
}

impl<W: Write> Queued<W> {
    pub(super) fn new(write: W, reply: oneshot::Sender<Result<W::Output, W::Error>>) -> Self {
        Self { write, outcome: None, reply }
    }
}

#[async_trait]
impl<W: Write> Job for Queued<W> {
    async fn run(&mut self, db: &mut SqliteConnection) -> bool {
        // A panic fails this write, not the task and with it all the others.
        let applied = AssertUnwindSafe(self.write.apply(db)).catch_unwind().await;
        let outcome = applied
            .unwrap_or_else(|_| Err(StoreError::Io(io::Error::other("the write panicked")).into()));
        self.outcome.insert(outcome).is_ok()
    }

    fn answer(self: Box<Self>, failure: Option<&Arc<sqlx::Error>>) {
        let answer = match (self.outcome, failure) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failure)) => Err(failed_for_all(failure).into()),
            (Some(Ok(output)), None) => Ok(output),
            (None, None) => Err(StoreError::Io(io::Error::other("the write was not run")).into()),
        };
        self.reply.send(answer).ok(); // Who asked may have left.
    }
}
