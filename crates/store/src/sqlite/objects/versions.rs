//! Versions of objects in rows, and which blobs they refer to.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{Attributes, Condition, IndexError, ObjectVersion};
use sagebrush_core::store::StoreError;
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection, SqliteExecutor, SqlitePool};

use super::require_bucket;
use crate::rules::check_condition;
use crate::sqlite::codec::{Owner, of_column, to_column};
use crate::sqlite::error::failed;
use crate::sqlite::writer::Write;

/// How many blobs one query asks for; SQLite takes 32,766 values.
const ASKED_AT_ONCE: usize = 1000;

pub(super) async fn find(
    db: impl SqliteExecutor<'_>,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> Result<Option<ObjectVersion>, IndexError> {
    let sql = match version_id {
        Some(_) => "select * from versions where bucket = $1 and key = $2 and version_id = $3",
        None => "select * from versions where bucket = $1 and key = $2 and is_latest = 1",
    };
    let mut query = sqlx::query_as::<_, Row>(sql).bind(bucket).bind(key);
    if let Some(id) = version_id {
        query = query.bind(id);
    }
    let row = query.fetch_optional(db).await.map_err(failed)?;
    Ok(row.map(Row::version).transpose()?)
}

/// Of `blobs`, those that no version and no part refers to, in their order.
pub(super) async fn unreferenced(
    db: &SqlitePool,
    blobs: Vec<String>,
) -> Result<Vec<String>, IndexError> {
    let mut db = db.acquire().await.map_err(failed)?;
    orphans(&mut db, blobs).await
}

pub(super) async fn orphans(
    db: &mut SqliteConnection,
    mut blobs: Vec<String>,
) -> Result<Vec<String>, IndexError> {
    let mut referenced: BTreeSet<String> = BTreeSet::new();
    for some in blobs.chunks(ASKED_AT_ONCE) {
        let mut sql = QueryBuilder::<Sqlite>::new("with asked (id) as (");
        sql.push_values(some, |mut row, blob| {
            row.push_bind(blob.clone());
        });
        sql.push(
            ") select id from asked where exists (select 1 from version_blobs where blob_id = id) \
             or exists (select 1 from parts where blob_id = id)",
        );
        let found: Vec<String> =
            sql.build_query_scalar().fetch_all(&mut *db).await.map_err(failed)?;
        referenced.extend(found);
    }
    blobs.retain(|blob| !referenced.contains(blob));
    Ok(blobs)
}

pub(super) struct PutVersion {
    pub(super) version: ObjectVersion,
    pub(super) condition: Condition,
}

#[async_trait]
impl Write for PutVersion {
    type Output = Vec<String>;
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Vec<String>, IndexError> {
        let replaced = put(&mut *db, &self.version, &self.condition).await?;
        orphans(db, replaced).await
    }
}

/// Makes `version` the newest of its key; returns the blobs of the one that it replaces.
pub(super) async fn put(
    db: &mut SqliteConnection,
    version: &ObjectVersion,
    condition: &Condition,
) -> Result<Vec<String>, IndexError> {
    let ObjectVersion { bucket, key, version_id, .. } = version;
    require_bucket(&mut *db, bucket).await?;
    let newest: Option<(String, bool)> = sqlx::query_as(
        "select etag, is_delete_marker from versions \
         where bucket = $1 and key = $2 and is_latest = 1",
    )
    .bind(bucket)
    .bind(key)
    .fetch_optional(&mut *db)
    .await
    .map_err(failed)?;
    check_condition(condition, newest.as_ref().map(|(etag, marker)| (&**etag, *marker)))?;
    let replaced = take(&mut *db, bucket, key, version_id).await?;
    if newest.is_some() {
        sqlx::query(
            "update versions set is_latest = 0 where bucket = $1 and key = $2 and is_latest = 1",
        )
        .bind(bucket)
        .bind(key)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    }
    insert(db, version).await?;
    Ok(replaced.as_ref().map(blobs_of).unwrap_or_default())
}

