//! The operations of S3 over [`Objects`]. The protocol itself is `s3s`'s.

mod acl;
mod attributes;
mod buckets;
mod checksums;
mod complete;
mod conditions;
mod config;
mod copy;
mod errors;
mod list;
mod multipart;
mod objects;
mod tags;
#[cfg(test)]
mod tests;
mod versions;

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{
    Bucket as BucketRow, IndexError, ObjectVersion as VersionRow, Versioning,
};

use self::errors::index_error;
use crate::backend::Objects;

/// S3 for one account.
#[derive(Clone)]
pub struct Front {
    objects: Objects,
    account: String,
    /// Where a bucket is whose creator says nothing.
    region: String,
}

type Answer<T> = S3Result<S3Response<T>>;

/// What we serve. `s3s` answers `NotImplemented` to the rest, naming the operation.
macro_rules! serve {
    ($($operation:ident: $input:ident -> $output:ident,)*) => {
        #[async_trait]
        impl S3 for Front {
            $(
                async fn $operation(&self, request: S3Request<$input>) -> Answer<$output> {
                    Front::$operation(self, request).await // The function below, not this one.
                }
            )*
        }
    };
}

serve! {
    list_buckets: ListBucketsInput -> ListBucketsOutput,
    create_bucket: CreateBucketInput -> CreateBucketOutput,
    head_bucket: HeadBucketInput -> HeadBucketOutput,
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput,
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput,

    put_object: PutObjectInput -> PutObjectOutput,
    get_object: GetObjectInput -> GetObjectOutput,
    head_object: HeadObjectInput -> HeadObjectOutput,
    get_object_attributes: GetObjectAttributesInput -> GetObjectAttributesOutput,
    copy_object: CopyObjectInput -> CopyObjectOutput,
    delete_object: DeleteObjectInput -> DeleteObjectOutput,
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput,

    list_objects: ListObjectsInput -> ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output,
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput,

    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput,
    upload_part: UploadPartInput -> UploadPartOutput,
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput,
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput,
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput,
    list_parts: ListPartsInput -> ListPartsOutput,
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput,

    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput,
    put_bucket_versioning: PutBucketVersioningInput -> PutBucketVersioningOutput,

    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput,
    put_object_tagging: PutObjectTaggingInput -> PutObjectTaggingOutput,
    delete_object_tagging: DeleteObjectTaggingInput -> DeleteObjectTaggingOutput,
    get_bucket_tagging: GetBucketTaggingInput -> GetBucketTaggingOutput,
    put_bucket_tagging: PutBucketTaggingInput -> PutBucketTaggingOutput,
    delete_bucket_tagging: DeleteBucketTaggingInput -> DeleteBucketTaggingOutput,

    get_bucket_cors: GetBucketCorsInput -> GetBucketCorsOutput,
    put_bucket_cors: PutBucketCorsInput -> PutBucketCorsOutput,
    delete_bucket_cors: DeleteBucketCorsInput -> DeleteBucketCorsOutput,
    get_bucket_lifecycle_configuration:
        GetBucketLifecycleConfigurationInput -> GetBucketLifecycleConfigurationOutput,
    put_bucket_lifecycle_configuration:
        PutBucketLifecycleConfigurationInput -> PutBucketLifecycleConfigurationOutput,
    delete_bucket_lifecycle: DeleteBucketLifecycleInput -> DeleteBucketLifecycleOutput,
    get_bucket_policy: GetBucketPolicyInput -> GetBucketPolicyOutput,
    put_bucket_policy: PutBucketPolicyInput -> PutBucketPolicyOutput,
    delete_bucket_policy: DeleteBucketPolicyInput -> DeleteBucketPolicyOutput,
    get_bucket_encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput,
    put_bucket_encryption: PutBucketEncryptionInput -> PutBucketEncryptionOutput,
    delete_bucket_encryption: DeleteBucketEncryptionInput -> DeleteBucketEncryptionOutput,
    get_public_access_block: GetPublicAccessBlockInput -> GetPublicAccessBlockOutput,
    put_public_access_block: PutPublicAccessBlockInput -> PutPublicAccessBlockOutput,
    delete_public_access_block: DeletePublicAccessBlockInput -> DeletePublicAccessBlockOutput,
    get_bucket_ownership_controls:
        GetBucketOwnershipControlsInput -> GetBucketOwnershipControlsOutput,
    put_bucket_ownership_controls:
        PutBucketOwnershipControlsInput -> PutBucketOwnershipControlsOutput,
    delete_bucket_ownership_controls:
        DeleteBucketOwnershipControlsInput -> DeleteBucketOwnershipControlsOutput,
    get_bucket_acl: GetBucketAclInput -> GetBucketAclOutput,
    get_object_acl: GetObjectAclInput -> GetObjectAclOutput,
}

impl Front {
    #[must_use]
    pub fn new(objects: Objects, account: String, region: String) -> Self {
        Self { objects, account, region }
    }

    /// Finds a bucket, which must be its expected owner's.
    async fn bucket(&self, name: &str, expected_owner: Option<&str>) -> S3Result<BucketRow> {
        if expected_owner.is_some_and(|owner| owner != self.account) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let bucket = self.objects.index.bucket(name).await.map_err(index_error)?;
        bucket.ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }

    /// Finds a version that has bytes: the named one or the newest.
    async fn version(
        &self,
        bucket: &BucketRow,
        key: &str,
        version_id: Option<&str>,
    ) -> S3Result<VersionRow> {
        let found = self.objects.index.version(&bucket.name, key, version_id).await;
        match found.map_err(index_error)? {
            Some(version) if version.is_delete_marker => {
                Err(errors::delete_marker(&version, version_id.is_some()))
            }
            Some(version) => Ok(version),
            None if version_id.is_some() => {
                Err(s3_error!(NoSuchVersion, "The specified version does not exist."))
            }
            None => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
        }
    }

    /// Says why a write did not go through. AWS tells an `If-Match` that found another object from
    /// one that found none.
    async fn write_refused(&self, bucket: &str, key: &str, error: IndexError) -> S3Error {
        if !matches!(error, IndexError::ConditionFailed) {
            return index_error(error);
        }
        let newest = self.objects.index.version(bucket, key, None).await;
        match newest {
            Ok(Some(version)) if !version.is_delete_marker => index_error(error),
            Ok(_) => s3_error!(NoSuchKey, "The specified key does not exist."),
            Err(error) => index_error(error),
        }
    }

    fn owner(&self) -> Owner {
        Owner { display_name: Some(self.account.clone()), id: Some(self.account.clone()) }
    }
}

/// The id of a version as answers show it: not at all where there was never versioning.
fn shown_version(bucket: &BucketRow, version_id: &str) -> Option<String> {
    let versioned = bucket.versioning != Versioning::Off;
    versioned.then(|| version_id.to_owned())
}

fn etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// S3's signed sizes; ours are never that big.
fn size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn time(at: sagebrush_core::Timestamp) -> Timestamp {
    let since = std::time::Duration::from_millis(u64::try_from(at.0).unwrap_or(0));
    Timestamp::from(std::time::UNIX_EPOCH + since)
}
