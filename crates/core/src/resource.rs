//! Types over the store: `Table<Endpoint>`, `Table<Model>`.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Cursor, MetaStore, Page, Query, Record, RecordId, StoreError};
use crate::{Clock, Region, Timestamp};

/// A kind of thing that the store keeps.
pub trait Resource: Send + Sync + 'static {
    /// `endpoint`, as in the ARN.
    const KIND: &'static str;
    /// The client's half.
    type Spec: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// Our half.
    type Status: Serialize + DeserializeOwned + Clone + Send + Sync + Default;

    /// What makes a name unique. Override it where the name's case does not count.
    #[must_use]
    fn key(name: &str) -> String {
        name.to_owned()
    }

    /// The word of the status column, by which lists filter and sort.
    fn status_word(status: &Self::Status) -> &str;
}

/// A record with its two halves read.
#[derive(Debug, Clone)]
pub struct Stored<R: Resource> {
    pub region: Region,
    pub name: String,
    /// 0 until it is stored.
    pub version: u64,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    pub spec: R::Spec,
    pub status: R::Status,
    pub tags: BTreeMap<String, String>,
}

/// The resources of one kind.
pub struct Table<R> {
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    kind: PhantomData<fn() -> R>,
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), clock: self.clock.clone(), kind: PhantomData }
    }
}

impl<R: Resource> Table<R> {
    #[must_use]
    pub fn new(store: Arc<dyn MetaStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, kind: PhantomData }
    }

    pub async fn get(&self, region: &Region, name: &str) -> Result<Option<Stored<R>>, StoreError> {
        self.store.get(&id::<R>(region, name)).await?.map(read).transpose()
    }

    /// The resource whose name differs from `name` in its case at most, as ARNs name it.
    pub async fn get_ignoring_case(
        &self,
        region: &Region,
        name: &str,
    ) -> Result<Option<Stored<R>>, StoreError> {
        let region = Some(region.clone());
        let query = Query { region, name_contains: Some(name.to_owned()), ..Query::default() };
        let (alike, _) = self.list(&query).await?;
        Ok(alike.into_iter().find(|stored| stored.name.eq_ignore_ascii_case(name)))
    }

    /// Stores a new resource; `StoreError::Conflict` if its name is taken.
    pub async fn create(
        &self,
        region: &Region,
        name: &str,
        spec: R::Spec,
        tags: BTreeMap<String, String>,
    ) -> Result<Stored<R>, StoreError> {
        let now = self.clock.now();
        let new = Stored {
            region: region.clone(),
            name: name.to_owned(),
            version: 0,
            created_at: now,
            modified_at: now,
            spec,
            status: R::Status::default(),
            tags,
        };
        self.write(new).await
    }

    /// Stores what was changed since it was read, and moves the time of modification.
    ///
    /// `StoreError::Conflict` if somebody else changed or removed it in between.
    pub async fn update(&self, mut stored: Stored<R>) -> Result<Stored<R>, StoreError> {
        stored.modified_at = self.clock.now();
        self.write(stored).await
    }

    /// Stores changed tags; they do not move the time of modification.
    pub async fn retag(&self, stored: Stored<R>) -> Result<Stored<R>, StoreError> {
        self.write(stored).await
    }

    pub async fn remove(&self, stored: &Stored<R>) -> Result<(), StoreError> {
        self.store.remove(&id::<R>(&stored.region, &stored.name), stored.version).await
    }

    pub async fn list(
        &self,
        query: &Query,
    ) -> Result<(Vec<Stored<R>>, Option<Cursor>), StoreError> {
        let Page { records, next } = self.store.list(R::KIND, query).await?;
        let stored = records.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok((stored, next))
    }

    /// All of them, in every region, by name.
    pub async fn all(&self) -> Result<Vec<Stored<R>>, StoreError> {
        Ok(self.list(&Query::default()).await?.0)
    }

    async fn write(&self, mut stored: Stored<R>) -> Result<Stored<R>, StoreError> {
        self.store.put(record(&stored)?, stored.version).await?;
        stored.version += 1;
        Ok(stored)
    }
}

fn id<R: Resource>(region: &Region, name: &str) -> RecordId {
    RecordId { kind: R::KIND.to_owned(), region: region.clone(), key: R::key(name) }
}

fn record<R: Resource>(stored: &Stored<R>) -> Result<Record, StoreError> {
    let id = id::<R>(&stored.region, &stored.name);
    let spec = serde_json::to_string(&stored.spec).map_err(|source| corrupt(&id, source))?;
    let status_doc =
        serde_json::to_string(&stored.status).map_err(|source| corrupt(&id, source))?;
    Ok(Record {
        id,
        name: stored.name.clone(),
        version: stored.version,
        status: R::status_word(&stored.status).to_owned(),
        created_at: stored.created_at,
        modified_at: stored.modified_at,
        spec,
        status_doc,
        tags: stored.tags.clone(),
    })
}

fn read<R: Resource>(record: Record) -> Result<Stored<R>, StoreError> {
    let spec = serde_json::from_str(&record.spec).map_err(|source| corrupt(&record.id, source))?;
    let status =
        serde_json::from_str(&record.status_doc).map_err(|source| corrupt(&record.id, source))?;
    Ok(Stored {
        region: record.id.region,
        name: record.name,
        version: record.version,
        created_at: record.created_at,
        modified_at: record.modified_at,
        spec,
        status,
        tags: record.tags,
    })
}

fn corrupt(id: &RecordId, source: serde_json::Error) -> StoreError {
    StoreError::Corrupt { kind: id.kind.clone(), key: id.key.clone(), source }
}