async fn insert(db: &mut SqliteConnection, version: &ObjectVersion) -> Result<(), StoreError> {
    let owner = Owner { kind: "object", key: &version.key };
    let seq: i64 = sqlx::query_scalar(
        "insert into versions (bucket, key, version_id, is_latest, is_delete_marker, size, etag, \
         modified_at, blobs, attributes) values ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9) \
         returning seq",
    )
    .bind(&version.bucket)
    .bind(&version.key)
    .bind(&version.version_id)
    .bind(i64::from(version.is_delete_marker))
    .bind(to_column(version.size)?)
    .bind(&version.etag)
    .bind(version.modified_at.0)
    .bind(owner.to_json(&version.blobs)?)
    .bind(owner.to_json(&version.attributes)?)
    .fetch_one(&mut *db)
    .await
    .map_err(failed)?;
    for blob in blobs_of(version) {
        sqlx::query("insert into version_blobs (blob_id, seq) values ($1, $2)")
            .bind(blob)
            .bind(seq)
            .execute(&mut *db)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Removes a version, and with it what it refers to.
async fn take(
    db: &mut SqliteConnection,
    bucket: &str,
    key: &str,
    version_id: &str,
) -> Result<Option<ObjectVersion>, StoreError> {
    let row = sqlx::query_as::<_, Row>(
        "delete from versions where bucket = $1 and key = $2 and version_id = $3 returning *",
    )
    .bind(bucket)
    .bind(key)
    .bind(version_id)
    .fetch_optional(db)
    .await
    .map_err(failed)?;
    row.map(Row::version).transpose()
}

pub(super) struct SetAttributes {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) version_id: String,
    pub(super) attributes: Attributes,
}

#[async_trait]
impl Write for SetAttributes {
    type Output = ();
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), IndexError> {
        require_bucket(&mut *db, &self.bucket).await?;
        let owner = Owner { kind: "object", key: &self.key };
        let done = sqlx::query(
            "update versions set attributes = $4 \
             where bucket = $1 and key = $2 and version_id = $3",
        )
        .bind(&self.bucket)
        .bind(&self.key)
        .bind(&self.version_id)
        .bind(owner.to_json(&self.attributes)?)
        .execute(db)
        .await
        .map_err(failed)?;
        match done.rows_affected() {
            0 => Err(IndexError::NoSuchKey(self.key.clone())),
            _ => Ok(()),
        }
    }
}

pub(super) struct RemoveVersion {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) version_id: String,
}

#[async_trait]
impl Write for RemoveVersion {
    type Output = Option<ObjectVersion>;
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Self::Output, IndexError> {
        require_bucket(&mut *db, &self.bucket).await?;
        let Some(removed) = take(&mut *db, &self.bucket, &self.key, &self.version_id).await? else {
            return Ok(None);
        };
        // The one before becomes the newest, unless the newest is still there.
        sqlx::query(
            "update versions set is_latest = 1 where is_latest = 0 and seq = \
             (select max(seq) from versions where bucket = $1 and key = $2)",
        )
        .bind(&self.bucket)
        .bind(&self.key)
        .execute(db)
        .await
        .map_err(failed)?;
        Ok(Some(removed))
    }
}

/// The blobs that a version refers to, each once.
fn blobs_of(version: &ObjectVersion) -> Vec<String> {
    let blobs: BTreeSet<&String> = version.blobs.iter().map(|blob| &blob.id).collect();
    blobs.into_iter().cloned().collect()
}

#[derive(FromRow)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) version_id: String,
    pub(super) is_latest: bool,
    is_delete_marker: bool,
    size: i64,
    etag: String,
    modified_at: i64,
    blobs: String,
    attributes: String,
}

impl Row {
    pub(super) fn version(self) -> Result<ObjectVersion, StoreError> {
        let owner = Owner { kind: "object", key: &self.key };
        Ok(ObjectVersion {
            blobs: owner.of_json(&self.blobs)?,
            attributes: owner.of_json(&self.attributes)?,
            bucket: self.bucket,
            key: self.key,
            version_id: self.version_id,
            is_delete_marker: self.is_delete_marker,
            size: of_column(self.size)?,
            etag: self.etag,
            modified_at: Timestamp(self.modified_at),
        })
    }
}
