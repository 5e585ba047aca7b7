//! Opening, closing, and files that are not as they should be.

use std::fs;
use std::path::{Path, PathBuf};

use sagebrush_core::store::{MetaStore, Query, StoreError};
use tempfile::TempDir;

use super::{record, sql};
use crate::{OpenError, SqliteStore};

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    (dir, path)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

async fn open_error(path: &Path) -> OpenError {
    SqliteStore::open(path).await.unwrap_err()
}

/// Makes a database of some pages, and closes it.
async fn fill(path: &Path) {
    let store = open(path).await;
    for n in 0..8 {
        store.put(record(&n.to_string(), 10_000), 0).await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn everything_is_in_one_file_after_close() {
    let (dir, path) = place();
    fill(&path).await;
    let mut files: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["store.db", "store.db.lock"]);

    let store = open(&path).await;
    assert_eq!(count(&store).await, 8);
    assert_eq!(sql(&store, "pragma synchronous").await, 2);
}

async fn count(store: &SqliteStore) -> usize {
    MetaStore::list(store, "model", &Query::default()).await.unwrap().records.len()
}

#[tokio::test]
async fn what_is_queued_at_close_is_carried_out() {
    let (_dir, path) = place();
    let store = open(&path).await;
    let puts = (0..200).map(|n| store.put(record(&n.to_string(), 10), 0));
    let puts = futures::future::join_all(puts.collect::<Vec<_>>());
    let (outcomes, ()) = futures::future::join(puts, store.close()).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let late = store.put(record("late", 10), 0).await;
    assert!(matches!(late, Err(StoreError::Io(_))), "{late:?}");
    let read = store.get(&record("0", 0).id).await;
    assert!(matches!(read, Err(StoreError::Io(_))), "{read:?}");
    store.close().await; // Again: it returns.
    assert_eq!(count(&open(&path).await).await, 200);
}

#[tokio::test]
async fn belongs_to_one_at_a_time() {
    let (_dir, path) = place();
    let first = open(&path).await;
    let error = open_error(&path).await;
    assert!(matches!(error, OpenError::InUse(_)), "{error:?}");
    assert_eq!(error.to_string(), format!("`{}` is in use by another process", path.display()));
    first.put(record("a", 1), 0).await.unwrap();
    first.close().await;
    open(&path).await;
}

#[tokio::test]
async fn refuses_a_damaged_file() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("no database", |bytes| bytes.fill(b'x')),
        ("cut short", |bytes| bytes.truncate(6_000)),
        ("a damaged header", |bytes| bytes[..16].fill(0)),
        ("a damaged schema", |bytes| bytes[100..4_096].fill(0xff)),
    ];
    for (what, damage) in damages {
        let (_dir, path) = place();
        fill(&path).await;
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = open_error(&path).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}: the file was touched");
    }
}

#[tokio::test]
async fn refuses_a_newer_file() {
    let (_dir, path) = place();
    let store = open(&path).await;
    sql(
        &store,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9999, 'later', true, x'00', 0)",
    )
    .await;
    store.close().await;
    let error = open_error(&path).await;
    assert!(matches!(error, OpenError::Newer(_)), "{error:?}");
}

#[tokio::test]
async fn says_which_path_it_cannot_open() {
    let (dir, _) = place();
    let error = open_error(&dir.path().join("absent/store.db")).await;
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("absent"), "{error}");
}
