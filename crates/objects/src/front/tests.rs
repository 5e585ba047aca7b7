use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use http::{Extensions, HeaderMap, Method, Uri};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Result};
use sagebrush_core::objects::Versioning;

use super::Front;
use crate::backend::tests::Fixture;

const PART: usize = 5 << 20;

struct Client {
    fixture: Fixture,
    front: Front,
}

impl Client {
    async fn new(versioning: Versioning) -> Self {
        let fixture = Fixture::new(versioning).await;
        let objects = fixture.objects.clone();
        let front = Front::new(objects, "123456789012".to_owned(), "us-east-1".to_owned());
        Self { fixture, front }
    }

    async fn put(&self, change: impl FnOnce(&mut PutObjectInput)) -> S3Result<PutObjectOutput> {
        let mut input = PutObjectInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            content_length: Some(5),
            body: Some(body("bytes")),
            ..PutObjectInput::default()
        };
        change(&mut input);
        Ok(self.front.put_object(request(input)).await?.output)
    }

    async fn get(&self, change: impl FnOnce(&mut GetObjectInput)) -> S3Result<GetObjectOutput> {
        let mut input = GetObjectInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            ..GetObjectInput::default()
        };
        change(&mut input);
        S3::get_object(&self.front, request(input)).await.map(|response| response.output)
    }

    async fn read(&self) -> S3Result<Vec<u8>> {
        let body = self.get(|_| {}).await?.body.unwrap();
        Ok(body.map_ok(|chunk| chunk.to_vec()).try_concat().await.unwrap())
    }

    async fn upload(&self) -> String {
        let input = CreateMultipartUploadInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            ..CreateMultipartUploadInput::default()
        };
        let created = self.front.create_multipart_upload(request(input)).await.unwrap();
        created.output.upload_id.unwrap()
    }

    async fn part(&self, upload_id: &str, number: i32, bytes: Vec<u8>) -> S3Result<CompletedPart> {
        let input = UploadPartInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            upload_id: upload_id.to_owned(),
            part_number: number,
            content_length: i64::try_from(bytes.len()).ok(),
            body: Some(body(bytes)),
            ..UploadPartInput::default()
        };
        let stored = self.front.upload_part(request(input)).await?.output;
        let part = CompletedPart { e_tag: stored.e_tag, ..CompletedPart::default() };
        Ok(CompletedPart { part_number: Some(number), ..part })
    }

    async fn complete(&self, upload_id: &str, parts: Vec<CompletedPart>) -> S3Result<()> {
        let input = CompleteMultipartUploadInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            upload_id: upload_id.to_owned(),
            multipart_upload: Some(CompletedMultipartUpload { parts: Some(parts) }),
            ..CompleteMultipartUploadInput::default()
        };
        self.front.complete_multipart_upload(request(input)).await.map(drop)
    }
}

fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Method::GET,
        uri: Uri::from_static("/"),
        headers: HeaderMap::new(),
        extensions: Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn body(bytes: impl Into<Bytes>) -> StreamingBlob {
    StreamingBlob::wrap(stream::iter([std::io::Result::Ok(bytes.into())]))
}

fn code<T>(result: S3Result<T>) -> String {
    result.err().map_or_else(|| "OK".to_owned(), |error| error.code().as_str().to_owned())
}

fn tag(etag: &str) -> Option<ETagCondition> {
    Some(ETagCondition::ETag(ETag::Strong(etag.to_owned())))
}

#[tokio::test]
async fn puts_that_are_refused_leave_nothing() {
    let client = Client::new(Versioning::Off).await;
    let refused = |change: fn(&mut PutObjectInput), expected: &'static str| {
        let client = &client;
        async move {
            assert_eq!(code(client.put(change).await), expected);
            assert_eq!(code(client.get(|_| {}).await), "NoSuchKey", "{expected}");
            assert_eq!(client.fixture.files(), 0, "{expected}");
        }
    };
    refused(|put| put.content_md5 = Some("AAAAAAAAAAAAAAAAAAAAAA==".to_owned()), "BadDigest").await;
    refused(|put| put.content_md5 = Some("AAAA".to_owned()), "InvalidDigest").await;
    refused(|put| put.checksum_crc32 = Some("AAAAAA==".to_owned()), "BadDigest").await;
    refused(|put| put.checksum_crc32 = Some("AAAA".to_owned()), "InvalidRequest").await;
    refused(|put| put.content_length = Some(9), "IncompleteBody").await;
    refused(|put| put.content_length = None, "MissingContentLength").await;
    refused(|put| put.content_length = Some((5 << 30) + 1), "EntityTooLarge").await;
    refused(|put| put.key = "a\0b".to_owned(), "InvalidArgument").await;
    refused(|put| put.if_match = tag("other"), "NoSuchKey").await;
    refused(|put| put.expected_bucket_owner = Some("999999999999".to_owned()), "AccessDenied")
        .await;
    refused(|put| put.bucket = "elsewhere".to_owned(), "NoSuchBucket").await;
    refused(|put| put.sse_customer_algorithm = Some("AES256".to_owned()), "NotImplemented").await;
    refused(
        |put| {
            let broken = [Ok(Bytes::from_static(b"by")), Err(std::io::Error::other("gone"))];
            put.body = Some(StreamingBlob::wrap(stream::iter(broken)));
        },
        "IncompleteBody",
    )
    .await;
}

