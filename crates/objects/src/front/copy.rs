//! Objects and parts out of other objects.

use std::io;

use futures::StreamExt as _;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, StdError, s3_error};
use sagebrush_core::objects::{
    Attributes, Bucket as BucketRow, Condition, ObjectVersion as VersionRow,
};

use super::attributes::{attributes_of, check_key};
use super::checksums::{algorithm, show_checksums};
use super::conditions::Conditions;
use super::errors::{index_error, io_error, write_error};
use super::objects::MAX_PUT;
use super::{Answer, Front, attributes, etag, shown_version, time};
use crate::blobs::NewBlob;
use crate::digest::{Algorithm, Digests, Sums};
use crate::news::Happened;

/// The object to copy.
struct Source<'a> {
    bucket: BucketRow,
    key: &'a str,
    version_id: Option<&'a str>,
    conditions: Conditions<'a>,
}

/// The source of either kind of copy, out of its input.
macro_rules! source {
    ($front:expr, $input:expr) => {{
        let input = &$input;
        $crate::front::attributes::refuse_customer_keys(
            input.copy_source_sse_customer_algorithm.is_some(),
        )?;
        let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "Only copies from a bucket are implemented"));
        };
        let owner = input.expected_source_bucket_owner.as_deref();
        Source {
            bucket: $front.bucket(bucket, owner).await?,
            key,
            version_id: version_id.as_deref(),
            conditions: Conditions {
                if_match: input.copy_source_if_match.as_ref(),
                if_none_match: input.copy_source_if_none_match.as_ref(),
                if_modified_since: input.copy_source_if_modified_since.as_ref(),
                if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
            },
        }
    }};
}

impl Front {
    /// Copies by linking the blobs, so that it costs the same for any size.
    ///
    /// The copy keeps the source's `ETag`. AWS gives a copy of an object that was uploaded in parts
    /// a new one; that would mean to read it all.
    pub(super) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> Answer<CopyObjectOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        check_key(&input.key)?;
        let source = source!(self, input);
        let named = input.checksum_algorithm.as_ref();
        let named = named.map(|named| algorithm(named.as_str())).transpose()?;

        let (from, copies) = self.link(&source, &input).await?;
        let mut version = self.objects.new_version(&bucket, &input.key);
        version.size = from.size;
        version.etag = from.etag.clone();
        version.blobs = copies.iter().map(NewBlob::blob).collect();
        version.attributes = attributes_of_copy(&input, &from.attributes)?;
        if let Some(wanted) = named.filter(|wanted| !has(&version.attributes, *wanted)) {
            let sums = self.checksum(&version, wanted).await?;
            version.attributes.checksums = sums.checksums;
            version.attributes.checksum_type = Some("FULL_OBJECT".to_owned());
        }

