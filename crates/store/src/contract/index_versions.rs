//! Buckets and the versions of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_core::Timestamp;
use sagebrush_core::objects::{
    Attributes, Blob, Bucket, Condition, IndexError, ListQuery, ObjectIndex, ObjectVersion,
    Versioning,
};

use super::index_uploads::upload;
use super::meta_records::in_parallel;

pub(super) fn bucket(name: &str) -> Bucket {
    Bucket {
        name: name.to_owned(),
        region: "us-east-1".to_owned(),
        created_at: Timestamp(5),
        versioning: Versioning::Off,
        documents: BTreeMap::new(),
    }
}

/// A version of `key` in the bucket `b`, made of `blobs`; its etag is its id.
pub(super) fn version(key: &str, version_id: &str, blobs: &[&str]) -> ObjectVersion {
    ObjectVersion {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        version_id: version_id.to_owned(),
        is_delete_marker: false,
        size: 1 << 40,
        etag: version_id.to_owned(),
        modified_at: Timestamp(7),
        blobs: blobs.iter().map(|id| Blob { id: (*id).to_owned(), size: 3 }).collect(),
        attributes: Attributes {
            content_type: Some("text/plain".to_owned()),
            metadata: BTreeMap::from([("a".to_owned(), "é".to_owned())]),
            part_sizes: vec![1, 2],
            ..Attributes::default()
        },
    }
}

pub(super) fn marker(key: &str, version_id: &str) -> ObjectVersion {
    ObjectVersion { is_delete_marker: true, size: 0, ..version(key, version_id, &[]) }
}

/// Puts a version; returns the blobs that nothing refers to any more.
pub(super) async fn put<S: ObjectIndex>(index: &S, version: ObjectVersion) -> Vec<String> {
    index.put_version(version, Condition::None).await.unwrap()
}

async fn newest<S: ObjectIndex>(index: &S, key: &str) -> Option<String> {
    index.version("b", key, None).await.unwrap().map(|version| version.version_id)
}

/// The ids of all versions in the bucket, and whether each is the latest.
async fn all_versions<S: ObjectIndex>(index: &S) -> Vec<(String, bool)> {
    let query = ListQuery { limit: 100, ..ListQuery::default() };
    let listing = index.list_versions("b", &query).await.unwrap();
    listing.versions.into_iter().map(|row| (row.version.version_id, row.is_latest)).collect()
}

fn owned<const N: usize>(ids: [(&str, bool); N]) -> Vec<(String, bool)> {
    ids.iter().map(|(id, latest)| ((*id).to_owned(), *latest)).collect()
}

pub async fn keeps_buckets<S: ObjectIndex>(index: Arc<S>) {
    assert_eq!(index.bucket("b").await.unwrap(), None);
    for name in ["b", "a", "c.d"] {
        index.create_bucket(bucket(name)).await.unwrap();
    }
    let taken = index.create_bucket(Bucket { region: "other".to_owned(), ..bucket("b") }).await;
    assert!(matches!(taken, Err(IndexError::BucketExists(name)) if name == "b"));
    assert_eq!(index.bucket("b").await.unwrap(), Some(bucket("b")));
    assert_eq!(index.buckets().await.unwrap(), [bucket("a"), bucket("b"), bucket("c.d")]);

    let documents = BTreeMap::from([("cors".to_owned(), "<Cors/>".to_owned())]);
    for versioning in [Versioning::Enabled, Versioning::Suspended, Versioning::Off] {
        let changed = Bucket { versioning, documents: documents.clone(), ..bucket("b") };
        let elsewhere =
            Bucket { region: "x".to_owned(), created_at: Timestamp(9), ..changed.clone() };
        index.update_bucket(elsewhere).await.unwrap();
        assert_eq!(index.bucket("b").await.unwrap(), Some(changed));
    }
    let absent = index.update_bucket(bucket("absent")).await;
    assert!(matches!(absent, Err(IndexError::NoSuchBucket(name)) if name == "absent"));
}

