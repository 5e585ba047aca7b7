use std::collections::BTreeMap;

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::config::TAGGING;
use super::errors::{custom, index_error};
use super::{Answer, Front, shown_version};

/// AWS's most tags of an object, and of a bucket.
pub(super) const OBJECT_TAGS: usize = 10;
const BUCKET_TAGS: usize = 50;

type Tags = BTreeMap<String, String>;

impl Front {
    pub(super) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> Answer<GetObjectTaggingOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let version = self.version(&bucket, &input.key, input.version_id.as_deref()).await?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: tag_set(version.attributes.tags),
            version_id: shown_version(&bucket, &version.version_id),
        }))
    }

    pub(super) async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> Answer<PutObjectTaggingOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let tags = checked(pairs(input.tagging), OBJECT_TAGS)?;
        let version_id = self.tag(&bucket, &input.key, input.version_id.as_deref(), tags).await?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> Answer<DeleteObjectTaggingOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let named = input.version_id.as_deref();
        let version_id = self.tag(&bucket, &input.key, named, Tags::new()).await?;
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
    }

    async fn tag(
        &self,
        bucket: &sagebrush_core::objects::Bucket,
        key: &str,
        version_id: Option<&str>,
        tags: Tags,
    ) -> S3Result<Option<String>> {
        let version = self.version(bucket, key, version_id).await?;
        let mut attributes = version.attributes;
        attributes.tags = tags;
        let id = version.version_id;
        let set = self.objects.index.set_attributes(&bucket.name, key, &id, attributes);
        set.await.map_err(index_error)?;
        Ok(shown_version(bucket, &id))
    }

    pub(super) async fn get_bucket_tagging(
        &self,
        request: S3Request<GetBucketTaggingInput>,
    ) -> Answer<GetBucketTaggingOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        let stored: Tagging = self.document(&input.bucket, owner, &TAGGING).await?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: stored.tag_set }))
    }

    pub(super) async fn put_bucket_tagging(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> Answer<PutBucketTaggingOutput> {
        let input = request.input;
        let tag_set = tag_set(checked(pairs(input.tagging), BUCKET_TAGS)?);
        let owner = input.expected_bucket_owner.as_deref();
        self.put_document(&input.bucket, owner, &TAGGING, &Tagging { tag_set }).await?;
        Ok(S3Response::new(PutBucketTaggingOutput {}))
    }

    pub(super) async fn delete_bucket_tagging(
        &self,
        request: S3Request<DeleteBucketTaggingInput>,
    ) -> Answer<DeleteBucketTaggingOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        self.delete_document(&input.bucket, owner, &TAGGING).await?;
        Ok(S3Response::new(DeleteBucketTaggingOutput {}))
    }
}

/// Reads `a=b&c=d`, percent-encoded, as in `x-amz-tagging`.
pub(super) fn read_header(header: &str) -> S3Result<Vec<(String, String)>> {
    let pairs = header.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
                 parameters without tag name duplicates."
            )
        })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, behind) = behind.split_at_checked(2)?;
                bytes.extend(hex::decode(digits).ok()?);
                rest = behind;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Tags within AWS's limits.
pub(super) fn checked(pairs: Vec<(String, String)>, limit: usize) -> S3Result<Tags> {
    if pairs.len() > limit {
        let message = format!("The number of tags cannot be greater than {limit}");
        return Err(custom("BadRequest", StatusCode::BAD_REQUEST, message));
    }
    let mut tags = Tags::new();
    for (key, value) in pairs {
        let key_fits = (1..=128).contains(&key.chars().count());
        if !key_fits || key.starts_with("aws:") {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

fn pairs(tagging: Tagging) -> Vec<(String, String)> {
    let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    tagging.tag_set.into_iter().map(pair).collect()
}

fn tag_set(tags: Tags) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

#[cfg(test)]
mod tests {
    use super::{OBJECT_TAGS, checked, read_header};

    fn check(header: &str, expected: Option<&[(&str, &str)]>) {
        let found = read_header(header).and_then(|pairs| checked(pairs, OBJECT_TAGS)).ok();
        let expected = expected.map(|pairs| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        });
        assert_eq!(found, expected, "{header}");
    }

    #[test]
    fn headers() {
        check("", Some(&[]));
        check("a=1&b=2", Some(&[("a", "1"), ("b", "2")]));
        check("a+b=%C3%A9%3D", Some(&[("a b", "é=")]));
        check("a", Some(&[("a", "")]));
        check("a=1&a=2", None);
        check("=1", None);
        check("aws:x=1", None);
        check("a=%FF", None);
        check("a=%4", None);
        check(&format!("a={}", "x".repeat(257)), None);
        check(&format!("{}=x", "a".repeat(129)), None);
        check(&(0..11).map(|n| format!("k{n}=v&")).collect::<String>(), None);
    }
}
