use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::events::MemoryEvents;
use sagebrush_core::objects::{
    Bucket, ByteStream, ObjectError, ObjectIndex, ObjectMeta, ObjectRef, ObjectStore, Versioning,
};
use sagebrush_store::MemoryStore;
use tempfile::TempDir;

use super::Objects;
use crate::blobs::tests::files_below;

pub(crate) struct Fixture {
    pub dir: TempDir,
    pub objects: Objects,
}

impl Fixture {
    pub(crate) async fn new(versioning: Versioning) -> Self {
        let dir = TempDir::new().unwrap();
        let index = Arc::new(MemoryStore::default());
        let bucket = Bucket {
            name: "bucket".to_owned(),
            region: "us-east-1".to_owned(),
            created_at: Timestamp(0),
            versioning,
            documents: Default::default(),
        };
        index.create_bucket(bucket).await.unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000)));
        let objects = Objects::open(dir.path(), index, clock).unwrap();
        Self { dir, objects }
    }

    pub(crate) fn files(&self) -> usize {
        files_below(self.dir.path())
    }

    async fn put(&self, key: &str, body: ByteStream) -> Result<ObjectMeta, ObjectError> {
        self.objects.put(&at(key), Some("text/plain"), body).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>, ObjectError> {
        let (_, body) = self.objects.get(&at(key), None).await?;
        Ok(body.map_ok(|chunk| chunk.to_vec()).try_concat().await?)
    }
}

#[tokio::test]
async fn what_happens_to_objects_is_told() {
    let fixture = Fixture::new(Versioning::Enabled).await;
    let told = Arc::new(MemoryEvents::default());
    fixture.put("untold", body("1")).await.unwrap();
    fixture.objects.tell(told.clone());
    fixture.put("k", body("123")).await.unwrap();
    fixture.objects.delete(&at("k")).await.unwrap();
    let index = &fixture.objects.index;
    let marker = index.version("bucket", "k", None).await.unwrap().unwrap();
    fixture.objects.remove_version("bucket", "k", &marker.version_id).await.unwrap();
    fixture.objects.remove_version("bucket", "k", "none").await.unwrap();
    let told = told.events();
    let types: Vec<_> = told.iter().map(|event| event.detail_type).collect();
    assert_eq!(types, ["Object Created", "Object Deleted", "Object Deleted"]);
    let created = &told[0];
    assert_eq!((created.source, created.region.as_str()), ("aws.s3", "us-east-1"));
    assert_eq!(created.resources, ["arn:aws:s3:::bucket"]);
    let (detail, object) = (&created.detail, &created.detail["object"]);
    assert_eq!(
        (&detail["bucket"]["name"], &detail["reason"]),
        (&"bucket".into(), &"PutObject".into())
    );
    assert_eq!((&object["key"], &object["size"]), (&"k".into(), &3.into()));
    assert_eq!(object["etag"], "202cb962ac59075b964b07152d234b70");
    assert_eq!(detail["requester"], "sagemaker.amazonaws.com");
    assert_eq!(told[1].detail["deletion-type"], "Delete Marker Created");
    assert_eq!(told[1].detail["object"]["version-id"], marker.version_id.as_str());
    assert_eq!(told[2].detail["deletion-type"], "Permanently Deleted");
}

fn at(key: &str) -> ObjectRef {
    ObjectRef { bucket: "bucket".to_owned(), key: key.to_owned() }
}

fn body(bytes: impl Into<Bytes>) -> ByteStream {
    stream::iter([Ok(bytes.into())]).boxed()
}

fn broken_body() -> ByteStream {
    let error = io::Error::from(io::ErrorKind::ConnectionReset);
    stream::iter([Ok(Bytes::from(vec![1; 2 << 20])), Err(error)]).boxed()
}

#[tokio::test]
async fn an_object_comes_back() {
    let fixture = Fixture::new(Versioning::Off).await;
    let put = fixture.put("a/b", body("bytes")).await.unwrap();
    assert_eq!(put.etag, "4b3a6218bb3e3a7303e8a171a60fcf92");
    assert_eq!(put, fixture.objects.head(&at("a/b")).await.unwrap());
    assert_eq!(fixture.get("a/b").await.unwrap(), b"bytes");
    let (_, part) = fixture.objects.get(&at("a/b"), Some(1..3)).await.unwrap();
    assert_eq!(part.try_collect::<Vec<_>>().await.unwrap().concat(), b"yt");
    let listed = fixture.objects.list("bucket", "a/", None, 10).await.unwrap();
    assert_eq!(listed, [put]);
    fixture.objects.delete(&at("a/b")).await.unwrap();
    assert!(matches!(fixture.get("a/b").await, Err(ObjectError::NoSuchKey(_))));
    assert_eq!(fixture.files(), 0);
}

#[tokio::test]
async fn what_is_not_there() {
    let fixture = Fixture::new(Versioning::Off).await;
    let elsewhere = ObjectRef { bucket: "elsewhere".to_owned(), key: "k".to_owned() };
    let found = fixture.objects.head(&elsewhere).await;
    assert!(matches!(found, Err(ObjectError::NoSuchBucket(_))));
    let put = fixture.objects.put(&elsewhere, None, body("x")).await;
    assert!(matches!(put, Err(ObjectError::NoSuchBucket(_))));
    assert!(fixture.objects.delete(&at("never was")).await.is_ok());
}

#[tokio::test]
async fn a_put_that_fails_changes_nothing() {
    let fixture = Fixture::new(Versioning::Off).await;
    assert!(fixture.put("new", broken_body()).await.is_err());
    assert!(matches!(fixture.get("new").await, Err(ObjectError::NoSuchKey(_))));
    assert_eq!(fixture.files(), 0);

    fixture.put("old", body("old")).await.unwrap();
    assert!(fixture.put("old", broken_body()).await.is_err());
    assert_eq!(fixture.get("old").await.unwrap(), b"old");
    assert_eq!(fixture.files(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_sees_one_whole_body_of_sixteen() {
    const SIZE: usize = 1_500_000;
    let fixture = Fixture::new(Versioning::Off).await;
    fixture.put("k", body(vec![0; SIZE])).await.unwrap();
    let writers = (1..=16_u8).map(|writer| {
        let chunks = (0..15).map(move |_| Ok(Bytes::from(vec![writer; SIZE / 15])));
        fixture.put("k", stream::iter(chunks).boxed())
    });
    let readers = (0..32).map(|_| async {
        let bytes = fixture.get("k").await.unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mix of two bodies");
    });
    let (written, _) = future::join(future::join_all(writers), future::join_all(readers)).await;
    assert!(written.iter().all(Result::is_ok));
    assert_eq!(fixture.files(), 1); // The last writer's; the others' are gone.
    assert_eq!(fixture.objects.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn versions_stay() {
    let fixture = Fixture::new(Versioning::Enabled).await;
    fixture.put("k", body("1")).await.unwrap();
    fixture.put("k", body("2")).await.unwrap();
    fixture.objects.delete(&at("k")).await.unwrap();
    assert!(matches!(fixture.get("k").await, Err(ObjectError::NoSuchKey(_))));
    assert_eq!(fixture.files(), 2);
    assert_eq!(fixture.objects.sweep().await.unwrap(), 0);
}
