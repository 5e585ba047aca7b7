//! Uploads in parts, up to their completion.

use std::collections::BTreeSet;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{Part as PartRow, Upload};
use uuid::Uuid;

use super::attributes::{attributes_of, check_key};
use super::checksums::{Claims, algorithm, claimed, show_checksums};
use super::errors::{index_error, no_such_upload};
use super::list::{Text, page_size, some};
use super::{Answer, Front, count, etag, size, time};
use crate::blobs::NewBlob;
use crate::digest::Sums;

const MAX_PART_NUMBER: u32 = 10_000;

impl Front {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        check_key(&input.key)?;
        let mut attributes = attributes_of!(input);
        let named = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
        let kind = checksum_type(named, input.checksum_type.as_ref().map(ChecksumType::as_str))?;
        attributes.checksum_type = Some(kind.to_owned());
        let upload = Upload {
            id: Uuid::new_v4().simple().to_string(),
            bucket: input.bucket,
            key: input.key,
            created_at: self.objects.clock.now(),
            attributes,
            checksum_algorithm: named.map(str::to_owned),
        };
        let output = CreateMultipartUploadOutput {
            bucket: Some(upload.bucket.clone()),
            key: Some(upload.key.clone()),
            upload_id: Some(upload.id.clone()),
            checksum_type: named.map(|_| ChecksumType::from(kind.to_owned())),
            checksum_algorithm: input.checksum_algorithm,
            ..CreateMultipartUploadOutput::default()
        };
        self.objects.index.create_upload(upload).await.map_err(index_error)?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> Answer<UploadPartOutput> {
        let S3Request { input, headers, trailing_headers, .. } = request;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let number = part_number(input.part_number)?;
        let upload = self.upload(&input.upload_id, &input.bucket, &input.key).await?;
        let mut claims = Claims::new(
            &headers,
            trailing_headers,
            claimed!(input),
            input.content_md5.as_deref(),
            input.checksum_algorithm.as_ref(),
        )?;
        // What the completion will need.
        let needed = upload.checksum_algorithm.as_deref().unwrap_or("CRC64NVME");
        claims.also(algorithm(needed)?);
        let (blob, sums) = self.receive(input.body, input.content_length, &claims).await?;
        let part = self.put_part(&upload.id, number, blob, &sums).await?;
        let mut output =
            UploadPartOutput { e_tag: Some(etag(&part.etag)), ..UploadPartOutput::default() };
        show_checksums!(output, part.checksums);
        Ok(S3Response::new(output))
    }

    pub(super) async fn put_part(
        &self,
        upload_id: &str,
        number: u32,
        blob: NewBlob,
        sums: &Sums,
    ) -> S3Result<PartRow> {
        let part = PartRow {
            number,
            blob: blob.blob(),
            etag: sums.etag(),
            modified_at: self.objects.clock.now(),
            checksums: sums.checksums.clone(),
        };
        let (index, id, row) = (self.objects.index.clone(), upload_id.to_owned(), part.clone());
        let change = async move { Ok(index.put_part(&id, row).await?.into_iter().collect()) };
        self.objects.commit(vec![blob], change).await.map_err(index_error)?;
        Ok(part)
    }

