//! One object at a time: put, get, head, delete.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use s3s::dto::*;
use s3s::stream::ByteStream as _;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{Attributes, Bucket as BucketRow, ObjectVersion as VersionRow};

use super::attributes::{attributes_of, check_key, read_expires};
use super::checksums::{Claims, claimed, show_checksums};
use super::conditions::{self, Conditions};
use super::errors::{custom, index_error, invalid_range, io_error, too_large, write_error};
use super::{Answer, Front, count, etag, shown_version, size, time};
use crate::blobs::read::BodyReader;
use crate::blobs::write::{NewBlob, discard};
use crate::digest::Sums;
use crate::news::Happened;

/// The most that one request may carry.
pub(super) const MAX_PUT: u64 = 5 << 30;

/// AWS's most for one `DeleteObjects`.
const MAX_DELETES: usize = 1000;

/// An output that tells all there is to tell of a version.
macro_rules! described {
    ($output:ident, $version:expr, $bucket:expr, $wanted:expr, $checksum_mode:expr) => {{
        let (version, wanted) = (&$version, &$wanted);
        let attributes = &version.attributes;
        let metadata = attributes.metadata.clone();
        let mut output = $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control.clone(),
            content_disposition: attributes.content_disposition.clone(),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_length: Some(size(wanted.length())),
            content_range: wanted.content_range(version.size),
            content_type: Some(content_type(attributes)),
            e_tag: Some(etag(&version.etag)),
            expires: read_expires(attributes.expires.as_deref()),
            last_modified: Some(time(version.modified_at)),
            metadata: (!metadata.is_empty()).then(|| metadata.into_iter().collect()),
            parts_count: wanted.parts.map(count),
            storage_class: attributes.storage_class.clone().map(StorageClass::from),
            version_id: shown_version(&$bucket, &version.version_id),
            website_redirect_location: attributes.website_redirect.clone(),
            ..$output::default()
        };
        // The checksum of the whole says nothing about a part of it.
        if $checksum_mode.is_some() && output.content_range.is_none() {
            show_checksums!(output, attributes.checksums);
            output.checksum_type = attributes.checksum_type.clone().map(ChecksumType::from);
        }
        output
    }};
}

impl Front {
    pub(super) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> Answer<PutObjectOutput> {
        let S3Request { input, headers, trailing_headers, .. } = request;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        check_key(&input.key)?;
        let attributes = attributes_of!(input);
        let condition =
            conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let claims = Claims::new(
            &headers,
            trailing_headers,
            claimed!(input),
            input.content_md5.as_deref(),
            input.checksum_algorithm.as_ref(),
        )?;
        let (blob, sums) = self.receive(input.body, input.content_length, &claims).await?;

        let mut version = self.objects.new_version(&bucket, &input.key);
        version.size = blob.blob().size;
        version.etag = sums.etag();
        version.blobs = vec![blob.blob()];
        version.attributes = attributes;
        version.attributes.checksums = sums.checksums;
        version.attributes.checksum_type = Some("FULL_OBJECT".to_owned());
        let mut output = PutObjectOutput {
            e_tag: Some(etag(&version.etag)),
            version_id: shown_version(&bucket, &version.version_id),
            checksum_type: Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            ..PutObjectOutput::default()
        };
        show_checksums!(output, version.attributes.checksums);
        let put = self.objects.put_version(version, vec![blob], condition, Happened::Put);
        if let Err(error) = put.await {
            return Err(self.write_refused(&bucket.name, &input.key, error).await);
        }
        Ok(S3Response::new(output))
    }

