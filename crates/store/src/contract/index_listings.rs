//! Listings of a bucket, against a model that looks at every row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use sagebrush_core::objects::{
    Condition, ListMarker, ListQuery, Listing, ObjectIndex, ObjectVersion,
};

use super::for_all;
use super::index_versions::{bucket, marker, put, version};

/// What a page shows, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Version { key: String, version_id: String, is_latest: bool },
    Prefix(String),
}

/// The versions of a bucket, by key and then newest first: all that a listing may show.
type Rows = Vec<(ObjectVersion, bool)>;

pub async fn lists_markers_and_limits<S: ObjectIndex>(index: Arc<S>) {
    index.create_bucket(bucket("b")).await.unwrap();
    for key in ["a", "b/1", "b/2", "c"] {
        put(&*index, version(key, "v1", &[])).await;
        put(&*index, version(key, "v2", &[])).await;
    }
    put(&*index, marker("a", "m")).await;
    let check = async |query: ListQuery, shown: &[&str], next: Option<&str>| {
        let listing = index.list("b", &query).await.unwrap();
        let next = next.map(|key| ListMarker { key: key.to_owned(), version_id: None });
        assert_eq!(listing.next, next, "{query:?}");
        assert!(listing.versions.iter().all(|row| row.is_latest), "{query:?}");
        let keys = listing.versions.into_iter().map(|row| row.version.key);
        let keys: Vec<String> = keys.chain(listing.common_prefixes).collect();
        assert_eq!(keys, shown, "{query:?}");
    };
    let at_most = |limit| ListQuery { limit, ..ListQuery::default() };
    check(at_most(9), &["b/1", "b/2", "c"], None).await;
    check(at_most(3), &["b/1", "b/2", "c"], None).await;
    check(at_most(2), &["b/1", "b/2"], Some("b/2")).await;
    check(at_most(0), &[], None).await;
    let folded = |limit, after: Option<&str>| ListQuery {
        delimiter: Some("/".to_owned()),
        after: after.map(str::to_owned),
        ..at_most(limit)
    };
    check(folded(9, None), &["c", "b/"], None).await;
    check(folded(1, None), &["b/"], Some("b/")).await;
    check(folded(1, Some("b/")), &["c"], None).await;
    check(folded(1, Some("b/1")), &["c"], None).await;
    check(folded(9, Some("a")), &["c", "b/"], None).await;
    check(folded(9, Some("c")), &[], None).await;
    let all = index.list_versions("b", &at_most(100)).await.unwrap();
    let markers = all.versions.iter().filter(|row| row.version.is_delete_marker).count();
    assert_eq!((all.versions.len(), markers), (9, 1));
}

fn text(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let one = select(vec!['a', 'b', '/', '%', '\0', '\u{7f}', 'é', '\u{d7ff}', '\u{10ffff}']);
    vec(one, length).prop_map(|chars| chars.into_iter().collect())
}

/// Keys, each with its versions, the oldest first; `true` is a marker.
fn keys() -> impl Strategy<Value = Vec<(String, Vec<bool>)>> {
    btree_map(text(1..6), vec(any::<bool>(), 1..4), 0..30)
        .prop_map(|keys| keys.into_iter().collect())
}

fn queries() -> impl Strategy<Value = Vec<ListQuery>> {
    let delimiter = option::of(select(vec!["/", "/", "a/", "//", "é", "\u{10ffff}", ""]));
    let after_version = option::of(select(vec!["v0", "v1", "v9"]));
    let one = (text(0..3), delimiter, option::of(text(0..5)), after_version, 1..8_usize).prop_map(
        |(prefix, delimiter, after, after_version, limit)| ListQuery {
            prefix,
            delimiter: delimiter.map(str::to_owned),
            after,
            after_version: after_version.map(str::to_owned),
            limit,
        },
    );
    vec(one, 1..12)
}

pub async fn lists_as_the_model<S: ObjectIndex>(index: Arc<S>) {
    let cases = AtomicUsize::new(0);
    for_all((keys(), queries()), async |(keys, queries)| {
        let name = format!("b{}", cases.fetch_add(1, Ordering::Relaxed));
        index.create_bucket(bucket(&name)).await.unwrap();
        let rows = fill(&*index, &name, keys).await;
        for query in queries {
            for versions in [false, true] {
                check_page(&*index, &name, &rows, &query, versions).await;
                check_walk(&*index, &name, &rows, &query, versions).await;
            }
        }
    })
    .await;
}

