//! Puts something around each call of a store.

/// Implements both traits for `$type<S>` by way of `$around!(self, self.inner.call(..))`.
///
/// `$around!` may evaluate the call more than once; the arguments are cloned each time.
macro_rules! decorate {
    ($type:ident, $around:ident) => {
        #[async_trait]
        impl<S: MetaStore> MetaStore for $type<S> {
            async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
                $around!(self, self.inner.get(id))
            }
            async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError> {
                $around!(self, self.inner.put(record.clone(), expected))
            }
            async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
                $around!(self, self.inner.remove(id, expected))
            }
            async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
                $around!(self, self.inner.list(kind, query))
            }
        }

        #[async_trait]
        impl<S: ObjectIndex> ObjectIndex for $type<S> {
            async fn create_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
                $around!(self, self.inner.create_bucket(bucket.clone()))
            }
            async fn bucket(&self, name: &str) -> Result<Option<Bucket>, IndexError> {
                $around!(self, self.inner.bucket(name))
            }
            async fn buckets(&self) -> Result<Vec<Bucket>, IndexError> {
                $around!(self, self.inner.buckets())
            }
            async fn update_bucket(&self, bucket: Bucket) -> Result<(), IndexError> {
                $around!(self, self.inner.update_bucket(bucket.clone()))
            }
            async fn delete_bucket(&self, name: &str) -> Result<(), IndexError> {
                $around!(self, self.inner.delete_bucket(name))
            }
            async fn put_version(
                &self,
                version: ObjectVersion,
                condition: Condition,
            ) -> Result<Vec<String>, IndexError> {
                $around!(self, self.inner.put_version(version.clone(), condition.clone()))
            }
            async fn version(
                &self,
                bucket: &str,
                key: &str,
                version_id: Option<&str>,
            ) -> Result<Option<ObjectVersion>, IndexError> {
                $around!(self, self.inner.version(bucket, key, version_id))
            }
            async fn set_attributes(
                &self,
                bucket: &str,
                key: &str,
                version_id: &str,
                attributes: Attributes,
            ) -> Result<(), IndexError> {
                $around!(
                    self,
                    self.inner.set_attributes(bucket, key, version_id, attributes.clone())
                )
            }
            async fn remove_version(
                &self,
                bucket: &str,
                key: &str,
                version_id: &str,
            ) -> Result<Option<ObjectVersion>, IndexError> {
                $around!(self, self.inner.remove_version(bucket, key, version_id))
            }
            async fn list(&self, bucket: &str, query: &ListQuery) -> Result<Listing, IndexError> {
                $around!(self, self.inner.list(bucket, query))
            }
            async fn list_versions(
                &self,
                bucket: &str,
                query: &ListQuery,
            ) -> Result<Listing, IndexError> {
                $around!(self, self.inner.list_versions(bucket, query))
            }
            async fn create_upload(&self, upload: Upload) -> Result<(), IndexError> {
                $around!(self, self.inner.create_upload(upload.clone()))
            }
            async fn upload(&self, upload_id: &str) -> Result<Option<Upload>, IndexError> {
                $around!(self, self.inner.upload(upload_id))
            }
            async fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<Upload>, IndexError> {
                $around!(self, self.inner.uploads(bucket, prefix))
            }
            async fn put_part(
                &self,
                upload_id: &str,
                part: Part,
            ) -> Result<Option<String>, IndexError> {
                $around!(self, self.inner.put_part(upload_id, part.clone()))
            }
            async fn parts(&self, upload_id: &str) -> Result<Vec<Part>, IndexError> {
                $around!(self, self.inner.parts(upload_id))
            }
            async fn complete_upload(
                &self,
                upload_id: &str,
                version: ObjectVersion,
                condition: Condition,
            ) -> Result<Vec<String>, IndexError> {
                $around!(
                    self,
                    self.inner.complete_upload(upload_id, version.clone(), condition.clone())
                )
            }
            async fn abort_upload(&self, upload_id: &str) -> Result<Vec<String>, IndexError> {
                $around!(self, self.inner.abort_upload(upload_id))
            }
            async fn unreferenced(&self, blobs: Vec<String>) -> Result<Vec<String>, IndexError> {
                $around!(self, self.inner.unreferenced(blobs.clone()))
            }
        }
    };
}
pub(crate) use decorate;