    /// Stores a body that is what its headers and trailers say.
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        content_length: Option<i64>,
        claims: &Claims,
    ) -> S3Result<(NewBlob, Sums)> {
        let empty = || StreamingBlob::wrap(futures::stream::empty::<std::io::Result<_>>());
        let body = body.unwrap_or_else(empty);
        let length = announced_length(content_length, &body)?;
        let written = self.objects.blobs.write(body, claims.digests(), MAX_PUT).await;
        let (blob, sums) = written.map_err(write_error)?;
        let verified = claims.verify(&sums).and_then(|()| check_length(length, blob.blob().size));
        match verified {
            Ok(()) => Ok((blob, sums)),
            Err(error) => {
                discard(blob).await;
                Err(error)
            }
        }
    }

    pub(super) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> Answer<GetObjectOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let conditions = Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let want = |version: &VersionRow| Wanted::of(version, input.range, input.part_number);
        let find = || self.version(&bucket, &input.key, input.version_id.as_deref());
        let choose = |version: &VersionRow| {
            conditions.check(version)?;
            Ok(want(version)?.range)
        };
        let opened = self.objects.open_version(find, choose, io_error).await?;
        let (version, reader) = opened;
        let wanted = want(&version)?;
        let mut output = described!(GetObjectOutput, version, bucket, wanted, input.checksum_mode);
        output.body = Some(StreamingBlob::new(BodyReader(reader)));
        let tags = version.attributes.tags.len();
        output.tag_count = (tags > 0).then(|| count(tags));
        Ok(S3Response::new(output))
    }

    pub(super) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> Answer<HeadObjectOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let version = self.version(&bucket, &input.key, input.version_id.as_deref()).await?;
        let conditions = Conditions {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        conditions.check(&version)?;
        let wanted = Wanted::of(&version, input.range, input.part_number)?;
        let output = described!(HeadObjectOutput, version, bucket, wanted, input.checksum_mode);
        let mut response = S3Response::new(output);
        if wanted.content_range(version.size).is_some() {
            response.status = Some(StatusCode::PARTIAL_CONTENT);
        }
        let expires = input.response_expires.as_ref().map(conditions::http_date);
        response.headers = overrides([
            (header::CACHE_CONTROL, input.response_cache_control.as_deref()),
            (header::CONTENT_DISPOSITION, input.response_content_disposition.as_deref()),
            (header::CONTENT_ENCODING, input.response_content_encoding.as_deref()),
            (header::CONTENT_LANGUAGE, input.response_content_language.as_deref()),
            (header::CONTENT_TYPE, input.response_content_type.as_deref()),
            (header::EXPIRES, expires.as_deref()),
        ]);
        Ok(response)
    }

    pub(super) async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> Answer<GetObjectAttributesOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let version = self.version(&bucket, &input.key, input.version_id.as_deref()).await?;
        // boto3 sends one header with commas in it, and `s3s` takes that for one name.
        let names = input.object_attributes.iter().flat_map(|names| names.as_str().split(','));
        let names: Vec<&str> = names.map(str::trim).collect();
        let asked = |name: &str| names.contains(&name);
        let attributes = &version.attributes;
        let mut checksum = Checksum {
            checksum_type: attributes.checksum_type.clone().map(ChecksumType::from),
            ..Checksum::default()
        };
        show_checksums!(checksum, attributes.checksums);
        let class = attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned());
        let parts = attributes.part_sizes.len();
        let object_parts = GetObjectAttributesParts {
            total_parts_count: Some(count(parts)),
            ..GetObjectAttributesParts::default()
        };
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: asked("Checksum").then_some(checksum),
            e_tag: asked("ETag").then(|| etag(&version.etag)),
            last_modified: Some(time(version.modified_at)),
            object_parts: (asked("ObjectParts") && parts > 0).then_some(object_parts),
            object_size: asked("ObjectSize").then(|| size(version.size)),
            storage_class: asked("StorageClass").then(|| StorageClass::from(class)),
            version_id: shown_version(&bucket, &version.version_id),
            ..GetObjectAttributesOutput::default()
        }))
    }

    pub(super) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        if let Some(condition) = &input.if_match {
            let version = self.version(&bucket, &input.key, input.version_id.as_deref()).await?;
            let conditions = Conditions { if_match: Some(condition), ..Conditions::default() };
            conditions.check(&version)?;
        }
        let deleted = self.delete(&bucket, &input.key, input.version_id.as_deref()).await?;
        Ok(S3Response::new(DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            request_charged: None,
            version_id: deleted.version_id,
        }))
    }

    pub(super) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        if input.delete.objects.is_empty() || input.delete.objects.len() > MAX_DELETES {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our \
                 published schema"
            ));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let mut output = DeleteObjectsOutput::default();
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.delete(&bucket, &object.key, object.version_id.as_deref()).await {
                Ok(outcome) if !quiet => deleted.push(outcome.shown(object)),
                Ok(_) => {}
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        output.deleted = Some(deleted);
        output.errors = Some(errors);
        Ok(S3Response::new(output))
    }

    async fn delete(
        &self,
        bucket: &BucketRow,
        key: &str,
        version_id: Option<&str>,
    ) -> S3Result<Deleted> {
        check_key(key)?;
        let Some(version_id) = version_id else {
            let marker = self.objects.delete_newest(bucket, key).await.map_err(index_error)?;
            return Ok(Deleted { is_marker: marker.is_some(), version_id: marker });
        };
        let removed = self.objects.remove_version(&bucket.name, key, version_id).await;
        let is_marker = removed.map_err(index_error)?.is_some_and(|was| was.is_delete_marker);
        Ok(Deleted { is_marker, version_id: Some(version_id.to_owned()) })
    }
}

