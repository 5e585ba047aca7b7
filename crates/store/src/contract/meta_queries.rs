//! Lists of records: orders, filters, pages.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use futures::future::join_all;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use sagebrush_core::store::{Cursor, MetaStore, Query, Record, SortBy, StoreError};
use sagebrush_core::{Region, Timestamp};

use super::for_all;
use super::meta_records::record;

fn with(key: &str, region: &str, status: &str, created_at: i64, modified_at: i64) -> Record {
    Record {
        status: status.to_owned(),
        created_at: Timestamp(created_at),
        modified_at: Timestamp(modified_at),
        ..record("model", region, key)
    }
}

async fn put_five<S: MetaStore>(store: &S) {
    for record in [
        with("b", "us-east-1", "Creating", 30, 300),
        with("A", "us-east-1", "InService", 10, 500),
        with("a_1", "eu-west-1", "InService", 20, 100),
        with("a%1", "us-east-1", "Failed", 20, 200),
        with("B-a", "eu-west-1", "", -5, 400),
    ] {
        store.put(record, 0).await.unwrap();
    }
}

async fn assert_lists<S: MetaStore>(store: &S, query: Query, expected: &[&str]) {
    let page = store.list("model", &query).await.unwrap();
    let keys: Vec<&str> = page.records.iter().map(|record| &*record.id.key).collect();
    assert_eq!(keys, expected, "{query:?}");
    assert_eq!(page.next, None, "{query:?}");
}

pub async fn sorts<S: MetaStore>(store: Arc<S>) {
    put_five(&*store).await;
    let orders = [
        (SortBy::Name, ["A", "B-a", "a%1", "a_1", "b"]),
        (SortBy::CreationTime, ["B-a", "A", "a_1", "a%1", "b"]),
        (SortBy::LastModifiedTime, ["a_1", "a%1", "b", "B-a", "A"]),
        (SortBy::Status, ["B-a", "b", "a%1", "a_1", "A"]),
    ];
    for (sort_by, mut expected) in orders {
        let query = Query { sort_by, ..Query::default() };
        assert_lists(&*store, query.clone(), &expected).await;
        expected.reverse();
        assert_lists(&*store, Query { descending: true, ..query }, &expected).await;
    }
}

pub async fn filters<S: MetaStore>(store: Arc<S>) {
    put_five(&*store).await;
    let all = Query::default;
    let text = |text: &str| Some(text.to_owned());
    let at = |at| Some(Timestamp(at));
    let cases: [(Query, &[&str]); 13] = [
        (Query { region: Some(Region::new("eu-west-1")), ..all() }, &["B-a", "a_1"]),
        (Query { region: Some(Region::new("eu")), ..all() }, &[]),
        (Query { name_contains: text("A"), ..all() }, &["A", "B-a", "a%1", "a_1"]),
        (Query { name_contains: text("%"), ..all() }, &["a%1"]),
        (Query { name_contains: text("_"), ..all() }, &["a_1"]),
        (Query { name_contains: text(""), ..all() }, &["A", "B-a", "a%1", "a_1", "b"]),
        (Query { name_contains: text("'; --"), ..all() }, &[]),
        (Query { status: text("InService"), ..all() }, &["A", "a_1"]),
        (Query { status: text(""), ..all() }, &["B-a"]),
        (Query { created_after: at(10), created_before: at(30), ..all() }, &["a%1", "a_1"]),
        (Query { created_before: at(-4), ..all() }, &["B-a"]),
        (Query { modified_after: at(400), ..all() }, &["A"]),
        (Query { modified_after: at(100), modified_before: at(300), ..all() }, &["a%1"]),
    ];
    for (query, expected) in cases {
        assert_lists(&*store, query, expected).await;
    }
}

pub async fn refuses_a_cursor_that_is_no_time<S: MetaStore>(store: Arc<S>) {
    let region = Region::new("us-east-1");
    let after = Some(Cursor { value: "noon".to_owned(), region, key: "k".to_owned() });
    for sort_by in [SortBy::CreationTime, SortBy::LastModifiedTime] {
        let query = Query { sort_by, after: after.clone(), ..Query::default() };
        let outcome = store.list("model", &query).await;
        assert!(matches!(outcome, Err(StoreError::Io(_))), "{outcome:?}");
    }
}

