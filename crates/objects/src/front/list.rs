//! What is in a bucket, page by page.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{ListQuery, ListedVersion, Listing};

use super::errors::index_error;
use super::{Answer, Front, count, etag, size, time};

/// AWS's most for one page.
const MAX_KEYS: usize = 1000;

impl Front {
    pub(super) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> Answer<ListObjectsOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let text = Text::new(input.encoding_type.as_ref())?;
        let delimiter = some(input.delimiter);
        let marker = some(input.marker);
        let limit = page_size(input.max_keys)?;
        let query = ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone(),
            after: marker.clone(),
            after_version: None,
            limit,
        };
        let listing = self.page(&input.bucket, &query).await?;
        let next = listing.next.as_ref().map(|next| text.show(&next.key));
        let is_truncated = Some(next.is_some());
        // Without a delimiter, the last key says the same.
        let next_marker = next.filter(|_| delimiter.is_some());
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            marker: Some(text.show(&marker.unwrap_or_default())),
            max_keys: Some(count(limit)),
            is_truncated,
            next_marker,
            common_prefixes: Some(text.prefixes(&listing)),
            contents: Some(self.contents(listing.versions, text, true)),
            prefix: Some(text.show(&query.prefix)),
            delimiter: delimiter.map(|delimiter| text.show(&delimiter)),
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let text = Text::new(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let start_after = some(input.start_after);
        let after = match &input.continuation_token {
            Some(token) => Some(read_token(token)?),
            None => start_after.clone(),
        };
        let query = ListQuery {
            prefix: input.prefix.unwrap_or_default(),
            delimiter: some(input.delimiter),
            after,
            after_version: None,
            limit,
        };
        let listing = self.page(&input.bucket, &query).await?;
        let with_owner = input.fetch_owner.unwrap_or(false);
        let next = listing.next.as_ref().map(|next| BASE64_URL_SAFE_NO_PAD.encode(&next.key));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            max_keys: Some(count(limit)),
            key_count: Some(count(listing.versions.len() + listing.common_prefixes.len())),
            continuation_token: input.continuation_token,
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            common_prefixes: Some(text.prefixes(&listing)),
            contents: Some(self.contents(listing.versions, text, with_owner)),
            prefix: Some(text.show(&query.prefix)),
            delimiter: query.delimiter.map(|delimiter| text.show(&delimiter)),
            start_after: start_after.map(|after| text.show(&after)),
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    pub(super) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Answer<ListObjectVersionsOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let text = Text::new(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_keys)?;
        let (after, after_version) = (some(input.key_marker), some(input.version_id_marker));
        if after_version.is_some() && after.is_none() {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        let query = ListQuery {
            prefix: input.prefix.unwrap_or_default(),
            delimiter: some(input.delimiter),
            after,
            after_version,
            limit,
        };
        let listing = if limit == 0 {
            Listing::default()
        } else {
            let listed = self.objects.index.list_versions(&input.bucket, &query).await;
            listed.map_err(index_error)?
        };
        let (next_key, next_version) = match listing.next.clone() {
            Some(next) => (Some(text.show(&next.key)), next.version_id),
            None => (None, None),
        };
        let common_prefixes = Some(text.prefixes(&listing));
        let (markers, versions): (Vec<_>, Vec<_>) =
            listing.versions.into_iter().partition(|listed| listed.version.is_delete_marker);
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            max_keys: Some(count(limit)),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key,
            next_version_id_marker: next_version,
            key_marker: Some(text.show(&query.after.unwrap_or_default())),
            version_id_marker: query.after_version,
            prefix: Some(text.show(&query.prefix)),
            delimiter: query.delimiter.map(|delimiter| text.show(&delimiter)),
            common_prefixes,
            versions: Some(versions.into_iter().map(|v| self.shown_version(v, text)).collect()),
            delete_markers: Some(markers.into_iter().map(|m| self.shown_marker(m, text)).collect()),
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    async fn page(&self, bucket: &str, query: &ListQuery) -> S3Result<Listing> {
        if query.limit == 0 {
            return Ok(Listing::default());
        }
        self.objects.index.list(bucket, query).await.map_err(index_error)
    }

    fn contents(&self, listed: Vec<ListedVersion>, text: Text, with_owner: bool) -> Vec<Object> {
        let shown = listed.into_iter().map(|ListedVersion { version, .. }| Object {
            checksum_algorithm: algorithms(version.attributes.checksums.keys()),
            checksum_type: version.attributes.checksum_type.map(ChecksumType::from),
            e_tag: Some(etag(&version.etag)),
            key: Some(text.show(&version.key)),
            last_modified: Some(time(version.modified_at)),
            owner: with_owner.then(|| self.owner()),
            restore_status: None,
            size: Some(size(version.size)),
            storage_class: Some(ObjectStorageClass::from(class(version.attributes.storage_class))),
        });
        shown.collect()
    }

    fn shown_version(&self, listed: ListedVersion, text: Text) -> ObjectVersion {
        let ListedVersion { version, is_latest } = listed;
        ObjectVersion {
            checksum_algorithm: algorithms(version.attributes.checksums.keys()),
            checksum_type: version.attributes.checksum_type.map(ChecksumType::from),
            e_tag: Some(etag(&version.etag)),
            is_latest: Some(is_latest),
            key: Some(text.show(&version.key)),
            last_modified: Some(time(version.modified_at)),
            owner: Some(self.owner()),
            restore_status: None,
            size: Some(size(version.size)),
            storage_class: Some(ObjectVersionStorageClass::from(class(
                version.attributes.storage_class,
            ))),
            version_id: Some(version.version_id),
        }
    }

    fn shown_marker(&self, listed: ListedVersion, text: Text) -> DeleteMarkerEntry {
        let ListedVersion { version, is_latest } = listed;
        DeleteMarkerEntry {
            is_latest: Some(is_latest),
            key: Some(text.show(&version.key)),
            last_modified: Some(time(version.modified_at)),
            owner: Some(self.owner()),
            version_id: Some(version.version_id),
        }
    }
}

/// How keys are written into XML, which cannot hold all of them.
#[derive(Clone, Copy)]
pub(super) struct Text {
    is_encoded: bool,
}

impl Text {
    pub(super) fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { is_encoded: false }),
            Some(EncodingType::URL) => Ok(Self { is_encoded: true }),
            Some(_) => {
                Err(s3_error!(InvalidArgument, "Invalid Encoding Method specified in Request"))
            }
        }
    }

    pub(super) fn show(self, key: &str) -> String {
        if self.is_encoded { encode(key).into_owned() } else { key.to_owned() }
    }

    fn prefixes(self, listing: &Listing) -> Vec<CommonPrefix> {
        let prefixes = listing.common_prefixes.iter();
        prefixes.map(|prefix| CommonPrefix { prefix: Some(self.show(prefix)) }).collect()
    }
}

