//! Records in rows.

use async_trait::async_trait;
use sagebrush_core::store::{Cursor, MetaStore, Page, Query, Record, RecordId, SortBy, StoreError};
use sagebrush_core::{Region, Timestamp};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection, SqliteExecutor};

use super::SqliteStore;
use super::codec::{Owner, of_column, to_column};
use super::error::failed;
use super::writer::Write;
use crate::rules::{conflict, cursor_time};

#[async_trait]
impl MetaStore for SqliteStore {
    async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let row = sqlx::query_as::<_, Row>(
            "select * from records where kind = $1 and region = $2 and key = $3",
        )
        .bind(&id.kind)
        .bind(id.region.as_str())
        .bind(&id.key)
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        row.map(Row::record).transpose()
    }

    async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError> {
        self.writer.write(Put { record, expected }).await
    }

    async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        self.writer.write(Remove { id: id.clone(), expected }).await
    }

    async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
        let mut sql = select(kind, query)?;
        let rows: Vec<Row> = sql.build_query_as().fetch_all(&self.readers).await.map_err(failed)?;
        let limit = if query.limit == 0 { rows.len() } else { query.limit };
        let more = rows.len() > limit;
        let records: Vec<Record> =
            rows.into_iter().take(limit).map(Row::record).collect::<Result<_, _>>()?;
        let next = records.last().filter(|_| more).map(|last| Cursor::at(last, query.sort_by));
        Ok(Page { records, next })
    }
}

struct Put {
    record: Record,
    expected: u64,
}

#[async_trait]
impl Write for Put {
    type Output = ();
    type Error = StoreError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let sql = match self.expected {
            0 => {
                "insert into records (kind, region, key, version, name, status, created_at, \
                 modified_at, spec, status_doc, tags) \
                 values ($1, $2, $3, $4 + 1, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing"
            }
            _ => {
                "update records set version = version + 1, name = $5, status = $6, \
                 created_at = $7, modified_at = $8, spec = $9, status_doc = $10, tags = $11 \
                 where kind = $1 and region = $2 and key = $3 and version = $4"
            }
        };
        let Record { id, name, status, created_at, modified_at, .. } = &self.record;
        let done = sqlx::query(sql)
            .bind(&id.kind)
            .bind(id.region.as_str())
            .bind(&id.key)
            .bind(version_column(self.expected))
            .bind(name)
            .bind(status)
            .bind(created_at.0)
            .bind(modified_at.0)
            .bind(&self.record.spec)
            .bind(&self.record.status_doc)
            .bind(owner(id).to_json(&self.record.tags)?)
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        if done.rows_affected() == 0 {
            return Err(conflict(&id.kind, &id.key, self.expected, stored(db, id).await?));
        }
        Ok(())
    }
}

struct Remove {
    id: RecordId,
    expected: u64,
}

#[async_trait]
impl Write for Remove {
    type Output = ();
    type Error = StoreError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let stored = stored(&mut *db, &self.id).await?;
        if stored != self.expected {
            return Err(conflict(&self.id.kind, &self.id.key, self.expected, stored));
        }
        sqlx::query("delete from records where kind = $1 and region = $2 and key = $3")
            .bind(&self.id.kind)
            .bind(self.id.region.as_str())
            .bind(&self.id.key)
            .execute(db)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

/// The version of the stored record; 0 if there is none.
async fn stored(db: impl SqliteExecutor<'_>, id: &RecordId) -> Result<u64, StoreError> {
    let version: Option<i64> = sqlx::query_scalar(
        "select version from records where kind = $1 and region = $2 and key = $3",
    )
    .bind(&id.kind)
    .bind(id.region.as_str())
    .bind(&id.key)
    .fetch_optional(db)
    .await
    .map_err(failed)?;
    of_column(version.unwrap_or(0))
}

/// A version to look for; one that no row can have, where it is out of range.
fn version_column(expected: u64) -> i64 {
    to_column(expected).unwrap_or(-1)
}

fn owner(id: &RecordId) -> Owner<'_> {
    Owner { kind: &id.kind, key: &id.key }
}

fn select(kind: &str, query: &Query) -> Result<QueryBuilder<Sqlite>, StoreError> {
    let mut sql = QueryBuilder::new("select * from records where kind = ");
    sql.push_bind(kind.to_owned());
    if let Some(region) = &query.region {
        sql.push(" and region = ").push_bind(region.to_string());
    }
    if let Some(part) = &query.name_contains {
        // `lower` knows ASCII only, and so do we.
        sql.push(" and instr(lower(name), ").push_bind(part.to_ascii_lowercase()).push(") > 0");
    }
    if let Some(status) = &query.status {
        sql.push(" and status = ").push_bind(status.clone());
    }
    let bounds = [
        (" and created_at > ", query.created_after),
        (" and created_at < ", query.created_before),
        (" and modified_at > ", query.modified_after),
        (" and modified_at < ", query.modified_before),
    ];
    for (condition, bound) in bounds {
        if let Some(Timestamp(at)) = bound {
            sql.push(condition).push_bind(at);
        }
    }
    push_order(&mut sql, query)?;
    Ok(sql)
}

fn push_order(sql: &mut QueryBuilder<Sqlite>, query: &Query) -> Result<(), StoreError> {
    let (column, is_time) = match query.sort_by {
        SortBy::Name => ("name", false),
        SortBy::CreationTime => ("created_at", true),
        SortBy::LastModifiedTime => ("modified_at", true),
        SortBy::Status => ("status", false),
    };
    let (behind, direction) = if query.descending { ("<", "desc") } else { (">", "asc") };
    if let Some(cursor) = &query.after {
        sql.push(format_args!(" and ({column}, region, key) {behind} ("));
        if is_time {
            sql.push_bind(cursor_time(cursor)?);
        } else {
            sql.push_bind(cursor.value.clone());
        }
        sql.push(", ").push_bind(cursor.region.to_string());
        sql.push(", ").push_bind(cursor.key.clone()).push(")");
    }
    sql.push(format_args!(" order by {column} {direction}, region {direction}, key {direction}"));
    if query.limit > 0 {
        // One more says whether there are more.
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
        sql.push(" limit ").push_bind(limit);
    }
    Ok(())
}

#[derive(FromRow)]
struct Row {
    kind: String,
    region: String,
    key: String,
    name: String,
    version: i64,
    status: String,
    created_at: i64,
    modified_at: i64,
    spec: String,
    status_doc: String,
    tags: String,
}

impl Row {
    fn record(self) -> Result<Record, StoreError> {
        let id = RecordId { kind: self.kind, region: Region::new(&self.region), key: self.key };
        let tags = owner(&id).of_json(&self.tags)?;
        Ok(Record {
            id,
            name: self.name,
            version: of_column(self.version)?,
            status: self.status,
            created_at: Timestamp(self.created_at),
            modified_at: Timestamp(self.modified_at),
            spec: self.spec,
            status_doc: self.status_doc,
            tags,
        })
    }
}
