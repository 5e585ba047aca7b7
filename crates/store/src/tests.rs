use std::future::{Ready, ready};

use tempfile::TempDir;

use crate::contract::Patient;
use crate::{Flaky, MemoryStore, SqliteStore, meta_store_contract, object_index_contract};

fn memory() -> Ready<(MemoryStore, ())> {
    ready((MemoryStore::new(), ()))
}

async fn sqlite() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(&dir.path().join("store.db")).await.unwrap(), dir)
}

/// Each third call fails, and is made again: it must have changed nothing.
async fn flaky<S, G>(new: impl Future<Output = (S, G)>) -> (Patient<Flaky<S>>, G) {
    let (store, guard) = new.await;
    (Patient { inner: Flaky::new(store, 3) }, guard)
}

meta_store_contract!(memory_records, memory());
meta_store_contract!(sqlite_records, sqlite());
meta_store_contract!(flaky_memory_records, flaky(memory()));
meta_store_contract!(flaky_sqlite_records, flaky(sqlite()));

object_index_contract!(memory_objects, memory());
object_index_contract!(sqlite_objects, sqlite());
object_index_contract!(flaky_memory_objects, flaky(memory()));
object_index_contract!(flaky_sqlite_objects, flaky(sqlite()));
