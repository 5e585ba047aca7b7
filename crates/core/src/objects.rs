//! Bytes in buckets: the store of objects, and the index over its blobs.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::store::StoreError;

/// Bytes as they come; an error ends the stream.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Reads and writes whole objects, for the parts of sagebrush that are not the S3 front door.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// Returns what is known of the newest version of an object.
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError>;

    /// Returns an object's bytes, or those of `range`, as a stream.
    async fn get(
        &self,
        at: &ObjectRef,
        range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError>;

    /// Stores an object. It is visible whole or not at all, and durable when this returns.
    async fn put(
        &self,
        at: &ObjectRef,
        content_type: Option<&str>,
        body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError>;

    async fn delete(&self, at: &ObjectRef) -> Result<(), ObjectError>;

    /// Returns up to `limit` objects whose key starts with `prefix` and sorts behind `after`.
    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError>;

    /// Counts the writes and deletes so far, before any of them is acknowledged: what was looked
    /// up at a count is still so while the count is the same.
    fn changes(&self) -> u64;
}

/// Where an object is: `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    pub bucket: String,
    pub key: String,
}

impl ObjectRef {
    /// Reads `s3://bucket/key`; the key may be empty or a prefix.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let (bucket, key) = uri.strip_prefix("s3://")?.split_once('/')?;
        let named = !bucket.is_empty();
        named.then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    pub key: String,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified_at: Timestamp,
    pub content_type: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("no such bucket: {0}")]
    NoSuchBucket(String),
    #[error("no such object: {0}")]
    NoSuchKey(ObjectRef),
    #[error("not enough space is left")]
    Full,
    #[error("the object store failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The index over the blobs: buckets, versions of objects, uploads under way.
