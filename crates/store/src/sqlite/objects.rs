//! The index of objects in rows.

mod buckets;
mod listing;
mod uploads;
mod versions;

use async_trait::async_trait;
use sagebrush_core::objects::{
    Attributes, Bucket, Condition, IndexError, ListQuery, Listing, ObjectIndex, ObjectVersion,
    Part, Upload,
};
use sqlx::SqliteExecutor;

use super::SqliteStore;
use super::error::failed;
use buckets::{CreateBucket, DeleteBucket, UpdateBucket};
use uploads::{AbortUpload, CompleteUpload, CreateUpload, PutPart};
use versions::{PutVersion, RemoveVersion, SetAttributes};

#[async_trait]
impl ObjectIndex for SqliteStore {
    async fn create_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.writer.write(CreateBucket(bucket)).await
    }

    async fn bucket(&self, name: &str) -> Result<Option<Bucket>, IndexError> {
        buckets::find(&self.readers, name).await
    }

    async fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        buckets::all(&self.readers).await
    }

    async fn update_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.writer.write(UpdateBucket(bucket)).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<(), IndexError> {
        self.writer.write(DeleteBucket(name.to_owned())).await
    }

    async fn put_version(
        &self,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError> {
        self.writer.write(PutVersion { version, condition }).await
    }

    async fn version(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        let found = versions::find(&self.readers, bucket, key, version_id).await?;
        if found.is_none() {
            require_bucket(&self.readers, bucket).await?;
        }
        Ok(found)
    }

    async fn set_attributes(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
        attributes: Attributes,
    ) -> Result<(), IndexError> {
        let (bucket, key, version_id) = (bucket.to_owned(), key.to_owned(), version_id.to_owned());
        self.writer.write(SetAttributes { bucket, key, version_id, attributes }).await
    }

    async fn remove_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        let (bucket, key, version_id) = (bucket.to_owned(), key.to_owned(), version_id.to_owned());
        self.writer.write(RemoveVersion { bucket, key, version_id }).await
    }

    async fn list(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError> {
        listing::list(&self.readers, bucket, query, false).await
    }

    async fn list_versions(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError> {
        listing::list(&self.readers, bucket, query, true).await
    }

    async fn create_upload(&self, upload: Upload) -> Result<(), IndexError> {
        self.writer.write(CreateUpload(upload)).await
    }

    async fn upload(&self, upload_id: &str) -> Result<Option<Upload>, IndexError> {
        uploads::find(&self.readers, upload_id).await
    }

    async fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, IndexError> {
        uploads::below(&self.readers, bucket, prefix).await
    }

    async fn put_part(&self, upload_id: &str, part: Part) -> Result<Option<String>, IndexError> {
        self.writer.write(PutPart { upload_id: upload_id.to_owned(), part }).await
    }

    async fn parts(&self, upload_id: &str) -> Result<Vec<Part>, IndexError> {
        uploads::parts(&self.readers, upload_id).await
    }

    async fn complete_upload(
        &self,
        upload_id: &str,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError> {
        let upload_id = upload_id.to_owned();
        self.writer.write(CompleteUpload { upload_id, version, condition }).await
    }

    async fn abort_upload(&self, upload_id: &str) -> Result<Vec<String>, IndexError> {
        self.writer.write(AbortUpload(upload_id.to_owned())).await
    }

    async fn unreferenced(&self, blobs: Vec<String>) -> Result<Vec<String>, IndexError> {
        versions::unreferenced(&self.readers, blobs).await
    }
}

async fn require_bucket(db: impl SqliteExecutor<'_>, name: &str) -> Result<(), IndexError> {
    let found: Option<i64> = sqlx::query_scalar("select 1 from buckets where name = $1")
        .bind(name)
        .fetch_optional(db)
        .await
        .map_err(failed)?;
    found.map(drop).ok_or_else(|| IndexError::NoSuchBucket(name.to_owned()))
}
