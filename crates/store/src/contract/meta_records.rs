//! Single records: versions, conflicts, races.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use sagebrush_core::store::{MetaStore, Query, Record, RecordId, StoreError};
use sagebrush_core::{Region, Timestamp};

pub(super) fn record(kind: &str, region: &str, key: &str) -> Record {
    let id = RecordId { kind: kind.to_owned(), region: Region::new(region), key: key.to_owned() };
    Record {
        id,
        name: key.to_owned(),
        version: 77, // Ignored.
        status: "InService".to_owned(),
        created_at: Timestamp(1_000),
        modified_at: Timestamp(2_000),
        spec: r#"{"a":"é\u0000"}"#.to_owned(),
        status_doc: "{}".to_owned(),
        tags: BTreeMap::from([("k".to_owned(), "v'\"%".to_owned())]),
    }
}

fn stored(record: &Record, version: u64) -> Option<Record> {
    Some(Record { version, ..record.clone() })
}

pub async fn creates_reads_updates_removes<S: MetaStore>(store: Arc<S>) {
    let first = record("model", "us-east-1", "m");
    assert_eq!(store.get(&first.id).await.unwrap(), None);
    store.put(first.clone(), 0).await.unwrap();
    assert_eq!(store.get(&first.id).await.unwrap(), stored(&first, 1));

    let second = Record {
        name: "M".to_owned(),
        status: String::new(),
        created_at: Timestamp(-5),
        modified_at: Timestamp(i64::MAX),
        spec: "[]".to_owned(),
        status_doc: String::new(),
        tags: BTreeMap::new(),
        ..first
    };
    store.put(second.clone(), 1).await.unwrap();
    assert_eq!(store.get(&second.id).await.unwrap(), stored(&second, 2));

    store.remove(&second.id, 2).await.unwrap();
    assert_eq!(store.get(&second.id).await.unwrap(), None);
    store.put(second.clone(), 0).await.unwrap();
    assert_eq!(store.get(&second.id).await.unwrap(), stored(&second, 1));
}

pub async fn a_conflict_changes_nothing<S: MetaStore>(store: Arc<S>) {
    let kept = record("model", "us-east-1", "kept");
    let absent = record("model", "us-east-1", "absent");
    store.put(kept.clone(), 0).await.unwrap();
    store.put(kept.clone(), 1).await.unwrap();

    let check = async |record: &Record, expected: u64, stored: u64| {
        let changed = Record { status: "Changed".to_owned(), ..record.clone() };
        let put = store.put(changed, expected).await;
        assert_conflict(put, &record.id.key, expected, stored);
        let removed = store.remove(&record.id, expected).await;
        assert_conflict(removed, &record.id.key, expected, stored);
    };
    for expected in [0, 1, 3, u64::MAX] {
        check(&kept, expected, 2).await;
    }
    for expected in [1, 2, u64::MAX] {
        check(&absent, expected, 0).await;
    }
    assert_eq!(store.get(&kept.id).await.unwrap(), stored(&kept, 2));
    assert_eq!(store.get(&absent.id).await.unwrap(), None);
    // What is to be absent, and is.
    store.remove(&absent.id, 0).await.unwrap();
}

fn assert_conflict(outcome: Result<(), StoreError>, of: &str, wanted: u64, found: u64) {
    let error = outcome.unwrap_err();
    let fits = matches!(&error, StoreError::Conflict { kind, key, expected, stored }
        if kind == "model" && key == of && *expected == wanted && *stored == found);
    assert!(fits, "{error:?} for {of} at {found}, not {wanted}");
}

pub async fn one_of_64_creators_succeeds<S: MetaStore>(store: Arc<S>) {
    let create = |n: usize| {
        let store = store.clone();
        let new = Record { spec: n.to_string(), ..record("model", "us-east-1", "m") };
        async move { (n, store.put(new, 0).await) }
    };
    let outcomes = in_parallel((0..64).map(create)).await;
    let winners: Vec<usize> =
        outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    let [winner] = winners[..] else { panic!("{winners:?} succeeded") };
    for (_, outcome) in outcomes.into_iter().filter(|(n, _)| *n != winner) {
        assert_conflict(outcome, "m", 0, 1);
    }
    let kept = store.get(&record("model", "us-east-1", "m").id).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.spec), (1, winner.to_string()));
}

/// Runs each future as a task of its own.
pub(super) async fn in_parallel<F>(futures: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> =
        futures.map(|future| sagebrush_core::task::spawn("contract", future)).collect();
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

pub async fn no_update_is_lost<S: MetaStore>(store: Arc<S>) {
    let id = record("model", "us-east-1", "counter").id;
    let zero = Record { spec: "0".to_owned(), ..record("model", "us-east-1", "counter") };
    store.put(zero, 0).await.unwrap();
    let count = |_| {
        let (store, id) = (store.clone(), id.clone());
        async move {
            let mut done = 0;
            while done < 8 {
                let mut record = store.get(&id).await.unwrap().unwrap();
                let version = record.version;
                record.spec = (record.spec.parse::<u64>().unwrap() + 1).to_string();
                match store.put(record, version).await {
                    Ok(()) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    };
    in_parallel((0..8).map(count)).await;
    let counted = store.get(&id).await.unwrap().unwrap();
    assert_eq!((counted.spec.as_str(), counted.version), ("64", 65));
}

pub async fn keeps_records_apart<S: MetaStore>(store: Arc<S>) {
    let ids = [("a", "r", "k"), ("b", "r", "k"), ("a", "s", "k"), ("a", "r", "K"), ("a", "r", "")];
    for (kind, region, key) in ids {
        store.put(record(kind, region, key), 0).await.unwrap();
    }
    for (kind, region, key) in ids {
        let record = record(kind, region, key);
        assert_eq!(store.get(&record.id).await.unwrap(), stored(&record, 1));
    }
    store.remove(&record("a", "r", "k").id, 1).await.unwrap();
    let left = store.list("a", &Query::default()).await.unwrap().records;
    let left: Vec<_> =
        left.iter().map(|record| (record.id.region.as_str(), &*record.id.key)).collect();
    assert_eq!(left, [("r", ""), ("r", "K"), ("s", "k")]);
    assert_eq!(store.list("c", &Query::default()).await.unwrap().records, []);
}
