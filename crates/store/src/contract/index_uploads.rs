//! Uploads, parts, and what refers to a blob.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_core::Timestamp;
use sagebrush_core::objects::{Attributes, Blob, Condition, IndexError, ObjectIndex, Part, Upload};
use sagebrush_core::store::StoreError;

use super::index_versions::{bucket, put, version};
use super::meta_records::in_parallel;

pub(super) fn upload(id: &str, key: &str) -> Upload {
    Upload {
        id: id.to_owned(),
        bucket: "b".to_owned(),
        key: key.to_owned(),
        created_at: Timestamp(3),
        attributes: Attributes { expires: Some("never".to_owned()), ..Attributes::default() },
        checksum_algorithm: Some("CRC32".to_owned()),
    }
}

fn part(number: u32, blob: &str) -> Part {
    Part {
        number,
        blob: Blob { id: blob.to_owned(), size: 9 },
        etag: format!("etag-{blob}"),
        modified_at: Timestamp(4),
        checksums: BTreeMap::from([("CRC32".to_owned(), "AAAAAA==".to_owned())]),
    }
}

async fn put_parts<S: ObjectIndex>(index: &S, upload_id: &str, parts: &[(u32, &str)]) {
    for (number, blob) in parts {
        assert_eq!(index.put_part(upload_id, part(*number, blob)).await.unwrap(), None);
    }
}

fn sorted(mut blobs: Vec<String>) -> Vec<String> {
    blobs.sort();
    blobs
}

fn is_no_upload<T>(outcome: &Result<T, IndexError>) -> bool {
    matches!(outcome, Err(IndexError::NoSuchUpload(id)) if id == "u")
}

async fn assert_ended<S: ObjectIndex>(index: &S) {
    let none = Condition::None;
    assert_eq!(index.upload("u").await.unwrap(), None);
    assert!(is_no_upload(&index.put_part("u", part(1, "late")).await));
    assert!(is_no_upload(&index.parts("u").await));
    assert!(is_no_upload(&index.complete_upload("u", version("k", "v", &[]), none).await));
    assert!(is_no_upload(&index.abort_upload("u").await));
    assert_eq!(index.unreferenced(vec!["late".to_owned()]).await.unwrap(), ["late"]);
}

pub async fn keeps_uploads_and_parts<S: ObjectIndex>(index: Arc<S>) {
    assert_ended(&*index).await;
    index.create_bucket(bucket("b")).await.unwrap();
    let plain = Upload { checksum_algorithm: None, ..upload("u", "k/1") };
    for upload in [upload("u2", "k/1"), plain.clone(), upload("u3", "k"), upload("u4", "l")] {
        index.create_upload(upload).await.unwrap();
    }
    let again = index.create_upload(upload("u", "other")).await;
    assert!(matches!(again, Err(IndexError::Store(StoreError::Conflict { .. }))));
    assert_eq!(index.upload("u").await.unwrap(), Some(plain.clone()));
    assert_eq!(index.upload("u2").await.unwrap(), Some(upload("u2", "k/1")));
    let below = index.uploads("b", "k").await.unwrap();
    assert_eq!(below, [upload("u3", "k"), plain.clone(), upload("u2", "k/1")]);
    assert_eq!(index.uploads("b", "k/").await.unwrap(), [plain, upload("u2", "k/1")]);
    assert_eq!(index.uploads("b", "").await.unwrap().len(), 4);

    put_parts(&*index, "u", &[(10_000, "z"), (2, "y"), (1, "x")]).await;
    put_parts(&*index, "u2", &[(1, "w")]).await;
    let replaced = index.put_part("u", part(2, "v")).await.unwrap();
    assert_eq!(replaced.as_deref(), Some("y"));
    assert_eq!(index.put_part("u", part(2, "v")).await.unwrap(), None); // The same again.
    let parts = index.parts("u").await.unwrap();
    assert_eq!(parts, [part(1, "x"), part(2, "v"), part(10_000, "z")]);

    assert_eq!(sorted(index.abort_upload("u").await.unwrap()), ["v", "x", "z"]);
    assert_ended(&*index).await;
    assert_eq!(index.parts("u2").await.unwrap(), [part(1, "w")]);
}

