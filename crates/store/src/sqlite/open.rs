//! Opens a database, and brings its tables up to date.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagebrush_core::task;
use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::error::{OpenError, not_migrated, not_opened};
use super::writer::Writer;
use super::{SqliteStore, lock};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How many reads run at once; each connection is a thread.
const READERS: u32 = 4;

/// How long a read waits for a connection, and any call for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// To what size the log is cut back after a long read kept it from being reused.
const LOG_LIMIT: &str = "67108864";

impl SqliteStore {
    /// Opens the database at `path`, or makes a new one there.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged or from a newer version, when there
    /// is no space.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let path: PathBuf = path.to_owned();
        let locked = path.clone();
        let unlocked =
            |error| OpenError::Io { path: path.clone(), source: io::Error::other(error) };
        let lock = task::blocking(move || lock::take(&locked)).await.map_err(unlocked)??;
        let to_write = options(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", LOG_LIMIT)
            .optimize_on_close(true, 400);
        let mut db = to_write.connect().await.map_err(|error| not_opened(&path, error))?;
        MIGRATIONS.run(&mut db).await.map_err(|error| not_migrated(&path, error))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false) // It is a thread of ours, not a network away.
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options(&path).pragma("query_only", "on"));
        Ok(Self { readers, writer: Writer::start(db, to_write.create_if_missing(false), lock) })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("temp_store", "memory") // A full disk does not fail a read.
        .disable_statement_logging()
}
