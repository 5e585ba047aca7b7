//! Several writes in one transaction.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};

use super::job::Job;
use crate::sqlite::error::is_full;

/// Carries out writes, and keeps the connection they go through.
pub(super) struct Batches {
    /// `None` after it broke, until the next write.
    db: Option<SqliteConnection>,
    options: SqliteConnectOptions,
}

/// Why nothing of a batch was committed.
enum Failure {
    /// One of its writes took the whole transaction down, as a full disk may.
    Undone(sqlx::Error),
    /// It could not be begun or committed.
    Failed(sqlx::Error),
}

impl Batches {
    pub(super) fn new(db: SqliteConnection, options: SqliteConnectOptions) -> Self {
        Self { db: Some(db), options }
    }

    pub(super) fn into_connection(self) -> Option<SqliteConnection> {
        self.db
    }

    /// Carries out all of `jobs` and answers them.
    pub(super) async fn carry_out(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let failure = match self.transact(&mut jobs).await {
            Ok(()) => None,
            Err(failure) if jobs.len() > 1 && failure.may_spare_some() => {
                for job in jobs {
                    Box::pin(self.carry_out(vec![job])).await;
                }
                return;
            }
            Err(Failure::Undone(error) | Failure::Failed(error)) => Some(Arc::new(error)),
        };
        for job in jobs {
            job.answer(failure.as_ref());
        }
    }

    /// Runs `jobs` in one transaction and commits it. On error nothing of them is left.
    async fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let mut db = match self.db.take() {
            Some(db) => db,
            None => self.options.connect().await.map_err(Failure::Failed)?,
        };
        let outcome = run(&mut db, jobs).await;
        if outcome.is_ok() || roll_back(&mut db).await {
            self.db = Some(db);
        }
        outcome
    }
}

impl Failure {
    /// True if some of the writes may go through without the others.
    fn may_spare_some(&self) -> bool {
        match self {
            Self::Undone(_) => true,
            Self::Failed(error) => is_full(error),
        }
    }
}

async fn run(db: &mut SqliteConnection, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    execute(db, "begin immediate").await.map_err(Failure::Failed)?;
    if let [job] = jobs {
        let done = job.run(db).await;
        let end = if done { "commit" } else { "rollback" };
        return execute(db, end).await.map_err(Failure::Failed);
    }
    for job in jobs {
        run_within(db, &mut **job).await.map_err(Failure::Undone)?;
    }
    execute(db, "commit").await.map_err(Failure::Failed)
}

/// Runs one of several writes. An error says that the transaction is gone.
async fn run_within(db: &mut SqliteConnection, job: &mut dyn Job) -> Result<(), sqlx::Error> {
    execute(db, "savepoint one").await?;
    if !job.run(db).await {
        execute(db, "rollback to one").await?;
    }
    execute(db, "release one").await
}

/// Ends what is left of a transaction; false if the connection is of no more use.
async fn roll_back(db: &mut SqliteConnection) -> bool {
    match execute(db, "rollback").await {
        // SQLite may have rolled it back by itself.
        Ok(()) | Err(sqlx::Error::Database(_)) => true,
        Err(_) => false,
    }
}

async fn execute(db: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(db).await.map(drop)
}
