//! The end of an upload in parts: one object out of them.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{
    Attributes, Blob, Condition, IndexError, ObjectVersion, Part as PartRow, Upload,
};

use super::checksums::{algorithm, bad_digest, claimed, show_checksums};
use super::conditions;
use super::errors::index_error;
use super::{Answer, Front, etag, shown_version, size};
use crate::digest::etag_of_parts;
use crate::news::Happened;

/// The least that every part but the last must have.
const MIN_PART: u64 = 5 << 20;

impl Front {
    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let condition =
            conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self.upload(&input.upload_id, &input.bucket, &input.key).await?;
        let stored = self.objects.index.parts(&upload.id).await.map_err(index_error)?;
        let claimed = claimed!(input);
        let wanted = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let whole = assemble(&upload, stored, &wanted)?;
        check_claims(&whole, &claimed, input.checksum_type.as_ref(), input.mpu_object_size)?;

        let mut version = self.objects.new_version(&bucket, &input.key);
        version.size = whole.size;
        version.etag = whole.etag;
        version.blobs = whole.blobs;
        version.attributes = whole.attributes;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&version.etag)),
            checksum_type: version.attributes.checksum_type.clone().map(ChecksumType::from),
            version_id: shown_version(&bucket, &version.version_id),
            ..CompleteMultipartUploadOutput::default()
        };
        show_checksums!(output, version.attributes.checksums);
        let change = self.complete(upload.id.clone(), version, condition);
        if let Err(error) = self.objects.commit(Vec::new(), change).await {
            return Err(self.write_refused(&bucket.name, &upload.key, error).await);
        }
        Ok(S3Response::new(output))
    }

    /// The change that makes an object of an upload.
    fn complete(
        &self,
        id: String,
        version: ObjectVersion,
        condition: Condition,
    ) -> impl Future<Output = Result<Vec<String>, IndexError>> + Send + use<> {
        let (index, clock) = (self.objects.index.clone(), self.objects.clock.clone());
        let news = self.objects.news.listen().map(|listening| (listening, version.clone()));
        async move {
            let orphans = index.complete_upload(&id, version, condition).await?;
            if let Some((listening, version)) = news {
                listening.tell((&*index, &*clock), Happened::Completed, &version).await;
            }
            Ok(orphans)
        }
    }
}

/// What the parts make up.
#[derive(Debug)]
struct Whole {
    size: u64,
    etag: String,
    blobs: Vec<Blob>,
    attributes: Attributes,
}

/// Puts the wanted parts together. Pure.
fn assemble(upload: &Upload, stored: Vec<PartRow>, wanted: &[CompletedPart]) -> S3Result<Whole> {
    let parts = pick(stored, wanted)?;
    let sizes: Vec<u64> = parts.iter().map(|part| part.blob.size).collect();
    let but_last = &sizes[..sizes.len() - 1];
    if but_last.iter().any(|size| *size < MIN_PART) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    let etag = etag_of_parts(parts.iter().map(|part| part.etag.as_str()));
    let etag = etag.ok_or_else(|| s3_error!(InternalError, "A part has no MD5"))?;
    let mut attributes = upload.attributes.clone();
    attributes.checksums = checksums(upload, &parts)?;
    attributes.part_sizes.clone_from(&sizes);
    Ok(Whole {
        size: sizes.iter().sum(),
        etag,
        blobs: parts.into_iter().map(|part| part.blob).collect(),
        attributes,
    })
}

/// Takes the wanted parts, in their order, out of the stored ones.
fn pick(stored: Vec<PartRow>, wanted: &[CompletedPart]) -> S3Result<Vec<PartRow>> {
    if wanted.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "The XML you provided was not well-formed or did not validate against our published \
             schema"
        ));
    }
    let numbers = wanted.iter().map(|part| part.part_number);
    if !numbers.is_sorted_by(|before, after| before < after) {
        return Err(s3_error!(
            InvalidPartOrder,
            "The list of parts was not in ascending order. The parts list must be specified in \
             order by part number."
        ));
    }
    let mut stored: BTreeMap<i64, PartRow> =
        stored.into_iter().map(|part| (i64::from(part.number), part)).collect();
    let taken = wanted.iter().map(|wanted| {
        let part = stored.remove(&i64::from(wanted.part_number?))?;
        let same_etag = wanted.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag);
        let same_sums = claimed!(wanted).iter().all(|sum| part.checksums.get(sum.0) == Some(sum.1));
        (same_etag && same_sums).then_some(part)
    });
    taken.collect::<Option<Vec<_>>>().ok_or_else(|| {
        s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been \
             uploaded, or the specified entity tag may not match the part's entity tag."
        )
    })
}