/// Percent-encodes all but what S3 leaves alone in keys.
fn encode(key: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/*".contains(&byte);
    if key.bytes().all(plain) {
        return Cow::Borrowed(key);
    }
    let mut encoded = String::with_capacity(key.len() * 3);
    for byte in key.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    Cow::Owned(encoded)
}

pub(super) fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let asked = asked.map_or(Ok(MAX_KEYS), usize::try_from);
    let asked = asked.map_err(|_| {
        s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")
    })?;
    Ok(asked.min(MAX_KEYS))
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect"))
}

/// An empty parameter is none.
pub(super) fn some(parameter: Option<String>) -> Option<String> {
    parameter.filter(|parameter| !parameter.is_empty())
}

fn class(stored: Option<String>) -> String {
    stored.unwrap_or_else(|| "STANDARD".to_owned())
}

fn algorithms<'a>(names: impl Iterator<Item = &'a String>) -> Option<Vec<ChecksumAlgorithm>> {
    let names: Vec<_> = names.map(|name| ChecksumAlgorithm::from(name.clone())).collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::{encode, page_size};

    #[test]
    fn encodes_what_xml_cannot_hold() {
        assert_eq!(encode("a/b-c_d.e~f"), "a/b-c_d.e~f");
        assert_eq!(encode("a b+c%d\u{1}é"), "a%20b%2Bc%25d%01%C3%A9");
    }

    #[test]
    fn page_sizes() {
        assert_eq!(page_size(None).unwrap(), 1000);
        assert_eq!(page_size(Some(0)).unwrap(), 0);
        assert_eq!(page_size(Some(5000)).unwrap(), 1000);
        assert!(page_size(Some(-1)).is_err());
    }
}