/// What a delete did. `is_marker`: it made a marker, or removed one.
struct Deleted {
    is_marker: bool,
    version_id: Option<String>,
}

impl Deleted {
    fn shown(self, object: ObjectIdentifier) -> DeletedObject {
        DeletedObject {
            delete_marker: self.is_marker.then_some(true),
            delete_marker_version_id: self.version_id.filter(|_| self.is_marker),
            key: Some(object.key),
            version_id: object.version_id,
        }
    }
}

/// The bytes that a read is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub range: Range<u64>,
    is_partial: bool,
    parts: Option<usize>,
}

impl Wanted {
    fn of(
        version: &VersionRow,
        range: Option<s3s::dto::Range>,
        part: Option<i32>,
    ) -> S3Result<Self> {
        let whole = 0..version.size;
        match (range, part) {
            (None, None) => Ok(Self { range: whole, is_partial: false, parts: None }),
            (Some(range), None) => {
                let range = range.check(version.size).map_err(|_| invalid_range(version.size))?;
                if range.is_empty() {
                    return Err(invalid_range(version.size));
                }
                Ok(Self { range, is_partial: true, parts: None })
            }
            (None, Some(part)) => Self::part(version, part),
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
        }
    }

    /// An object from a single put has one part: all of it.
    fn part(version: &VersionRow, number: i32) -> S3Result<Self> {
        let sizes = &version.attributes.part_sizes;
        if sizes.is_empty() && number == 1 {
            let is_partial = version.size > 0;
            return Ok(Self { range: 0..version.size, is_partial, parts: None });
        }
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let found = index.and_then(|index| Some((index, *sizes.get(index)?)));
        let (index, length) = found.ok_or_else(|| {
            custom(
                "InvalidPartNumber",
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The requested partnumber is not satisfiable",
            )
        })?;
        let start: u64 = sizes[..index].iter().sum();
        Ok(Self { range: start..start + length, is_partial: length > 0, parts: Some(sizes.len()) })
    }

    pub(super) fn content_range(&self, whole: u64) -> Option<String> {
        let Range { start, end } = self.range;
        self.is_partial.then(|| format!("bytes {start}-{}/{whole}", end - 1))
    }

    pub(super) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// S3's own choice for an object whose type nobody said.
fn content_type(attributes: &Attributes) -> String {
    attributes.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

fn announced_length(header: Option<i64>, body: &StreamingBlob) -> S3Result<u64> {
    let length = match header {
        Some(length) => u64::try_from(length).ok(),
        None => body.remaining_length().exact().map(|length| length as u64),
    };
    let length = length.ok_or_else(|| {
        s3_error!(MissingContentLength, "You must provide the Content-Length HTTP header.")
    })?;
    if length > MAX_PUT {
        return Err(too_large());
    }
    Ok(length)
}

fn check_length(announced: u64, came: u64) -> S3Result<()> {
    if announced == came {
        return Ok(());
    }
    Err(s3_error!(
        IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header"
    ))
}

fn overrides<const N: usize>(pairs: [(HeaderName, Option<&str>); N]) -> HeaderMap {
    pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)))
        .collect()
}
