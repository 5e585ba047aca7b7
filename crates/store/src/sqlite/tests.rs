//! What only a file on a disk must stand; the contracts are in `crate::tests`.

mod files;
mod kill;
mod plans;
mod writes;

use std::collections::BTreeMap;

use async_trait::async_trait;
use sagebrush_core::store::{Record, RecordId, StoreError};
use sagebrush_core::{Region, Timestamp};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteStore;
use super::error::failed;
use super::writer::Write;

fn record(key: &str, bytes: usize) -> Record {
    let region = Region::new("us-east-1");
    Record {
        id: RecordId { kind: "model".to_owned(), region, key: key.to_owned() },
        name: key.to_owned(),
        version: 0,
        status: String::new(),
        created_at: Timestamp(1),
        modified_at: Timestamp(1),
        spec: "x".repeat(bytes),
        status_doc: String::new(),
        tags: BTreeMap::new(),
    }
}

/// Runs SQL where writes run.
struct Sql(String);

#[async_trait]
impl Write for Sql {
    type Output = i64;
    type Error = StoreError;

    /// Returns the number that the last statement returns, or 0.
    async fn apply(&self, db: &mut SqliteConnection) -> Result<i64, StoreError> {
        let query = sqlx::query_scalar(AssertSqlSafe(self.0.clone()));
        Ok(query.fetch_optional(db).await.map_err(failed)?.unwrap_or(0))
    }
}

async fn sql(store: &SqliteStore, sql: &str) -> i64 {
    store.writer.write(Sql(sql.to_owned())).await.unwrap()
}