    /// Finds an upload, which must be of this key.
    pub(super) async fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<Upload> {
        let upload = self.objects.index.upload(id).await.map_err(index_error)?;
        let upload = upload.filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.ok_or_else(no_such_upload)
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let upload = self.upload(&input.upload_id, &input.bucket, &input.key).await?;
        let index = self.objects.index.clone();
        let change = async move { index.abort_upload(&upload.id).await };
        self.objects.commit(Vec::new(), change).await.map_err(index_error)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> Answer<ListPartsOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let upload = self.upload(&input.upload_id, &input.bucket, &input.key).await?;
        let limit = page_size(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let mut rows = self.objects.index.parts(&upload.id).await.map_err(index_error)?;
        rows.retain(|part| i64::from(part.number) > i64::from(marker));
        let is_truncated = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().map_or(marker, |part| shown_number(part.number));
        let kind = upload.attributes.checksum_type.filter(|_| upload.checksum_algorithm.is_some());
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            checksum_algorithm: upload.checksum_algorithm.map(ChecksumAlgorithm::from),
            checksum_type: kind.map(ChecksumType::from),
            initiator: Some(self.initiator()),
            owner: Some(self.owner()),
            is_truncated: Some(is_truncated),
            max_parts: Some(count(limit)),
            part_number_marker: Some(marker),
            next_part_number_marker: Some(last),
            parts: Some(rows.into_iter().map(shown_part).collect()),
            storage_class: Some(StorageClass::from(
                upload.attributes.storage_class.unwrap_or_else(|| "STANDARD".to_owned()),
            )),
            ..ListPartsOutput::default()
        }))
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let text = Text::new(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_uploads)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = some(input.delimiter);
        let key_marker = some(input.key_marker);
        let id_marker = some(input.upload_id_marker).filter(|_| key_marker.is_some());
        let rows = self.objects.index.uploads(&input.bucket, &prefix).await.map_err(index_error)?;
        let behind = rows.into_iter().filter(|upload| {
            let folded = fold(&upload.key, &prefix, delimiter.as_deref());
            // What a page before has folded does not come again.
            let was_folded = folded.is_some() && folded == key_marker.as_deref();
            !was_folded && is_behind(upload, key_marker.as_deref(), id_marker.as_deref())
        });
        let page = UploadPage::of(behind, &prefix, delimiter.as_deref(), limit);
        let prefixes = page.prefixes.iter();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            common_prefixes: Some(
                prefixes.map(|p| CommonPrefix { prefix: Some(text.show(p)) }).collect(),
            ),
            is_truncated: Some(page.is_truncated),
            max_uploads: Some(count(limit)),
            next_key_marker: page.last.as_ref().map(|(key, _)| text.show(key)),
            next_upload_id_marker: page.last.and_then(|(_, id)| id),
            uploads: Some(page.uploads.into_iter().map(|u| self.shown_upload(u, text)).collect()),
            prefix: Some(text.show(&prefix)),
            delimiter: delimiter.map(|delimiter| text.show(&delimiter)),
            key_marker: Some(text.show(&key_marker.unwrap_or_default())),
            upload_id_marker: id_marker,
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    fn initiator(&self) -> Initiator {
        Initiator { display_name: Some(self.account.clone()), id: Some(self.account.clone()) }
    }

    fn shown_upload(&self, upload: Upload, text: Text) -> MultipartUpload {
        let class = upload.attributes.storage_class.unwrap_or_else(|| "STANDARD".to_owned());
        MultipartUpload {
            checksum_algorithm: upload.checksum_algorithm.map(ChecksumAlgorithm::from),
            checksum_type: upload.attributes.checksum_type.map(ChecksumType::from),
            initiated: Some(time(upload.created_at)),
            initiator: Some(self.initiator()),
            key: Some(text.show(&upload.key)),
            owner: Some(self.owner()),
            storage_class: Some(StorageClass::from(class)),
            upload_id: Some(upload.id),
        }
    }
}

/// A page of uploads, folded at a delimiter.
#[derive(Default)]
struct UploadPage {
    uploads: Vec<Upload>,
    prefixes: BTreeSet<String>,
    /// Where it ended: a key and its upload, or a common prefix.
    last: Option<(String, Option<String>)>,
    is_truncated: bool,
}