/// Records that tie often, and a query of them.
fn records_and_query() -> impl Strategy<Value = (Vec<Record>, Query)> {
    let name = || select(vec!["a", "A", "ab", "b", "B%", "é"]);
    let region = || select(vec!["r", "s"]);
    let status = || select(vec!["", "InService", "Failed"]);
    let one = (name(), region(), status(), 0..3_i64, 0..3_i64).prop_map(
        |(name, region, status, created_at, modified_at)| Record {
            name: name.to_owned(),
            ..with("", region, status, created_at, modified_at)
        },
    );
    let sort_by = prop_oneof![
        Just(SortBy::Name),
        Just(SortBy::CreationTime),
        Just(SortBy::LastModifiedTime),
        Just(SortBy::Status),
    ];
    let after = || option::weighted(0.2, (-1..2_i64).prop_map(Timestamp));
    let before = || option::weighted(0.2, (1..4_i64).prop_map(Timestamp));
    let texts = (
        option::weighted(0.2, region().prop_map(Region::new)),
        option::weighted(0.3, select(vec!["a", "B", "%", ""]).prop_map(str::to_owned)),
        option::weighted(0.2, status().prop_map(str::to_owned)),
    );
    let order = (sort_by, any::<bool>(), 0..6_usize);
    let query = (texts, (after(), before(), after(), before()), order).prop_map(
        |((region, name_contains, status), times, (sort_by, descending, limit))| Query {
            region,
            name_contains,
            status,
            created_after: times.0,
            created_before: times.1,
            modified_after: times.2,
            modified_before: times.3,
            sort_by,
            descending,
            limit,
            after: None,
        },
    );
    (vec(one, 0..24), query)
}

pub async fn pages_as_the_model<S: MetaStore>(store: Arc<S>) {
    let cases = AtomicUsize::new(0);
    for_all(records_and_query(), async |(mut records, query)| {
        let kind = format!("kind-{}", cases.fetch_add(1, Atomic::Relaxed));
        for (n, record) in records.iter_mut().enumerate() {
            record.id.kind.clone_from(&kind);
            record.id.key = format!("key-{}", (n * 7) % 24); // In no order.
            record.version = 1;
        }
        let puts = records.iter().map(|record| store.put(record.clone(), 0));
        join_all(puts).await.into_iter().collect::<Result<(), _>>().unwrap();
        assert_eq!(all_pages(&*store, &kind, &query).await, model(records, &query));
    })
    .await;
}

async fn all_pages<S: MetaStore>(store: &S, kind: &str, query: &Query) -> Vec<Record> {
    let mut query = query.clone();
    let mut records = Vec::new();
    loop {
        let page = store.list(kind, &query).await.unwrap();
        let is_full = page.records.len() == query.limit;
        records.extend(page.records);
        if page.next.is_none() {
            return records;
        }
        assert!(is_full && query.limit > 0, "a page that is not full says there are more");
        let last = records.last().unwrap();
        assert_eq!(page.next, Some(Cursor::at(last, query.sort_by)));
        query.after = page.next;
    }
}

fn model(mut records: Vec<Record>, query: &Query) -> Vec<Record> {
    let part = query.name_contains.as_deref().unwrap_or("").to_ascii_lowercase();
    records.retain(|record| record.name.to_ascii_lowercase().contains(&part));
    records.retain(|record| query.region.as_ref().is_none_or(|it| record.id.region == *it));
    records.retain(|record| query.status.as_ref().is_none_or(|it| record.status == *it));
    records.retain(|record| query.created_after.is_none_or(|it| record.created_at > it));
    records.retain(|record| query.created_before.is_none_or(|it| record.created_at < it));
    records.retain(|record| query.modified_after.is_none_or(|it| record.modified_at > it));
    records.retain(|record| query.modified_before.is_none_or(|it| record.modified_at < it));
    records.sort_by(|a, b| {
        let column = match query.sort_by {
            SortBy::Name => a.name.cmp(&b.name),
            SortBy::CreationTime => a.created_at.cmp(&b.created_at),
            SortBy::LastModifiedTime => a.modified_at.cmp(&b.modified_at),
            SortBy::Status => a.status.cmp(&b.status),
        };
        let order: Ordering = column.then_with(|| a.id.cmp(&b.id));
        if query.descending { order.reverse() } else { order }
    });
    records
}
