//! What is known about the world: versioned records under a kind, a region and a key.

use std::collections::BTreeMap;
use std::io;

use async_trait::async_trait;

use crate::{Region, Timestamp};

/// Keeps records. `put` with an expected version is the only rule of concurrency.
///
/// Every implementation passes `meta_store_contract!` of the `store` crate.
#[async_trait]
pub trait MetaStore: Send + Sync + 'static {
    /// Returns the record, or `None` when there is none.
    async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError>;

    /// Writes the record if the stored version is `expected` (0: the record must not exist).
    ///
    /// The record is stored, and returned by later reads, with version `expected + 1`. When this
    /// returns `Ok` the record survives `kill -9` and loss of power.
    async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError>;

    /// Removes the record if the stored version is `expected`.
    async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError>;

    /// Returns one page, ordered as `query` says.
    async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError>;
}

/// What names a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// `endpoint`, as in the ARN.
    pub kind: String,
    pub region: Region,
    /// What is unique; for a name that ignores case, its lower case.
    pub key: String,
}

/// A row: the shared columns of all resources, and two JSON documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub id: RecordId,
    /// The name as its owner wrote it; lists sort and filter by it.
    pub name: String,
    /// 1 for a new record; one more with each write. Ignored by `put`.
    pub version: u64,
    /// `InService`; empty for a resource without states.
    pub status: String,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    /// JSON: the client's half.
    pub spec: String,
    /// JSON: our half.
    pub status_doc: String,
    pub tags: BTreeMap<String, String>,
}

/// Which records to list, in which order, how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `None`: all regions.
    pub region: Option<Region>,
    /// Case-insensitive.
    pub name_contains: Option<String>,
    pub status: Option<String>,
    /// Bounds are exclusive, as in SageMaker's `CreationTimeAfter`.
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    pub modified_after: Option<Timestamp>,
    pub modified_before: Option<Timestamp>,
    pub sort_by: SortBy,
    pub descending: bool,
    /// 0: no limit.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

/// The column to sort by; ties are broken by region and key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    #[default]
    Name,
    CreationTime,
    LastModifiedTime,
    Status,
}

/// The place of the last record of a page in the order of its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The sort column's value; a time as milliseconds in decimal.
    pub value: String,
    pub region: Region,
    pub key: String,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Record>,
    /// Set when there are more.
    pub next: Option<Cursor>,
}

impl Cursor {
    /// The place of `record` in a list that is sorted by `sort_by`.
    #[must_use]
    pub fn at(record: &Record, sort_by: SortBy) -> Self {
        let value = match sort_by {
            SortBy::Name => record.name.clone(),
            SortBy::CreationTime => record.created_at.0.to_string(),
            SortBy::LastModifiedTime => record.modified_at.0.to_string(),
            SortBy::Status => record.status.clone(),
        };
        Self { value, region: record.id.region.clone(), key: record.id.key.clone() }
    }
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record is there already, is gone, or was changed since it was read.
    #[error("`{kind}/{key}` is at version {stored}, not {expected}")]
    Conflict { kind: String, key: String, expected: u64, stored: u64 },
    #[error("`{kind}/{key}` holds a document that cannot be read")]
    Corrupt {
        kind: String,
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the store is full")]
    Full,
    #[error("the store failed")]
    Io(#[source] io::Error),
}