/// Puts the versions, all keys at once but each key's in their order.
async fn fill<S: ObjectIndex>(index: &S, name: &str, keys: Vec<(String, Vec<bool>)>) -> Rows {
    let one = async |key: String, markers: Vec<bool>| {
        let mut rows = Rows::new();
        for (n, is_marker) in markers.iter().enumerate() {
            let id = format!("v{n}");
            let new = if *is_marker { marker(&key, &id) } else { version(&key, &id, &[]) };
            let new = ObjectVersion { bucket: name.to_owned(), ..new };
            index.put_version(new.clone(), Condition::None).await.unwrap();
            rows.push((new, n + 1 == markers.len()));
        }
        rows.reverse();
        rows
    };
    join_all(keys.into_iter().map(|(key, markers)| one(key, markers))).await.concat()
}

async fn read<S: ObjectIndex>(
    index: &S,
    name: &str,
    query: &ListQuery,
    versions: bool,
) -> (Vec<Entry>, Option<ListMarker>) {
    let listing = if versions {
        index.list_versions(name, query).await.unwrap()
    } else {
        index.list(name, query).await.unwrap()
    };
    let next = listing.next.clone();
    (entries(listing), next)
}

/// The rows and the common prefixes of a page in one order, by their text.
fn entries(listing: Listing) -> Vec<Entry> {
    let rows = listing.versions.into_iter().map(|row| {
        let ObjectVersion { key, version_id, .. } = row.version;
        Entry::Version { key, version_id, is_latest: row.is_latest }
    });
    let mut entries: Vec<Entry> =
        rows.chain(listing.common_prefixes.into_iter().map(Entry::Prefix)).collect();
    // Stable: the versions of a key keep their order.
    entries.sort_by(|a, b| text_of(a).cmp(text_of(b)));
    entries
}

fn text_of(entry: &Entry) -> &str {
    match entry {
        Entry::Version { key, .. } | Entry::Prefix(key) => key,
    }
}

async fn check_page<S: ObjectIndex>(
    index: &S,
    name: &str,
    rows: &Rows,
    query: &ListQuery,
    versions: bool,
) {
    let all = model(rows, query, versions);
    let shown: Vec<Entry> = all.iter().take(query.limit).cloned().collect();
    let next = shown.last().filter(|_| all.len() > query.limit).map(|entry| match entry {
        Entry::Prefix(key) => ListMarker { key: key.clone(), version_id: None },
        Entry::Version { key, version_id, .. } => {
            ListMarker { key: key.clone(), version_id: versions.then(|| version_id.clone()) }
        }
    });
    let page = read(index, name, query, versions).await;
    assert_eq!(page, (shown, next), "{query:?}, versions: {versions}");
}

/// Follows the markers to the end: nothing is skipped, nothing comes twice.
async fn check_walk<S: ObjectIndex>(
    index: &S,
    name: &str,
    rows: &Rows,
    query: &ListQuery,
    versions: bool,
) {
    let mut page = query.clone();
    let mut walked = Vec::new();
    loop {
        let (entries, next) = read(index, name, &page, versions).await;
        walked.extend(entries);
        let Some(marker) = next else { break };
        page.after = Some(marker.key);
        page.after_version = marker.version_id;
    }
    assert_eq!(walked, model(rows, query, versions), "{query:?}, versions: {versions}");
}

/// What all pages from the first on show.
fn model(rows: &Rows, query: &ListQuery, versions: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (version, is_latest) in rows {
        let is_row = versions || *is_latest && !version.is_delete_marker;
        let Some(rest) = version.key.strip_prefix(&query.prefix).filter(|_| is_row) else {
            continue;
        };
        let entry = match query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()) {
            Some(delimiter) if rest.contains(delimiter) => {
                let (head, _) = rest.split_once(delimiter).unwrap();
                Entry::Prefix(format!("{}{head}{delimiter}", query.prefix))
            }
            _ => Entry::Version {
                key: version.key.clone(),
                version_id: version.version_id.clone(),
                is_latest: *is_latest,
            },
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let Some(after) = &query.after else {
        return entries;
    };
    let marked = entries.iter().position(|entry| {
        matches!(entry, Entry::Version { key, version_id, .. }
            if key == after && Some(version_id) == query.after_version.as_ref())
    });
    let may_split = versions && query.after_version.is_some();
    let behind = |(at, entry): &(usize, Entry)| match entry {
        Entry::Version { key, .. } if key == after && may_split => marked.is_none_or(|it| *at > it),
        Entry::Version { .. } | Entry::Prefix(_) => text_of(entry) > after.as_str(),
    };
    entries.into_iter().enumerate().filter(behind).map(|(_, entry)| entry).collect()
}