        let mut result = CopyObjectResult {
            e_tag: Some(etag(&version.etag)),
            last_modified: Some(time(version.modified_at)),
            checksum_type: version.attributes.checksum_type.clone().map(ChecksumType::from),
            ..CopyObjectResult::default()
        };
        show_checksums!(result, version.attributes.checksums);
        let output = CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: shown_version(&source.bucket, &from.version_id),
            version_id: shown_version(&bucket, &version.version_id),
            ..CopyObjectOutput::default()
        };
        let put = self.objects.put_version(version, copies, Condition::None, Happened::Copied);
        put.await.map_err(index_error)?;
        Ok(S3Response::new(output))
    }

    /// Links the blobs of the source; looks again when it was replaced in between.
    async fn link(
        &self,
        source: &Source<'_>,
        input: &CopyObjectInput,
    ) -> S3Result<(VersionRow, Vec<NewBlob>)> {
        let mut attempts = 8;
        loop {
            let from = self.version(&source.bucket, source.key, source.version_id).await?;
            source.conditions.check_source(&from)?;
            check_copyable(&from, source, input)?;
            match self.objects.blobs.copy(&from.blobs).await {
                Ok(copies) => return Ok((from, copies)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 1 => {
                    attempts -= 1;
                }
                Err(error) => return Err(io_error(error)),
            }
        }
    }

    /// Reads what is about to be a version, for its checksum.
    async fn checksum(&self, version: &VersionRow, algorithm: Algorithm) -> S3Result<Sums> {
        let read = self.objects.blobs.read(&version.blobs, 0..version.size).await;
        let mut reader = read.map_err(io_error)?;
        let mut digests = Digests::new([algorithm]);
        while let Some(chunk) = reader.next().await {
            digests.update(&chunk.map_err(io_error)?);
        }
        Ok(digests.finish())
    }

    pub(super) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> Answer<UploadPartCopyOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let number = super::multipart::part_number(input.part_number)?;
        let upload = self.upload(&input.upload_id, &input.bucket, &input.key).await?;
        let source = source!(self, input);

        let find = || self.version(&source.bucket, source.key, source.version_id);
        let choose = |version: &VersionRow| {
            source.conditions.check_source(version)?;
            range(input.copy_source_range.as_deref(), version.size)
        };
        let opened = self.objects.open_version(find, choose, io_error).await;
        let (from, reader) = opened?;
        let named = upload.checksum_algorithm.as_deref().unwrap_or("CRC64NVME");
        let digests = Digests::new([algorithm(named)?]);
        let body = reader.map(|chunk| chunk.map_err(StdError::from));
        let written = self.objects.blobs.write(body, digests, MAX_PUT).await;
        let (blob, sums) = written.map_err(write_error)?;

        let part = self.put_part(&upload.id, number, blob, &sums).await?;
        let mut result = CopyPartResult {
            e_tag: Some(etag(&part.etag)),
            last_modified: Some(time(part.modified_at)),
            ..CopyPartResult::default()
        };
        if upload.checksum_algorithm.is_some() {
            show_checksums!(result, part.checksums);
        }
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: shown_version(&source.bucket, &from.version_id),
            ..UploadPartCopyOutput::default()
        }))
    }
}

/// What AWS refuses: too much at once, and a copy of an object onto itself that changes nothing.
fn check_copyable(from: &VersionRow, source: &Source<'_>, input: &CopyObjectInput) -> S3Result<()> {
    if from.size > MAX_PUT {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy \
             source: {MAX_PUT}"
        ));
    }
    let onto_itself = source.bucket.name == input.bucket && source.key == input.key;
    let changes = is_replaced(input.metadata_directive.as_ref().map(MetadataDirective::as_str))
        || is_replaced(input.tagging_directive.as_ref().map(TaggingDirective::as_str))
        || input.storage_class.is_some()
        || input.website_redirect_location.is_some()
        || input.server_side_encryption.is_some()
        || source.version_id.is_some();
    if onto_itself && !changes {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location or \
             encryption attributes."
        ));
    }
    Ok(())
}

/// The source's attributes, or those of the request, as its directives say.
fn attributes_of_copy(input: &CopyObjectInput, from: &Attributes) -> S3Result<Attributes> {
    let given = attributes_of!(*input);
    let replaced = is_replaced(input.metadata_directive.as_ref().map(MetadataDirective::as_str));
    let retagged = is_replaced(input.tagging_directive.as_ref().map(TaggingDirective::as_str));
    let tags = if retagged { given.tags.clone() } else { from.tags.clone() };
    let class = attributes::storage_class(input.storage_class.as_ref().map(StorageClass::as_str))?;
    let mut attributes = if replaced { given } else { from.clone() };
    attributes.tags = tags;
    // These two follow no directive.
    attributes.storage_class = class;
    attributes.website_redirect.clone_from(&input.website_redirect_location);
    attributes.checksums.clone_from(&from.checksums);
    attributes.checksum_type.clone_from(&from.checksum_type);
    attributes.part_sizes.clone_from(&from.part_sizes);
    Ok(attributes)
}

fn is_replaced(directive: Option<&str>) -> bool {
    directive == Some("REPLACE")
}

fn has(attributes: &Attributes, algorithm: Algorithm) -> bool {
    attributes.checksums.contains_key(algorithm.name())
}

/// The range of a part copy: `bytes=first-last`, all of it within the source.
fn range(header: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(header) = header else {
        return Ok(0..size);
    };
    match Range::parse(header) {
        Ok(Range::Int { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        _ => Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy, for a \
             source of {size} bytes"
        )),
    }
}