pub async fn wants_a_bucket<S: ObjectIndex>(index: Arc<S>) {
    fn check<T>(what: &str, outcome: Result<T, IndexError>) {
        assert!(matches!(outcome, Err(IndexError::NoSuchBucket(name)) if name == "b"), "{what}");
    }
    let query = ListQuery { limit: 1, ..ListQuery::default() };
    check("put_version", index.put_version(version("k", "null", &[]), Condition::Absent).await);
    check("version", index.version("b", "k", None).await);
    check("set_attributes", index.set_attributes("b", "k", "v", Attributes::default()).await);
    check("remove_version", index.remove_version("b", "k", "v").await);
    check("list", index.list("b", &query).await);
    check("list_versions", index.list_versions("b", &query).await);
    check("create_upload", index.create_upload(upload("u", "k")).await);
    check("uploads", index.uploads("b", "").await);
    check("delete_bucket", index.delete_bucket("b").await);
}

pub async fn a_bucket_goes_when_it_is_empty<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    let is_kept = async || {
        let outcome = index.delete_bucket("b").await;
        assert!(matches!(outcome, Err(IndexError::BucketNotEmpty(name)) if name == "b"));
    };
    put(&*index, version("k", "null", &[])).await;
    is_kept().await;
    index.remove_version("b", "k", "null").await.unwrap();
    put(&*index, marker("k", "m")).await;
    is_kept().await;
    index.remove_version("b", "k", "m").await.unwrap();
    index.create_upload(upload("u", "k")).await.unwrap();
    is_kept().await;
    index.abort_upload("u").await.unwrap();
    index.delete_bucket("b").await.unwrap();
    assert_eq!(index.bucket("b").await.unwrap(), None);
    index.create_bucket(bucket("b")).await.unwrap();
}

pub async fn keeps_versions_and_markers<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    assert_eq!(newest(&*index, "k").await, None);
    assert_eq!(put(&*index, version("k", "v1", &["x"])).await, [""; 0]);
    assert_eq!(put(&*index, version("k", "v2", &["y", "z"])).await, [""; 0]);
    assert_eq!(put(&*index, marker("k", "m")).await, [""; 0]);
    put(&*index, version("k2", "v1", &[])).await;

    assert_eq!(index.version("b", "k", None).await.unwrap(), Some(marker("k", "m")));
    let second = index.version("b", "k", Some("v2")).await.unwrap();
    assert_eq!(second, Some(version("k", "v2", &["y", "z"])));
    assert_eq!(index.version("b", "k", Some("v3")).await.unwrap(), None);
    assert_eq!(index.version("b", "absent", Some("v1")).await.unwrap(), None);
    let expected = owned([("m", true), ("v2", false), ("v1", false), ("v1", true)]);
    assert_eq!(all_versions(&*index).await, expected);

    // Not the newest: the newest stays.
    let removed = index.remove_version("b", "k", "v1").await.unwrap();
    assert_eq!(removed, Some(version("k", "v1", &["x"])));
    assert_eq!(newest(&*index, "k").await.as_deref(), Some("m"));
    // The newest: the one before follows it.
    assert_eq!(index.remove_version("b", "k", "m").await.unwrap(), Some(marker("k", "m")));
    assert_eq!(all_versions(&*index).await, owned([("v2", true), ("v1", true)]));
    assert_eq!(index.remove_version("b", "k", "m").await.unwrap(), None);
    index.remove_version("b", "k", "v2").await.unwrap();
    assert_eq!(newest(&*index, "k").await, None);
    assert_eq!(newest(&*index, "k2").await.as_deref(), Some("v1"));
}

