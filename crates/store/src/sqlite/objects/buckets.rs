//! Buckets in rows.

use async_trait::async_trait;
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{Bucket, IndexError};
use sagebrush_core::store::StoreError;
use sqlx::{FromRow, SqliteConnection, SqlitePool};

use super::require_bucket;
use crate::sqlite::codec::{Owner, versioning_of, versioning_word};
use crate::sqlite::error::failed;
use crate::sqlite::writer::Write;

pub(super) async fn find(db: &SqlitePool, name: &str) -> Result<Option<Bucket>, IndexError> {
    let row = sqlx::query_as::<_, Row>("select * from buckets where name = $1")
        .bind(name)
        .fetch_optional(db)
        .await
        .map_err(failed)?;
    Ok(row.map(Row::bucket).transpose()?)
}

pub(super) async fn all(db: &SqlitePool) -> Result<Vec<Bucket>, IndexError> {
    let rows = sqlx::query_as::<_, Row>("select * from buckets order by name");
    let rows = rows.fetch_all(db).await.map_err(failed)?;
    Ok(rows.into_iter().map(Row::bucket).collect::<Result<_, _>>()?)
}

pub(super) struct CreateBucket(pub(super) Bucket);

#[async_trait]
impl Write for CreateBucket {
    type Output = ();
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), IndexError> {
        let Self(bucket) = self;
        let done = sqlx::query(
            "insert into buckets (name, region, created_at, versioning, documents) \
             values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(&bucket.name)
        .bind(&bucket.region)
        .bind(bucket.created_at.0)
        .bind(versioning_word(bucket.versioning))
        .bind(owner(&bucket.name).to_json(&bucket.documents)?)
        .execute(db)
        .await
        .map_err(failed)?;
        match done.rows_affected() {
            0 => Err(IndexError::BucketExists(bucket.name.clone())),
            _ => Ok(()),
        }
    }
}

pub(super) struct UpdateBucket(pub(super) Bucket);

#[async_trait]
impl Write for UpdateBucket {
    type Output = ();
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), IndexError> {
        let Self(bucket) = self;
        let done =
            sqlx::query("update buckets set versioning = $2, documents = $3 where name = $1")
                .bind(&bucket.name)
                .bind(versioning_word(bucket.versioning))
                .bind(owner(&bucket.name).to_json(&bucket.documents)?)
                .execute(db)
                .await
                .map_err(failed)?;
        match done.rows_affected() {
            0 => Err(IndexError::NoSuchBucket(bucket.name.clone())),
            _ => Ok(()),
        }
    }
}

pub(super) struct DeleteBucket(pub(super) String);

#[async_trait]
impl Write for DeleteBucket {
    type Output = ();
    type Error = IndexError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), IndexError> {
        let Self(name) = self;
        require_bucket(&mut *db, name).await?;
        let done = sqlx::query(
            "delete from buckets where name = $1 \
             and not exists (select 1 from versions where bucket = $1) \
             and not exists (select 1 from uploads where bucket = $1)",
        )
        .bind(name)
        .execute(db)
        .await
        .map_err(failed)?;
        match done.rows_affected() {
            0 => Err(IndexError::BucketNotEmpty(name.clone())),
            _ => Ok(()),
        }
    }
}

fn owner(name: &str) -> Owner<'_> {
    Owner { kind: "bucket", key: name }
}

#[derive(FromRow)]
struct Row {
    name: String,
    region: String,
    created_at: i64,
    versioning: String,
    documents: String,
}

impl Row {
    fn bucket(self) -> Result<Bucket, StoreError> {
        Ok(Bucket {
            documents: owner(&self.name).of_json(&self.documents)?,
            name: self.name,
            region: self.region,
            created_at: Timestamp(self.created_at),
            versioning: versioning_of(&self.versioning)?,
        })
    }
}