///
/// Each method is one transaction, durable when it returns. Every implementation passes
/// `object_index_contract!` of the `store` crate. Keys sort by their bytes.
#[async_trait]
pub trait ObjectIndex: Send + Sync + 'static {
    /// `IndexError::BucketExists` if the name is taken.
    async fn create_bucket(&self, bucket: Bucket) -> Result<(), IndexError>;
    async fn bucket(&self, name: &str) -> Result<Option<Bucket>, IndexError>;
    /// All buckets, by name.
    async fn buckets(&self) -> Result<Vec<Bucket>, IndexError>;
    /// Replaces a bucket's versioning state and documents; `IndexError::NoSuchBucket`.
    async fn update_bucket(&self, bucket: Bucket) -> Result<(), IndexError>;
    /// `IndexError::BucketNotEmpty` while it has a version, a marker or an upload.
    async fn delete_bucket(&self, name: &str) -> Result<(), IndexError>;

    /// Makes `version` the newest of its key, if `condition` holds for the one before.
    ///
    /// An earlier version with the same id is replaced. Returns the blobs that nothing refers to
    /// any more.
    async fn put_version(
        &self,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError>;
    /// The named version, or the newest one (which may be a delete marker).
    async fn version(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<ObjectVersion>, IndexError>;
    /// Replaces a version's `attributes` in place, for tags.
    async fn set_attributes(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
        attributes: Attributes,
    ) -> Result<(), IndexError>;
    /// Removes one version and returns it; the one before becomes the newest.
    async fn remove_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<ObjectVersion>, IndexError>;
    /// The newest versions that are no delete markers, folded at `delimiter`.
    async fn list(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError>;
    /// All versions and markers, by key and then newest first, folded at `delimiter`.
    async fn list_versions(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError>;

    async fn create_upload(&self, upload: Upload) -> Result<(), IndexError>;
    async fn upload(&self, upload_id: &str) -> Result<Option<Upload>, IndexError>;
    /// The uploads of a bucket under `prefix`, by key and then id.
    async fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, IndexError>;
    /// Stores a part; returns the blob that it replaces. `IndexError::NoSuchUpload`.
    async fn put_part(&self, upload_id: &str, part: Part) -> Result<Option<String>, IndexError>;
    /// The parts of an upload, by number.
    async fn parts(&self, upload_id: &str) -> Result<Vec<Part>, IndexError>;
    /// Ends an upload with `version` made of some of its parts. Returns the blobs that nothing
    /// refers to any more. `IndexError::NoSuchUpload` if it was ended before.
    async fn complete_upload(
        &self,
        upload_id: &str,
        version: ObjectVersion,
        condition: Condition,
    ) -> Result<Vec<String>, IndexError>;
    /// Ends an upload without an object; returns the blobs of its parts.
    async fn abort_upload(&self, upload_id: &str) -> Result<Vec<String>, IndexError>;

    /// Of `blobs`, those that no version and no part refers to: what a crash left behind.
    async fn unreferenced(&self, blobs: Vec<String>) -> Result<Vec<String>, IndexError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub region: String,
    pub created_at: Timestamp,
    pub versioning: Versioning,
    /// Configurations that are stored and returned: `cors`, `lifecycle`, `tagging`, `policy`.
    pub documents: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Versioning {
    #[default]
    Off,
    Enabled,
    Suspended,
}

/// A version of an object, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    pub bucket: String,
    pub key: String,
    /// `null` for versions written while versioning is off or suspended.
    pub version_id: String,
    pub is_delete_marker: bool,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified_at: Timestamp,
    /// The bytes, in this order.
    pub blobs: Vec<Blob>,
    pub attributes: Attributes,
}

/// A run of bytes in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub id: String,
    pub size: u64,
}

/// What a client says about an object besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub content_language: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
    pub storage_class: Option<String>,
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    pub metadata: BTreeMap<String, String>,
    /// Base64, by algorithm: `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`.
    pub checksums: BTreeMap<String, String>,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub checksum_type: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// The sizes of the parts it was uploaded in; empty for a single put.
    pub part_sizes: Vec<u64>,
}

/// What must hold of a key's newest version for a write to go through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    #[default]
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match: <etag>`, without quotes.
    Etag(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only what sorts behind this key or common prefix.
    pub after: Option<String>,
    /// For `list_versions`: only what comes behind this version of the key `after`.
    pub after_version: Option<String>,
    pub limit: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub versions: Vec<ListedVersion>,
    pub common_prefixes: Vec<String>,
    /// The last key or common prefix of this page, when there are more.
    pub next: Option<ListMarker>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    pub version: ObjectVersion,
    pub is_latest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListMarker {
    pub key: String,
    /// Set by `list_versions`, unless the page ended with a common prefix.
    pub version_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    pub id: String,
    pub bucket: String,
    pub key: String,
    pub created_at: Timestamp,
    pub attributes: Attributes,
    /// `CRC32`, when the client named one.
    pub checksum_algorithm: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub blob: Blob,
    pub etag: String,
    pub modified_at: Timestamp,
    /// Base64, by algorithm.
    pub checksums: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("bucket `{0}` exists")]
    BucketExists(String),
    #[error("bucket `{0}` is not empty")]
    BucketNotEmpty(String),
    #[error("no such bucket: {0}")]
    NoSuchBucket(String),
    #[error("no such key: {0}")]
    NoSuchKey(String),
    #[error("no such upload: {0}")]
    NoSuchUpload(String),
    #[error("the condition of the write does not hold")]
    ConditionFailed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::ObjectRef;

    #[test]
    fn reads_s3_uris() {
        let at = ObjectRef::parse("s3://b/a/k.tar.gz").unwrap();
        assert_eq!((at.bucket.as_str(), at.key.as_str()), ("b", "a/k.tar.gz"));
        assert_eq!(at.to_string(), "s3://b/a/k.tar.gz");
        assert!(ObjectRef::parse("s3:///k").is_none());
        assert!(ObjectRef::parse("http://b/k").is_none());
        assert!(ObjectRef::parse("s3://b").is_none());
    }
}
