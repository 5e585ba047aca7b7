//! Records and the index of objects in one SQLite file.
//!
//! One connection writes, behind a task that commits what is queued in one transaction; a few
//! others read. What was acknowledged is on the disk and is seen by every later read.

mod codec;
mod error;
mod lock;
mod objects;
mod open;
mod records;
mod writer;
#[cfg(test)]
mod tests;

use sagebrush_core::metrics::Registry;
use sqlx::SqlitePool;

pub use error::OpenError;
use writer::{Meters, Writer};

/// Keeps everything in a SQLite file, which belongs to one process at a time.
#[derive(Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    writer: Writer,
}

impl SqliteStore {
    /// Counts writes, and measures what their commits take.
    pub fn measure(&self, registry: &Registry) {
        let took = registry.histogram(
            "sagebrush_store_commit_seconds",
            "How long the store took over writes that were committed together.",
            Vec::new(),
        );
        let help = "Writes that the store was asked for.";
        let writes = registry.counter("sagebrush_store_writes_total", help, Vec::new());
        self.writer.measure(Meters { took, writes });
    }

    /// Carries out what is queued, moves everything into the one file and lets go of it.
    ///
    /// Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
