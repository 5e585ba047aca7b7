//! Writes that fail, alone and among others.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use sagebrush_core::store::{MetaStore as _, StoreError};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{Sql, record, sql};
use crate::SqliteStore;
use crate::sqlite::writer::Write;

async fn store() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(&dir.path().join("store.db")).await.unwrap(), dir)
}

struct Panics;

#[async_trait]
impl Write for Panics {
    type Output = ();
    type Error = StoreError;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("delete from records").execute(db).await.unwrap();
        panic!("to see what becomes of the others");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_undone_alone() {
    let (store, _dir) = store().await;
    store.put(record("before", 1), 0).await.unwrap();
    // All of them are queued before the task looks: one transaction.
    let puts = join_all((0..40).map(|n| store.put(record(&format!("k{}", n / 2), 1), 0)));
    let panics = store.writer.write(Panics);
    let wrong = store.writer.write(Sql("delete from records; select * from nowhere".to_owned()));
    let more = join_all((20..30).map(|n| store.put(record(&format!("k{n}"), 1), 0)));
    let (puts, panicked, wrong, more) = tokio::join!(puts, panics, wrong, more);
    for (n, outcome) in puts.iter().enumerate() {
        match outcome {
            Ok(()) => assert!(n.is_multiple_of(2)),
            Err(StoreError::Conflict { .. }) => assert!(!n.is_multiple_of(2)),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(matches!(panicked, Err(StoreError::Io(_))), "{panicked:?}");
    assert!(matches!(wrong, Err(StoreError::Io(_))), "{wrong:?}");
    assert!(more.iter().all(Result::is_ok), "{more:?}");
    assert_eq!(sql(&store, "select count(*) from records").await, 31);
    // Alone, too.
    store.writer.write(Panics).await.unwrap_err();
    assert_eq!(sql(&store, "select count(*) from records").await, 31);
}

#[tokio::test]
async fn a_write_that_takes_the_transaction_down_fails_alone() {
    let (store, _dir) = store().await;
    let puts = join_all((0..20).map(|n| store.put(record(&format!("k{n}"), 1), 0)));
    // As SQLite may do by itself when the disk is full.
    let bad = store.writer.write(Sql("rollback; select * from nowhere".to_owned()));
    let more = join_all((20..40).map(|n| store.put(record(&format!("k{n}"), 1), 0)));
    let (puts, bad, more) = tokio::join!(puts, bad, more);
    assert!(bad.is_err());
    assert!(puts.iter().chain(&more).all(Result::is_ok), "{puts:?} {more:?}");
    assert_eq!(sql(&store, "select count(*) from records").await, 40);
}

#[tokio::test]
async fn a_full_disk_fails_what_needs_room() {
    let (store, _dir) = store().await;
    for n in 0..8 {
        store.put(record(&format!("old-{n}"), 1), 0).await.unwrap();
    }
    let pages = sql(&store, "pragma page_count").await;
    for spare in 0..24 {
        sql(&store, &format!("pragma max_page_count = {}", pages + spare)).await;
        // Each needs some 25 pages, and fits at no time; the small ones change what is there.
        let large = (0..4).map(|n| store.put(record(&format!("large-{n}"), 100_000), 0));
        let small = (0..8)
            .map(|n| store.put(record(&format!("old-{n}"), 1), u64::try_from(spare).unwrap() + 1));
        let (large, small) = futures::future::join(join_all(large), join_all(small)).await;
        let all_full = large.iter().all(|outcome| matches!(outcome, Err(StoreError::Full)));
        assert!(all_full, "{spare}: {large:?}");
        assert!(small.iter().all(Result::is_ok), "{spare}: {small:?}");
        let read = store.get(&record("old-3", 0).id).await.unwrap().unwrap();
        assert_eq!(read.version, u64::try_from(spare).unwrap() + 2);
        assert_eq!(store.get(&record("large-0", 0).id).await.unwrap(), None);
    }
    // There is room again: no restart is needed.
    sql(&store, "pragma max_page_count = 100000").await;
    store.put(record("large-0", 100_000), 0).await.unwrap();
    let sound = sqlx::query_scalar::<_, String>("pragma integrity_check");
    assert_eq!(sound.fetch_one(&store.readers).await.unwrap(), "ok");
}

#[tokio::test]
async fn waits_for_another_program() {
    let (store, dir) = store().await;
    let url = format!("sqlite://{}", dir.path().join("store.db").display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();
    let free = async {
        sleep(Duration::from_millis(100)).await;
        sqlx::query("rollback").execute(&mut other).await.unwrap();
    };
    let new = record("a", 1);
    let (outcome, ()) = tokio::join!(store.put(new, 0), free);
    outcome.unwrap();
}

#[tokio::test]
async fn nobody_hangs_when_the_task_is_gone() {
    let (store, _dir) = store().await;
    let all = async {
        let puts = (0..100).map(|n| store.put(record(&n.to_string(), 1), 0));
        tokio::join!(join_all(puts), store.close(), store.close()).0
    };
    timeout(Duration::from_secs(10), all).await.unwrap();
    let late = timeout(Duration::from_secs(10), store.put(record("late", 1), 0)).await.unwrap();
    assert!(matches!(late, Err(StoreError::Io(_))), "{late:?}");
}
