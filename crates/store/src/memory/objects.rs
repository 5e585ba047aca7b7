//! The index of objects in maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use sagebrush_core::objects::{
    Attributes, Bucket, Condition, IndexError, ListQuery, ListedVersion, Listing, ObjectVersion,
    Part, Upload,
};

use crate::listing::{Pager, Start, Step};
use crate::rules::{check_condition, no_upload, parts_changed, upload_exists};

#[derive(Debug, Default)]
pub(super) struct Objects {
    buckets: BTreeMap<String, Contents>,
    uploads: BTreeMap<String, Parts>,
    /// How many versions and parts refer to a blob.
    references: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Contents {
    bucket: Bucket,
    /// The versions of each key, the newest last; never empty.
    keys: BTreeMap<String, Vec<ObjectVersion>>,
}

#[derive(Debug)]
struct Parts {
    upload: Upload,
    parts: BTreeMap<u32, Part>,
}

impl Objects {
    pub(super) fn create_bucket(&mut self, bucket: Bucket) -> Result<(), IndexError> {
        if self.buckets.contains_key(&bucket.name) {
            return Err(IndexError::BucketExists(bucket.name));
        }
        let contents = Contents { bucket, keys: BTreeMap::new() };
        self.buckets.insert(contents.bucket.name.clone(), contents);
        Ok(())
    }

    pub(super) fn bucket(&self, name: &str) -> Option<Bucket> {
        self.buckets.get(name).map(|contents| contents.bucket.clone())
    }

    pub(super) fn buckets(&self) -> Vec<Bucket> {
        self.buckets.values().map(|contents| contents.bucket.clone()).collect()
    }

    pub(super) fn update_bucket(&mut self, bucket: Bucket) -> Result<(), IndexError> {
        let stored = &mut self.contents_mut(&bucket.name)?.bucket;
        stored.versioning = bucket.versioning;
        stored.documents = bucket.documents;
        Ok(())
    }

    pub(super) fn delete_bucket(&mut self, name: &str) -> Result<(), IndexError> {
        let has_upload = self.uploads.values().any(|parts| parts.upload.bucket == name);
        if has_upload || !self.contents(name)?.keys.is_empty() {
            return Err(IndexError::BucketNotEmpty(name.to_owned()));
        }
        self.buckets.remove(name);
        Ok(())
    }

    pub(super) fn put_version(
        &mut self,
        version: ObjectVersion,
        condition: &Condition,
    ) -> Result<Vec<String>, IndexError> {
        self.check(&version, condition)?;
        let replaced = self.insert(version)?;
        Ok(self.release(replaced))
    }

    pub(super) fn version(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        let Some(versions) = self.contents(bucket)?.keys.get(key) else {
            return Ok(None);
        };
        let found = match version_id {
            Some(id) => versions.iter().find(|version| version.version_id == id),
            None => versions.last(),
        };
        Ok(found.cloned())
    }

    pub(super) fn set_attributes(
        &mut self,
        bucket: &str,
        key: &str,
        version_id: &str,
        attributes: Attributes,
    ) -> Result<(), IndexError> {
        let versions = self.contents_mut(bucket)?.keys.get_mut(key).into_iter().flatten();
        let version = { versions }.find(|version| version.version_id == version_id);
        version.ok_or_else(|| IndexError::NoSuchKey(key.to_owned()))?.attributes = attributes;
        Ok(())
    }

    pub(super) fn remove_version(
        &mut self,
        bucket: &str,
        key: &str,
        version_id: &str,
    ) -> Result<Option<ObjectVersion>, IndexError> {
        let removed = self.contents_mut(bucket)?.take(key, version_id);
        if let Some(version) = &removed {
            self.release(blobs_of(version));
        }
        Ok(removed)
    }

    pub(super) fn list(
        &self,
        bucket: &str,
        query: &ListQuery,
        versions: bool,
    ) -> Result<Listing, IndexError> {
        let contents = self.contents(bucket)?;
        let mut pager = Pager::new(query, versions);
        let mut start = pager.start();
        while let Some(from) = start.take() {
            for row in contents.rows(&from, &query.prefix, versions) {
                match pager.offer(row) {
                    Step::Next => {}
                    Step::SkipTo(key) => {
                        start = Some(Start { key, behind: None });
                        break;
                    }
                    Step::Done => break,
                }
            }
        }
        Ok(pager.finish())
    }

    pub(super) fn create_upload(&mut self, upload: Upload) -> Result<(), IndexError> {
        self.contents(&upload.bucket)?;
        if self.uploads.contains_key(&upload.id) {
            return Err(upload_exists(&upload.id));
        }
        let parts = Parts { upload, parts: BTreeMap::new() };
        self.uploads.insert(parts.upload.id.clone(), parts);
        Ok(())
    }

    pub(super) fn upload(&self, upload_id: &str) -> Option<Upload> {
        self.uploads.get(upload_id).map(|parts| parts.upload.clone())
    }

    pub(super) fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, IndexError> {
        self.contents(bucket)?;
        let uploads = self.uploads.values().map(|parts| &parts.upload);
        let fits = |upload: &&Upload| upload.bucket == bucket && upload.key.starts_with(prefix);
        let mut uploads: Vec<Upload> = uploads.filter(fits).cloned().collect();
        uploads.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        Ok(uploads)
    }