pub async fn completes_uploads<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    put(&*index, version("k", "null", &["old"])).await;
    index.create_upload(upload("u", "k")).await.unwrap();
    put_parts(&*index, "u", &[(1, "a"), (2, "b"), (3, "c")]).await;
    let whole = version("k", "null", &["a", "c"]);

    let refused = index.complete_upload("u", whole.clone(), Condition::Absent).await;
    assert!(matches!(refused, Err(IndexError::ConditionFailed)));
    assert_eq!(index.parts("u").await.unwrap().len(), 3);
    let old = index.version("b", "k", None).await.unwrap();
    assert_eq!(old, Some(version("k", "null", &["old"])));

    let same = Condition::Etag("null".to_owned());
    let orphans = index.complete_upload("u", whole.clone(), same).await.unwrap();
    assert_eq!(sorted(orphans), ["b", "old"]);
    assert_eq!(index.version("b", "k", None).await.unwrap(), Some(whole));
    assert_eq!(index.unreferenced(vec!["a".to_owned(), "c".to_owned()]).await.unwrap(), [""; 0]);
    assert_ended(&*index).await;
}

pub async fn refuses_parts_that_are_gone<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    index.create_upload(upload("u", "k")).await.unwrap();
    put_parts(&*index, "u", &[(1, "a")]).await;
    assert_eq!(index.put_part("u", part(1, "b")).await.unwrap().as_deref(), Some("a"));
    // Whoever read the parts before the second one came must not make an object of `a`.
    let whole = version("k", "null", &["a"]);
    let outcome = index.complete_upload("u", whole, Condition::None).await;
    let is_conflict = matches!(outcome, Err(IndexError::Store(StoreError::Conflict { .. })));
    assert!(is_conflict, "{outcome:?}");
    assert_eq!(index.parts("u").await.unwrap(), [part(1, "b")]);
    assert_eq!(index.version("b", "k", None).await.unwrap(), None);
}

pub async fn one_of_16_ends_an_upload<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    index.create_upload(upload("u", "k")).await.unwrap();
    put_parts(&*index, "u", &[(1, "a")]).await;
    let end = |n: usize| {
        let index = index.clone();
        async move {
            if n.is_multiple_of(4) {
                return index.abort_upload("u").await;
            }
            let whole = version("k", &n.to_string(), &["a"]);
            index.complete_upload("u", whole, Condition::None).await
        }
    };
    let outcomes = in_parallel((0..16).map(end)).await;
    assert_eq!(outcomes.iter().filter(|outcome| is_no_upload(outcome)).count(), 15);
    let orphans = outcomes.into_iter().find_map(Result::ok).unwrap();
    let made = index.version("b", "k", None).await.unwrap().is_some();
    assert_eq!(orphans, if made { vec![] } else { vec!["a".to_owned()] });
}

pub async fn knows_what_is_unreferenced<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    put(&*index, version("k", "null", &["held-1", "held-2"])).await;
    index.create_upload(upload("u", "k")).await.unwrap();
    put_parts(&*index, "u", &[(1, "part")]).await;
    let ask = async |blobs: &[&str]| {
        index.unreferenced(blobs.iter().map(|id| (*id).to_owned()).collect()).await.unwrap()
    };
    assert_eq!(ask(&[]).await, [""; 0]);
    assert_eq!(ask(&["part", "lost", "held-2", "'", "held-1"]).await, ["lost", "'"]);
    let many: Vec<String> = (0..2_500).map(|n| format!("lost-{n}")).collect();
    let mut asked = many.clone();
    asked.insert(1_200, "part".to_owned());
    assert_eq!(index.unreferenced(asked).await.unwrap(), many);

    index.remove_version("b", "k", "null").await.unwrap();
    index.abort_upload("u").await.unwrap();
    assert_eq!(ask(&["part", "held-1"]).await, ["part", "held-1"]);
}

pub async fn counts_shared_blobs<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    put(&*index, version("k1", "null", &["shared", "own", "own"])).await;
    put(&*index, version("k2", "null", &["shared"])).await;
    assert_eq!(put(&*index, version("k1", "null", &[])).await, ["own"]);
    index.create_upload(upload("u", "k")).await.unwrap();
    put_parts(&*index, "u", &[(1, "shared"), (2, "twice"), (3, "twice")]).await;
    assert_eq!(index.put_part("u", part(3, "new")).await.unwrap(), None);
    assert_eq!(put(&*index, version("k2", "null", &[])).await, [""; 0]);
    assert_eq!(sorted(index.abort_upload("u").await.unwrap()), ["new", "shared", "twice"]);
}
