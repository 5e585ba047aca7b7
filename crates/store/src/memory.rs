//! Records and the index of objects in memory.

mod objects;
mod records;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sagebrush_core::objects::{
    Attributes, Bucket, Condition, IndexError, ListQuery, Listing, ObjectIndex, ObjectVersion,
    Part, Upload,
};
use sagebrush_core::store::{MetaStore, Page, Query, Record, RecordId, StoreError};

use objects::Objects;
use records::Records;

/// Keeps everything in memory; it is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: Mutex<Records>,
    objects: Mutex<Objects>,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        Ok(self.records().get(id))
    }

    async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError> {
        self.records().put(record, expected)
    }

    async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        self.records().remove(id, expected)
    }

    async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
        self.records().list(kind, query)
    }
}

#[async_trait]
impl ObjectIndex for MemoryStore {
    async fn create_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.objects().create_bucket(bucket)
    }

    async fn bucket(&self, name: &str) -> Result<Option<Bucket>, IndexError> {
        Ok(self.objects().bucket(name))
    }

    async fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
        Ok(self.objects().buckets())
    }

    async fn update_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
        self.objects().update_bucket(bucket)
    }

    async fn delete_bucket(&self, name: &str) -> Result<(), IndexError> {
        self.objects().delete_bucket(name)
    }

    async fn put_version(
        &self,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError> {
        self.objects().put_version(version, &condition)
    }

    async fn version(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        self.objects().version(bucket, key, version_id)
    }

    async fn set_attributes(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
        attributes: Attributes,
    ) -> Result<(), IndexError> {
        self.objects().set_attributes(bucket, key, version_id, attributes)
    }

    async fn remove_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        self.objects().remove_version(bucket, key, version_id)
    }

    async fn list(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError> {
        self.objects().list(bucket, query, false)
    }

    async fn list_versions(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError> {
        self.objects().list(bucket, query, true)
    }

    async fn create_upload(&self, upload: Upload) -> Result<(), IndexError> {
        self.objects().create_upload(upload)
    }

    async fn upload(&self, upload_id: &str) -> Result<Option<Upload>, IndexError> {
        Ok(self.objects().upload(upload_id))
    }

    async fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, IndexError> {
        self.objects().uploads(bucket, prefix)
    }

    async fn put_part(&self, upload_id: &str, part: Part) -> Result<Option<String>, IndexError> {
        self.objects().put_part(upload_id, part)
    }

    async fn parts(&self, upload_id: &str) -> Result<Vec<Part>, IndexError> {
        self.objects().parts(upload_id)
    }

    async fn complete_upload(
        &self,
        upload_id: &str,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError> {
        self.objects().complete_upload(upload_id, version, &condition)
    }

    async fn abort_upload(&self, upload_id: &str) -> Result<Vec<String>, IndexError> {
        self.objects().abort_upload(upload_id)
    }

    async fn unreferenced(&self, blobs: Vec<String>) -> Result<Vec<String>, IndexError> {
        Ok(self.objects().unreferenced(blobs))
    }
}