    pub(super) fn put_part(
        &mut self,
        upload_id: &str,
        part: Part,
    ) -> Result<Option<String>, IndexError> {
        let parts = &mut self.uploads.get_mut(upload_id).ok_or_else(|| no_upload(upload_id))?.parts;
        let blob = part.blob.id.clone();
        let replaced = parts.insert(part.number, part).map(|part| part.blob.id);
        *self.references.entry(blob).or_default() += 1;
        Ok(self.release(replaced).pop())
    }

    pub(super) fn parts(&self, upload_id: &str) -> Result<Vec<Part>, IndexError> {
        let parts = self.uploads.get(upload_id).ok_or_else(|| no_upload(upload_id))?;
        Ok(parts.parts.values().cloned().collect())
    }

    pub(super) fn complete_upload(
        &mut self,
        upload_id: &str,
        version: ObjectVersion,
        condition: &Condition,
    ) -> Result<Vec<String>, IndexError> {
        let parts = self.uploads.get(upload_id).ok_or_else(|| no_upload(upload_id))?;
        let held: BTreeSet<&String> = parts.parts.values().map(|part| &part.blob.id).collect();
        if !version.blobs.iter().all(|blob| held.contains(&blob.id)) {
            return Err(parts_changed(upload_id));
        }
        self.check(&version, condition)?;
        let replaced = self.insert(version)?;
        let mut orphans = self.release(replaced);
        orphans.extend(self.abort_upload(upload_id)?);
        Ok(orphans)
    }

    pub(super) fn abort_upload(&mut self, upload_id: &str) -> Result<Vec<String>, IndexError> {
        let ended = self.uploads.remove(upload_id).ok_or_else(|| no_upload(upload_id))?;
        Ok(self.release(ended.parts.into_values().map(|part| part.blob.id)))
    }

    pub(super) fn unreferenced(&self, mut blobs: Vec<String>) -> Vec<String> {
        blobs.retain(|blob| !self.references.contains_key(blob));
        blobs
    }

    fn check(&self, version: &ObjectVersion, condition: &Condition) -> Result<(), IndexError> {
        let newest =
            self.contents(&version.bucket)?.keys.get(&version.key).and_then(|all| all.last());
        check_condition(condition, newest.map(|newest| (&*newest.etag, newest.is_delete_marker)))
    }

    /// Makes `version` the newest; returns the blobs of the one that it replaces.
    fn insert(&mut self, version: ObjectVersion) -> Result<Vec<String>, IndexError> {
        for blob in blobs_of(&version) {
            *self.references.entry(blob).or_default() += 1;
        }
        let contents = self.contents_mut(&version.bucket)?;
        let replaced = contents.take(&version.key, &version.version_id);
        contents.keys.entry(version.key.clone()).or_default().push(version);
        Ok(replaced.as_ref().map(blobs_of).unwrap_or_default())
    }

    /// Takes one reference from each of `blobs`; returns those that have none left.
    fn release(&mut self, blobs: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut orphans = Vec::new();
        for blob in blobs {
            let Some(count) = self.references.get_mut(&blob) else { continue };
            *count -= 1;
            if *count == 0 {
                self.references.remove(&blob);
                orphans.push(blob);
            }
        }
        orphans
    }

    fn contents(&self, bucket: &str) -> Result<&Contents, IndexError> {
        self.buckets.get(bucket).ok_or_else(|| IndexError::NoSuchBucket(bucket.to_owned()))
    }

    fn contents_mut(&mut self, bucket: &str) -> Result<&mut Contents, IndexError> {
        self.buckets.get_mut(bucket).ok_or_else(|| IndexError::NoSuchBucket(bucket.to_owned()))
    }
}

impl Contents {
    fn take(&mut self, key: &str, version_id: &str) -> Option<ObjectVersion> {
        let versions = self.keys.get_mut(key)?;
        let at = versions.iter().position(|version| version.version_id == version_id)?;
        let taken = versions.remove(at);
        if versions.is_empty() {
            self.keys.remove(key);
        }
        Some(taken)
    }

    /// The rows of a listing from `start` on, by key and then newest first.
    fn rows<'a>(
        &'a self,
        start: &'a Start,
        prefix: &'a str,
        versions: bool,
    ) -> impl Iterator<Item = ListedVersion> + 'a {
        let from = Bound::Included(start.key.as_str());
        let keys = self.keys.range::<str, _>((from, Bound::Unbounded));
        keys.take_while(move |(key, _)| key.starts_with(prefix)).flat_map(move |(key, all)| {
            let behind = start.behind.as_ref().filter(|_| *key == start.key);
            let at = behind.and_then(|id| all.iter().position(|version| version.version_id == *id));
            let end = at.unwrap_or(all.len());
            let rows = all.iter().enumerate().take(end).rev().map(|(at, version)| ListedVersion {
                version: version.clone(),
                is_latest: at + 1 == all.len(),
            });
            rows.filter(move |row| versions || row.is_latest && !row.version.is_delete_marker)
        })
    }
}

/// The blobs that a version refers to, each once.
fn blobs_of(version: &ObjectVersion) -> Vec<String> {
    let blobs: BTreeSet<&String> = version.blobs.iter().map(|blob| &blob.id).collect();
    blobs.into_iter().cloned().collect()
}