pub async fn replaces_the_version_of_the_same_id<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    put(&*index, version("k", "null", &["a", "b"])).await;
    put(&*index, version("k", "v1", &["c"])).await;
    // It becomes the newest, and what only its forerunner was made of goes.
    assert_eq!(put(&*index, version("k", "null", &["b", "d"])).await, ["a"]);
    assert_eq!(all_versions(&*index).await, owned([("null", true), ("v1", false)]));
    // A marker takes the place of the null version too.
    assert_eq!(put(&*index, marker("k", "null")).await, ["b", "d"]);
    assert_eq!(put(&*index, version("k", "null", &["e"])).await, [""; 0]);
    assert_eq!(put(&*index, version("other", "null", &["f"])).await, [""; 0]);
    assert_eq!(index.unreferenced(vec!["e".to_owned(), "b".to_owned()]).await.unwrap(), ["b"]);
}

pub async fn checks_conditions<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    let etag = |etag: &str| Condition::Etag(etag.to_owned());
    let check = async |id: &str, condition: Condition, holds: bool| {
        let before = newest(&*index, "k").await;
        let outcome = index.put_version(version("k", id, &[id]), condition.clone()).await;
        let after = newest(&*index, "k").await;
        if holds {
            assert_eq!(outcome.unwrap(), [""; 0], "{condition:?}");
            assert_eq!(after.as_deref(), Some(id), "{condition:?}");
        } else {
            assert!(matches!(outcome, Err(IndexError::ConditionFailed)), "{condition:?}");
            assert_eq!(after, before, "{condition:?}");
            let left = index.unreferenced(vec![id.to_owned()]).await.unwrap();
            assert_eq!(left, [id], "{condition:?}");
        }
    };
    check("v1", etag("v1"), false).await;
    check("v1", Condition::Absent, true).await;
    check("v2", Condition::Absent, false).await;
    check("v2", etag("v2"), false).await;
    check("v2", etag("v1"), true).await;
    check("v3", etag("v1"), false).await; // Not the newest any more.
    put(&*index, marker("k", "m")).await;
    check("v3", etag("m"), false).await; // A marker is no object.
    check("v3", Condition::Absent, true).await;
    check("v4", Condition::None, true).await;
}

pub async fn one_of_32_conditional_puts_succeeds<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    for (round, condition) in
        [Condition::Absent, Condition::Etag("won".to_owned())].into_iter().enumerate()
    {
        let put = |n: usize| {
            let (index, condition) = (index.clone(), condition.clone());
            let id = format!("{round}-{n}");
            let new = version("k", &id, &[&*id]);
            let new = ObjectVersion { etag: "won".to_owned(), ..new };
            let new =
                if round == 1 { ObjectVersion { etag: "then".to_owned(), ..new } } else { new };
            async move { (id, index.put_version(new, condition).await) }
        };
        let outcomes = in_parallel((0..32).map(put)).await;
        let mut winners = Vec::new();
        for (id, outcome) in outcomes {
            match outcome {
                Ok(_) => winners.push(id),
                Err(IndexError::ConditionFailed) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(newest(&*index, "k").await, winners.pop());
    }
}

pub async fn replaces_attributes<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    put(&*index, version("k", "v1", &["a"])).await;
    put(&*index, version("k", "v2", &["b"])).await;
    let tags = BTreeMap::from([("t".to_owned(), "1".to_owned())]);
    let attributes = Attributes { tags, ..Attributes::default() };
    index.set_attributes("b", "k", "v1", attributes.clone()).await.unwrap();
    let changed = ObjectVersion { attributes: attributes.clone(), ..version("k", "v1", &["a"]) };
    assert_eq!(index.version("b", "k", Some("v1")).await.unwrap(), Some(changed));
    let other = index.version("b", "k", None).await.unwrap();
    assert_eq!(other, Some(version("k", "v2", &["b"])));
    for (key, id) in [("k", "v3"), ("absent", "v1")] {
        let outcome = index.set_attributes("b", key, id, attributes.clone()).await;
        assert!(matches!(outcome, Err(IndexError::NoSuchKey(name)) if name == key));
    }
}
