//! The store of objects over blobs and their index.

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt as _;
use sagebrush_core::Clock;
use sagebrush_core::events::EventSink;
use sagebrush_core::objects::{
    Attributes, Bucket, ByteStream, Condition, IndexError, ListQuery, ObjectError, ObjectIndex,
    ObjectMeta, ObjectRef, ObjectStore, ObjectVersion, Versioning,
};
use sagebrush_core::store::StoreError;
use sagebrush_core::task;
use uuid::Uuid;

use crate::blobs::sweep::SweepError;
use crate::blobs::write::{NewBlob, WriteError, discard};
use crate::blobs::{BlobReader, Blobs};
use crate::digest::{Algorithm, Digests};
use crate::news::{Happened, News};

/// The id of versions that were written while versioning was not on.
pub(crate) const NULL_VERSION: &str = "null";

/// How often a reader looks again when the object it found was replaced before it was opened.
const READ_ATTEMPTS: usize = 8;

/// Buckets and objects on this machine's disk.
#[derive(Clone)]
pub struct Objects {
    pub(crate) index: Arc<dyn ObjectIndex>,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Arc<dyn Clock>,
    /// Counts changes of the index.
    changes: Arc<AtomicU64>,
    pub(crate) news: News,
}

impl Objects {
    /// Opens the blobs below `<data>/blobs`. Blocks; call it at start-up.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(
        data: &Path,
        index: Arc<dyn ObjectIndex>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let blobs = Blobs::open(data.join("blobs"))?;
        Ok(Self { index, blobs, clock, changes: Arc::default(), news: News::default() })
    }

    /// Tells `sink` what happens to objects, if anybody may want to know.
    pub fn tell(&self, sink: Arc<dyn EventSink>) {
        self.news.tell(sink);
    }

    /// Removes the blobs that a crash left behind, and says how many. Safe beside writers.
    ///
    /// # Errors
    /// When the blobs or the index cannot be read.
    pub async fn sweep(&self) -> Result<usize, SweepError> {
        self.blobs.sweep(&*self.index).await
    }

    /// Carries out a change of the index that refers to `new` blobs, to its end: a caller who
    /// goes away does not stop it halfway.
    ///
    /// The change returns the blobs that nothing refers to any more.
    pub(crate) async fn commit<F>(&self, new: Vec<NewBlob>, change: F) -> Result<(), IndexError>
    where
        F: Future<Output = Result<Vec<String>, IndexError>> + Send + 'static,
    {
        let (blobs, changes) = (self.blobs.clone(), self.changes.clone());
        let committed = task::spawn("object-commit", async move {
            let outcome = change.await;
            changes.fetch_add(1, Ordering::SeqCst); // Even a failed write may have come about.
            match outcome {
                Ok(orphans) => {
                    new.into_iter().for_each(NewBlob::keep);
                    blobs.remove(orphans).await;
                    Ok(())
                }
                Err(error @ IndexError::Store(_)) => {
                    // The row may be there or not; the next sweep knows.
                    new.into_iter().for_each(NewBlob::keep);
                    Err(error)
                }
                Err(error) => {
                    discard(new).await;
                    Err(error)
                }
            }
        });
        committed.await.map_err(lost)?
    }

    /// Makes `version` the newest of its key.
    pub(crate) async fn put_version(
        &self,
        version: ObjectVersion,
        new: Vec<NewBlob>,
        condition: Condition,
        happened: Happened,
    ) -> Result<(), IndexError> {
        let (index, clock) = (self.index.clone(), self.clock.clone());
        let news = self.news.listen().map(|listening| (listening, version.clone()));
        let change = async move {
            let orphans = index.put_version(version, condition).await?;
            if let Some((listening, version)) = news {
                listening.tell((&*index, &*clock), happened, &version).await;
            }
            Ok(orphans)
        };
        self.commit(new, change).await
    }

    /// Removes a version and its blobs, to the end, and returns what it was.
    pub(crate) async fn remove_version(
        &self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        let objects = self.clone();
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), version_id.to_owned());
        let news = self.news.listen();
        let removed = task::spawn("object-removal", async move {
            let removed = objects.index.remove_version(&bucket, &key, &id).await;
            objects.changes.fetch_add(1, Ordering::SeqCst);
            if let Ok(Some(version)) = &removed {
                let blobs = version.blobs.iter().map(|blob| blob.id.clone()).collect();
                objects.blobs.remove(blobs).await;
                if let Some(listening) = news {
                    let by = (&*objects.index, &*objects.clock);
                    listening.tell(by, Happened::Removed, version).await;
                }
            }
            removed
        });
        removed.await.map_err(lost)?
    }

    /// What a delete without a version does: a marker where there are versions, else a removal.
    ///
    /// Returns the id of the marker.
    pub(crate) async fn delete_newest(
        &self,
        bucket: &Bucket,
        key: &str,
    ) -> Result<Option<String>, IndexError> {
        if bucket.versioning == Versioning::Off {
            self.remove_version(&bucket.name, key, NULL_VERSION).await?;
            return Ok(None);
        }
        let marker = ObjectVersion { is_delete_marker: true, ..self.new_version(bucket, key) };
        let id = marker.version_id.clone();
        self.put_version(marker, Vec::new(), Condition::None, Happened::Marked).await?;
        Ok(Some(id))
    }

    /// An empty version of now, with an id as the bucket's versioning wants it.
    pub(crate) fn new_version(&self, bucket: &Bucket, key: &str) -> ObjectVersion {
        let version_id = match bucket.versioning {
            Versioning::Enabled => Uuid::new_v4().simple().to_string(),
            Versioning::Off | Versioning::Suspended => NULL_VERSION.to_owned(),
        };
        ObjectVersion {
            bucket: bucket.name.clone(),
            key: key.to_owned(),
            version_id,
            is_delete_marker: false,
            size: 0,
            etag: String::new(),
            modified_at: self.clock.now(),
            blobs: Vec::new(),
            attributes: Attributes::default(),
        }
    }

    /// Finds a version and opens the range that `choose` wants of it, if any.
    ///
    /// Looks again when the version was replaced in between.
    pub(crate) async fn open_version<E, F, Found, Choose>(
        &self,
        find: F,
        choose: Choose,
        fail: fn(io::Error) -> E,
    ) -> Result<(ObjectVersion, BlobReader), E>
    where
        F: Fn() -> Found,
        Found: Future<Output = Result<ObjectVersion, E>>,
        Choose: Fn(&ObjectVersion) -> Result<Range<u64>, E>,
    {
        let mut attempt = 1;
        loop {
            let version = find().await?;
            let range = choose(&version)?;
            match self.blobs.read(&version.blobs, range).await {
                Ok(reader) => return Ok((version, reader)),
                Err(error) => {
                    let replaced = error.kind() == io::ErrorKind::NotFound;
                    if !replaced || attempt == READ_ATTEMPTS {
                        return Err(fail(error));
                    }
                }
            }
            attempt += 1;
        }
    }

    async fn bucket(&self, name: &str) -> Result<Bucket, ObjectError> {
        let bucket = self.index.bucket(name).await?;
        bucket.ok_or_else(|| ObjectError::NoSuchBucket(name.to_owned()))
    }

    async fn newest(&self, at: &ObjectRef) -> Result<ObjectVersion, ObjectError> {
        self.bucket(&at.bucket).await?;
        let newest = self.index.version(&at.bucket, &at.key, None).await?;
        let newest = newest.filter(|version| !version.is_delete_marker);
        newest.ok_or_else(|| ObjectError::NoSuchKey(at.clone()))
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        Ok(meta(self.newest(at).await?))
    }

    async fn get(
        &self,
        at: &ObjectRef,
        range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        let choose = |version: &ObjectVersion| {
            let whole = 0..version.size;
            let range = range.clone().unwrap_or(whole);
            let end = range.end.min(version.size);
            Ok(range.start.min(end)..end)
        };
        let (version, reader) =
            self.open_version(|| self.newest(at), choose, ObjectError::Io).await?;
        Ok((meta(version), reader.boxed()))
    }

    async fn put(
        &self,
        at: &ObjectRef,
        content_type: Option<&str>,
        body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        let bucket = self.bucket(&at.bucket).await?;
        let digests = Digests::new([Algorithm::Crc64Nvme]);
        let written = self.blobs.write(body, digests, u64::MAX).await;
        let (blob, sums) = written.map_err(put_error)?;
        let attributes = Attributes {
            content_type: content_type.map(str::to_owned),
            checksum_type: Some("FULL_OBJECT".to_owned()),
            checksums: sums.checksums.clone(),
            ..Attributes::default()
        };
        let version = ObjectVersion {
            size: blob.blob().size,
            etag: sums.etag(),
            blobs: vec![blob.blob()],
            attributes,
            ..self.new_version(&bucket, &at.key)
        };
        self.put_version(version.clone(), vec![blob], Condition::None, Happened::Put)
            .await
            .map_err(index_error)?;
        Ok(meta(version))
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ObjectError> {
        let bucket = self.bucket(&at.bucket).await?;
        self.delete_newest(&bucket, &at.key).await.map_err(index_error)?;
        Ok(())
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        self.bucket(bucket).await?;
        let query = ListQuery {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
            ..ListQuery::default()
        };
        let listing = self.index.list(bucket, &query).await?;
        Ok(listing.versions.into_iter().map(|listed| meta(listed.version)).collect())
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

fn meta(version: ObjectVersion) -> ObjectMeta {
    ObjectMeta {
        key: version.key,
        size: version.size,
        etag: version.etag,
        modified_at: version.modified_at,
        content_type: version.attributes.content_type,
    }
}

fn put_error(error: WriteError<io::Error>) -> ObjectError {
    match error {
        WriteError::Io(error) if is_full(&error) => ObjectError::Full,
        WriteError::Body(error) | WriteError::Io(error) => ObjectError::Io(error),
        WriteError::TooLong(_) => ObjectError::Io(io::ErrorKind::FileTooLarge.into()),
    }
}

/// A task that panicked or was cut off.
fn lost(error: tokio::task::JoinError) -> IndexError {
    IndexError::Store(StoreError::Io(io::Error::other(error)))
}

fn index_error(error: IndexError) -> ObjectError {
    match error {
        IndexError::Store(StoreError::Full) => ObjectError::Full,
        IndexError::NoSuchBucket(name) => ObjectError::NoSuchBucket(name),
        error @ (IndexError::BucketExists(_)
        | IndexError::BucketNotEmpty(_)
        | IndexError::NoSuchKey(_)
        | IndexError::NoSuchUpload(_)
        | IndexError::ConditionFailed
        | IndexError::Store(_)) => ObjectError::Index(error),
    }
}

/// Whether the disk, or the owner's share of it, is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