#[tokio::test]
async fn what_s3s_says_of_a_wrong_body() {
    let client = Client::new(Versioning::Off).await;
    let put = client.put(|put| {
        // The words of `s3s`'s own error, whose type is private.
        let error = std::io::Error::other("UploadStreamError: Sha256Mismatch");
        put.body = Some(StreamingBlob::wrap(stream::iter([std::io::Result::<Bytes>::Err(error)])));
    });
    assert_eq!(code(put.await), "XAmzContentSHA256Mismatch");
}

#[tokio::test]
async fn a_failed_condition_leaves_the_old_object() {
    let client = Client::new(Versioning::Off).await;
    client.put(|_| {}).await.unwrap();
    let absent = |put: &mut PutObjectInput| {
        put.if_none_match = Some(ETagCondition::Any);
        put.body = Some(body("other"));
    };
    assert_eq!(code(client.put(absent).await), "PreconditionFailed");
    assert_eq!(client.read().await.unwrap(), b"bytes");
    assert_eq!(client.fixture.files(), 1);
}

#[tokio::test]
async fn ranges() {
    let client = Client::new(Versioning::Off).await;
    client.put(|_| {}).await.unwrap();
    let check = |range: &'static str, expected: Option<(&'static str, i64)>| {
        let client = &client;
        async move {
            let got = client.get(|get| get.range = Some(Range::parse(range).unwrap())).await;
            let found =
                got.ok().map(|got| (got.content_range.unwrap(), got.content_length.unwrap()));
            assert_eq!(
                found,
                expected.map(|(shown, length)| (shown.to_owned(), length)),
                "{range}"
            );
        }
    };
    check("bytes=0-0", Some(("bytes 0-0/5", 1))).await;
    check("bytes=1-", Some(("bytes 1-4/5", 4))).await;
    check("bytes=-2", Some(("bytes 3-4/5", 2))).await;
    check("bytes=-99", Some(("bytes 0-4/5", 5))).await;
    check("bytes=5-", None).await;
    check("bytes=-0", None).await;
}

#[tokio::test]
async fn parts_make_one_object_and_leave_no_blobs() {
    let client = Client::new(Versioning::Off).await;
    client.put(|_| {}).await.unwrap();
    let upload = client.upload().await;
    let replaced = client.part(&upload, 1, vec![9; 10]).await.unwrap();
    assert_eq!(
        code(client.complete(&upload, vec![replaced, CompletedPart::default()]).await),
        "InvalidPartOrder"
    );
    let one = client.part(&upload, 1, vec![1; PART]).await.unwrap();
    client.part(&upload, 2, vec![2; PART]).await.unwrap(); // Not wanted in the end.
    let three = client.part(&upload, 3, vec![3; 7]).await.unwrap();
    assert_eq!(client.fixture.files(), 4);
    client.complete(&upload, vec![one, three]).await.unwrap();
    assert_eq!(client.fixture.files(), 2);
    let bytes = client.read().await.unwrap();
    assert_eq!(bytes.len(), PART + 7);
    assert!(bytes.ends_with(&[1, 3, 3, 3, 3, 3, 3, 3]));
    let second = client.get(|get| get.part_number = Some(2)).await.unwrap();
    assert_eq!((second.content_length, second.parts_count), (Some(7), Some(2)));
    assert_eq!(code(client.part(&upload, 1, vec![1]).await), "NoSuchUpload");
}

#[tokio::test]
async fn an_abort_leaves_no_blobs() {
    let client = Client::new(Versioning::Off).await;
    let upload = client.upload().await;
    client.part(&upload, 1, vec![1; 10]).await.unwrap();
    let input = AbortMultipartUploadInput {
        bucket: "bucket".to_owned(),
        key: "key".to_owned(),
        upload_id: upload,
        ..AbortMultipartUploadInput::default()
    };
    client.front.abort_multipart_upload(request(input)).await.unwrap();
    assert_eq!(client.fixture.files(), 0);
}

#[tokio::test]
async fn a_delete_under_versioning_hides_and_a_named_one_removes() {
    let client = Client::new(Versioning::Enabled).await;
    let version = client.put(|_| {}).await.unwrap().version_id;
    let delete = |version_id: Option<String>| {
        let input = DeleteObjectInput {
            bucket: "bucket".to_owned(),
            key: "key".to_owned(),
            version_id,
            ..DeleteObjectInput::default()
        };
        client.front.delete_object(request(input))
    };
    let marker = delete(None).await.unwrap().output;
    assert_eq!(marker.delete_marker, Some(true));
    assert_eq!(code(client.read().await), "NoSuchKey");
    let named = client.get(|get| get.version_id.clone_from(&marker.version_id)).await;
    assert_eq!(code(named), "MethodNotAllowed");
    assert_eq!(delete(marker.version_id).await.unwrap().output.delete_marker, Some(true));
    assert_eq!(client.read().await.unwrap(), b"bytes");
    assert_eq!(delete(version).await.unwrap().output.delete_marker, None);
    assert_eq!(code(client.read().await), "NoSuchKey");
    assert_eq!(client.fixture.files(), 0);
}
