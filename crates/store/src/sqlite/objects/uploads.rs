//! Uploads under way and their parts in rows.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{Blob, Condition, IndexError, ObjectVersion, Part, Upload};
use sagebrush_core::store::StoreError;
use sqlx::{FromRow, SqliteConnection, SqliteExecutor, SqlitePool};

use super::{require_bucket, versions};
use crate::listing::behind_prefix;
use crate::rules::{no_upload, parts_changed, upload_exists};
use crate::sqlite::codec::{Owner, of_column, to_column};
use crate::sqlite::error::failed;
use crate::sqlite::writer::Write;

pub(super) async fn find(
    db: impl SqliteExecutor<'_>,
    upload_id: &str,
) -> Result<Option<Upload>, IndexError> {
    let row = sqlx::query_as::<_, UploadRow>("select * from uploads where id = $1")
        .bind(upload_id)
        .fetch_optional(db)
        .await
        .map_err(failed)?;
    Ok(row.map(UploadRow::upload).transpose()?)
}

/// The uploads of a bucket whose key starts with `prefix`.
pub(super) async fn below(
    db: &SqlitePool,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<Upload>, IndexError> {
    require_bucket(db, bucket).await?;
    let rows: Vec<UploadRow> = sqlx::query_as(
        "select * from uploads where bucket = $1 and key >= $2 and ($3 is null or key < $3) \
         order by key, id",
    )
    .bind(bucket)
    .bind(prefix)
    .bind(behind_prefix(prefix))
    .fetch_all(db)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UploadRow::upload).collect::<Result<_, _>>()?)
}

pub(super) async fn parts(db: &SqlitePool, upload_id: &str) -> Result<Vec<Part>, IndexError> {
    // One transaction: the upload does not end between the two looks.
    let mut db = db.begin().await.map_err(failed)?;
    require_upload(&mut *db, upload_id).await?;
    let rows: Vec<PartRow> =
        sqlx::query_as("select * from parts where upload_id = $1 order by number")
            .bind(upload_id)
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
    Ok(rows.into_iter().map(PartRow::part).collect::<Result<_, _>>()?)
}

async fn require_upload(db: impl SqliteExecutor<'_>, upload_id: &str) -> Result<(), IndexError> {
    find(db, upload_id).await?.map(drop).ok_or_else(|| no_upload(upload_id))
}

pub(super) struct CreateUpload(pub(super) Upload);

#[async_trait]
impl Write for CreateUpload {
    type Output = ();
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), IndexError> {
        let Self(upload) = self;
        require_bucket(&mut *db, &upload.bucket).await?;
        let done = sqlx::query(
            "insert into uploads (id, bucket, key, created_at, attributes, checksum_algorithm) \
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(&upload.id)
        .bind(&upload.bucket)
        .bind(&upload.key)
        .bind(upload.created_at.0)
        .bind(owner(&upload.id).to_json(&upload.attributes)?)
        .bind(&upload.checksum_algorithm)
        .execute(db)
        .await
        .map_err(failed)?;
        match done.rows_affected() {
            0 => Err(upload_exists(&upload.id)),
            _ => Ok(()),
        }
    }
}

pub(super) struct PutPart {
    pub(super) upload_id: String,
    pub(super) part: Part,
}

#[async_trait]
impl Write for PutPart {
    type Output = Option<String>;
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Option<String>, IndexError> {
        let Self { upload_id, part } = self;
        require_upload(&mut *db, upload_id).await?;
        let replaced: Option<String> = sqlx::query_scalar(
            "delete from parts where upload_id = $1 and number = $2 returning blob_id",
        )
        .bind(upload_id)
        .bind(i64::from(part.number))
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
        sqlx::query(
            "insert into parts (upload_id, number, blob_id, size, etag, modified_at, checksums) \
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(upload_id)
        .bind(i64::from(part.number))
        .bind(&part.blob.id)
        .bind(to_column(part.blob.size)?)
        .bind(&part.etag)
        .bind(part.modified_at.0)
        .bind(owner(upload_id).to_json(&part.checksums)?)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
        Ok(versions::orphans(db, replaced.into_iter().collect()).await?.pop())
    }
}

pub(super) struct CompleteUpload {
    pub(super) upload_id: String,
    pub(super) version: ObjectVersion,
    pub(super) condition: Condition,
}

#[async_trait]
impl Write for CompleteUpload {
    type Output = Vec<String>;
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Vec<String>, IndexError> {
        let mut dropped = end(&mut *db, &self.upload_id).await?;
        let was_part = |blob: &Blob| dropped.contains(&blob.id);
        if !self.version.blobs.iter().all(was_part) {
            return Err(parts_changed(&self.upload_id));
        }
        dropped.extend(versions::put(&mut *db, &self.version, &self.condition).await?);
        versions::orphans(db, dropped.into_iter().collect()).await
    }
}

pub(super) struct AbortUpload(pub(super) String);

#[async_trait]
impl Write for AbortUpload {
    type Output = Vec<String>;
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Vec<String>, IndexError> {
        let dropped = end(&mut *db, &self.0).await?;
        versions::orphans(db, dropped.into_iter().collect()).await
    }
}

/// Removes an upload with its parts, and returns their blobs.
async fn end(db: &mut SqliteConnection, upload_id: &str) -> Result<BTreeSet<String>, IndexError> {
    let blobs: Vec<String> =
        sqlx::query_scalar("delete from parts where upload_id = $1 returning blob_id")
            .bind(upload_id)
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
    let done = sqlx::query("delete from uploads where id = $1").bind(upload_id).execute(db).await;
    match done.map_err(failed)?.rows_affected() {
        0 => Err(no_upload(upload_id)),
        _ => Ok(blobs.into_iter().collect()),
    }
}

fn owner(upload_id: &str) -> Owner<'_> {
    Owner { kind: "upload", key: upload_id }
}

#[derive(FromRow)]
struct UploadRow {
    id: String,
    bucket: String,
    key: String,
    created_at: i64,
    attributes: String,
    checksum_algorithm: Option<String>,
}

impl UploadRow {
    fn upload(self) -> Result<Upload, StoreError> {
        Ok(Upload {
            attributes: owner(&self.id).of_json(&self.attributes)?,
            id: self.id,
            bucket: self.bucket,
            key: self.key,
            created_at: Timestamp(self.created_at),
            checksum_algorithm: self.checksum_algorithm,
        })
    }
}

#[derive(FromRow)]
struct PartRow {
    upload_id: String,
    number: i64,
    blob_id: String,
    size: i64,
    etag: String,
    modified_at: i64,
    checksums: String,
}

impl PartRow {
    fn part(self) -> Result<Part, StoreError> {
        Ok(Part {
            number: of_column(self.number)?,
            blob: Blob { id: self.blob_id, size: of_column(self.size)? },
            etag: self.etag,
            modified_at: Timestamp(self.modified_at),
            checksums: owner(&self.upload_id).of_json(&self.checksums)?,
        })
    }
}