/// The checksum of the whole: out of the parts' CRCs, or over their checksums.
fn checksums(upload: &Upload, parts: &[PartRow]) -> S3Result<BTreeMap<String, String>> {
    let algorithm = algorithm(upload.checksum_algorithm.as_deref().unwrap_or("CRC64NVME"))?;
    let sums = parts.iter().map(|part| part.checksums.get(algorithm.name()).cloned());
    let sums = sums.collect::<Option<Vec<String>>>();
    let sums = sums.ok_or_else(|| s3_error!(InternalError, "A part has no checksum"))?;
    let is_composite = upload.attributes.checksum_type.as_deref() == Some("COMPOSITE");
    let whole = if is_composite {
        algorithm.compose(&sums)
    } else {
        let sized: Vec<_> = sums.into_iter().zip(parts.iter().map(|part| part.blob.size)).collect();
        algorithm.combine(&sized)
    };
    Ok(whole.into_iter().map(|sum| (algorithm.name().to_owned(), sum)).collect())
}

/// Compares what the client says of the whole with what it is.
fn check_claims(
    whole: &Whole,
    claimed: &BTreeMap<String, String>,
    checksum_type: Option<&ChecksumType>,
    claimed_size: Option<i64>,
) -> S3Result<()> {
    if claimed_size.is_some_and(|claimed| claimed != size(whole.size)) {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        ));
    }
    let stored_type = whole.attributes.checksum_type.as_deref();
    if checksum_type.is_some_and(|claimed| Some(claimed.as_str()) != stored_type) {
        return Err(s3_error!(
            InvalidRequest,
            "The upload was created with another checksum type."
        ));
    }
    for (name, sum) in claimed {
        // A composite may be claimed without the number of its parts.
        let found = whole.attributes.checksums.get(name);
        let same = found.is_some_and(|found| {
            found == sum || found.split_once('-').is_some_and(|found| found.0 == sum)
        });
        if !same {
            return Err(bad_digest(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3s::dto::{CompletedPart, ETag};
    use sagebrush_core::Timestamp;
    use sagebrush_core::objects::{Attributes, Blob, Part, Upload};

    use super::{MIN_PART, assemble};

    const ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn stored(number: u32, size: u64) -> Part {
        Part {
            number,
            blob: Blob { id: format!("b{number}"), size },
            etag: ETAG.to_owned(),
            modified_at: Timestamp(0),
            checksums: [("CRC64NVME".to_owned(), "AAAAAAAAAAA=".to_owned())].into(),
        }
    }

    fn check(wanted: &[(i32, &str)], sizes: &[u64], expected: Result<u64, &str>) {
        let upload = Upload {
            id: "u".to_owned(),
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            created_at: Timestamp(0),
            attributes: Attributes::default(),
            checksum_algorithm: None,
        };
        let parts = (1..).zip(sizes).map(|(number, size)| stored(number, *size)).collect();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(number, etag)| CompletedPart {
                part_number: Some(*number),
                e_tag: Some(ETag::Strong((*etag).to_owned())),
                ..CompletedPart::default()
            })
            .collect();
        let found = assemble(&upload, parts, &wanted).map(|whole| whole.size);
        let found = found.map_err(|error| error.code().as_str().to_owned());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn parts_make_a_whole_or_not() {
        check(&[(1, ETAG), (2, ETAG)], &[MIN_PART, 1], Ok(MIN_PART + 1));
        check(&[(2, ETAG)], &[MIN_PART, 1], Ok(1)); // Parts may be left out.
        check(&[], &[1], Err("MalformedXML"));
        check(&[(2, ETAG), (1, ETAG)], &[MIN_PART, 1], Err("InvalidPartOrder"));
        check(&[(1, ETAG), (1, ETAG)], &[MIN_PART, 1], Err("InvalidPartOrder"));
        check(&[(1, "x")], &[1], Err("InvalidPart"));
        check(&[(3, ETAG)], &[1], Err("InvalidPart"));
        check(&[(1, ETAG), (2, ETAG)], &[MIN_PART - 1, 1], Err("EntityTooSmall"));
    }
}