impl UploadPage {
    fn of(
        uploads: impl Iterator<Item = Upload>,
        prefix: &str,
        delimiter: Option<&str>,
        limit: usize,
    ) -> Self {
        let mut page = Self::default();
        for upload in uploads {
            let folded = fold(&upload.key, prefix, delimiter);
            if folded.is_some_and(|folded| page.prefixes.contains(folded)) {
                continue;
            }
            if page.uploads.len() + page.prefixes.len() == limit {
                page.is_truncated = limit > 0;
                break;
            }
            if let Some(folded) = folded {
                page.last = Some((folded.to_owned(), None));
                page.prefixes.insert(folded.to_owned());
            } else {
                page.last = Some((upload.key.clone(), Some(upload.id.clone())));
                page.uploads.push(upload);
            }
        }
        if !page.is_truncated {
            page.last = None;
        }
        page
    }
}

/// The common prefix that a key falls under.
fn fold<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter?;
    let at = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// Whether an upload comes behind the markers.
fn is_behind(upload: &Upload, key_marker: Option<&str>, id_marker: Option<&str>) -> bool {
    match (key_marker, id_marker) {
        (None, _) => true,
        (Some(key), None) => upload.key.as_str() > key,
        (Some(key), Some(id)) => (upload.key.as_str(), upload.id.as_str()) > (key, id),
    }
}

fn shown_part(row: PartRow) -> Part {
    let mut part = Part {
        e_tag: Some(etag(&row.etag)),
        last_modified: Some(time(row.modified_at)),
        part_number: Some(shown_number(row.number)),
        size: Some(size(row.blob.size)),
        ..Part::default()
    };
    show_checksums!(part, row.checksums);
    part
}

fn shown_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn part_number(number: i32) -> S3Result<u32> {
    let number = u32::try_from(number).ok();
    number.filter(|number| (1..=MAX_PART_NUMBER).contains(number)).ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
    })
}

/// How the checksum of the whole comes about. A CRC-64 is always that of the whole; a SHA never.
fn checksum_type(algorithm_name: Option<&str>, asked: Option<&str>) -> S3Result<&'static str> {
    let named = algorithm_name.map(algorithm).transpose()?;
    let is_crc64 = named.is_none_or(|named| named.name() == "CRC64NVME");
    match asked {
        Some("FULL_OBJECT") if named.is_none_or(crate::digest::Algorithm::combines) => {
            Ok("FULL_OBJECT")
        }
        Some("COMPOSITE") if named.is_some() && !is_crc64 => Ok("COMPOSITE"),
        None if is_crc64 => Ok("FULL_OBJECT"),
        None => Ok("COMPOSITE"),
        Some(_) => Err(s3_error!(
            InvalidRequest,
            "The checksum type cannot be used with this checksum algorithm."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{checksum_type, fold, part_number};

    #[test]
    fn types_of_checksums() {
        let check = |algorithm, asked, expected| {
            assert_eq!(checksum_type(algorithm, asked).ok(), expected, "{algorithm:?} {asked:?}");
        };
        check(None, None, Some("FULL_OBJECT"));
        check(Some("CRC32"), None, Some("COMPOSITE"));
        check(Some("CRC32"), Some("FULL_OBJECT"), Some("FULL_OBJECT"));
        check(Some("CRC64NVME"), None, Some("FULL_OBJECT"));
        check(Some("CRC64NVME"), Some("COMPOSITE"), None);
        check(Some("SHA256"), Some("FULL_OBJECT"), None);
        check(Some("MD4"), None, None);
    }

    #[test]
    fn part_numbers() {
        assert!(part_number(0).is_err());
        assert_eq!(part_number(1).unwrap(), 1);
        assert_eq!(part_number(10_000).unwrap(), 10_000);
        assert!(part_number(10_001).is_err());
    }

    #[test]
    fn folds_behind_the_prefix() {
        assert_eq!(fold("a/b/c", "", Some("/")), Some("a/"));
        assert_eq!(fold("a/b/c", "a/", Some("/")), Some("a/b/"));
        assert_eq!(fold("a/b", "a/", Some("/")), None);
        assert_eq!(fold("a/b", "", None), None);
    }
}
