use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::testing::{MemoryObjects, Tar, bad_archives};

const URI: &str = "s3://bucket/models/model.tar.gz";
const KEY: &str = "models/model.tar.gz";

fn archive() -> ModelData {
    ModelData::Archive { uri: URI.to_owned() }
}

fn packed(content: &[u8]) -> Vec<u8> {
    Tar::default().file("./model.onnx", content).gz()
}

fn cache(objects: &Arc<MemoryObjects>, dir: &TempDir) -> ArtifactCache {
    with_disk(objects, dir, u64::MAX)
}

fn with_disk(objects: &Arc<MemoryObjects>, dir: &TempDir, disk_bytes: u64) -> ArtifactCache {
    let limits = Limits { disk_bytes, ..Limits::default() };
    ArtifactCache::open(objects.clone(), dir.path().join("artifacts"), limits).unwrap()
}

fn model(lease: &Arc<dyn ArtifactLease>) -> Vec<u8> {
    fs::read(lease.dir().join("model.onnx")).unwrap()
}

fn count(dir: &TempDir, folder: &str) -> usize {
    let path = dir.path().join("artifacts").join(folder);
    fs::read_dir(path).unwrap().count()
}

/// Waits for what another thread does.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}

#[tokio::test]
async fn a_version_is_fetched_once_and_an_overwritten_archive_is_fresh() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(b"one"));
    let cache = cache(&objects, &dir);
    let first = cache.fetch(&archive()).await.unwrap();
    let again = cache.fetch(&archive()).await.unwrap();
    assert_eq!((first.dir(), objects.gets()), (again.dir(), 1));
    objects.set(KEY, packed(b"two"));
    let second = cache.fetch(&archive()).await.unwrap();
    assert_eq!((model(&first), model(&second)), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!(count(&dir, "tmp"), 0);
}

#[tokio::test]
async fn overwritten_between_head_and_get() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(b"one"));
    *objects.before_get.lock().unwrap() = Some((KEY.to_owned(), packed(b"two")));
    let lease = cache(&objects, &dir).fetch(&archive()).await.unwrap();
    assert_eq!(model(&lease), b"two");
    assert_eq!((count(&dir, "tmp"), count(&dir, "entries")), (0, 1));
}

#[tokio::test]
async fn concurrent_fetches_share_one_download() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(b"one"));
    objects.gate.forget_permits(1000);
    let cache = Arc::new(cache(&objects, &dir));
    let fetch = || {
        let cache = cache.clone();
        task::spawn("fetch", async move { cache.fetch(&archive()).await })
    };
    let first = fetch();
    until(|| objects.gets() == 1).await;
    let others: Vec<_> = (0..8).map(|_| fetch()).collect();
    tokio::task::yield_now().await;
    first.abort(); // The one who started it goes away.
    assert!(first.await.is_err());
    objects.gate.add_permits(1);
    for other in others {
        assert_eq!(model(&other.await.unwrap().unwrap()), b"one");
    }
    assert_eq!(objects.gets(), 1);
}

#[tokio::test]
async fn bad_archives_leave_nothing_behind() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    let cache = cache(&objects, &dir);
    for (name, bytes, expected) in bad_archives() {
        objects.set(KEY, bytes);
        let error = cache.fetch(&archive()).await.map(drop).unwrap_err();
        let text = error.to_string();
        let is_so = matches!(error, ArtifactError::Refused { .. }) && text.contains(expected);
        assert!(is_so && !error.is_transient(), "{name}: {text}");
        assert!(text.starts_with("Could not unpack model data from s3://bucket/"), "{text}");
        assert_eq!((count(&dir, "tmp"), count(&dir, "entries")), (0, 0), "{name}");
    }
    let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(outside.len(), 1);
    objects.set(KEY, packed(b"good"));
    assert_eq!(model(&cache.fetch(&archive()).await.unwrap()), b"good");
}

#[tokio::test]
async fn a_failed_read_may_be_tried_again() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(&(0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()));
    let cache = cache(&objects, &dir);
    *objects.fail_after.lock().unwrap() = Some(8000);
    let error = cache.fetch(&archive()).await.map(drop).unwrap_err();
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        format!("Could not read model data from {URI}: the object store failed.")
    );
    assert_eq!(count(&dir, "tmp"), 0);
    *objects.fail_after.lock().unwrap() = None;
    cache.fetch(&archive()).await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_whole_entries_and_removes_the_rest() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(b"one"));
    drop(cache(&objects, &dir).fetch(&archive()).await.unwrap());
    let root = dir.path().join("artifacts");
    fs::create_dir_all(root.join("tmp/left/model")).unwrap();
    fs::create_dir_all(root.join("entries/unlabelled/model")).unwrap();
    let cache = cache(&objects, &dir);
    assert_eq!((count(&dir, "tmp"), count(&dir, "entries")), (0, 1));
    assert_eq!(model(&cache.fetch(&archive()).await.unwrap()), b"one");
    assert_eq!(objects.gets(), 1);
}

#[tokio::test]
async fn an_entry_cleared_by_hand_is_brought_again() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set(KEY, packed(b"one"));
    let cache = cache(&objects, &dir);
    let lease = cache.fetch(&archive()).await.unwrap();
    fs::remove_dir_all(lease.dir()).unwrap();
    assert_eq!(model(&cache.fetch(&archive()).await.unwrap()), b"one");
}

#[tokio::test]
async fn the_least_used_goes_first_and_none_in_use() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    let cache = with_disk(&objects, &dir, 2500);
    let fetch = async |key: &str| {
        let uri = format!("s3://bucket/{key}");
        cache.fetch(&ModelData::File { uri }).await.unwrap()
    };
    for key in ["a", "b", "c", "d"] {
        objects.set(key, vec![1; 1000]);
    }
    let held = fetch("a").await;
    drop(fetch("b").await);
    drop(fetch("c").await); // `b` goes: `a` is older but held.
    assert!(is_there(&*held));
    drop(fetch("c").await);
    assert_eq!((objects.gets(), count(&dir, "entries")), (3, 2));
    let (c, d) = (fetch("c").await, fetch("d").await); // All held: over the budget.
    assert_eq!(count(&dir, "entries"), 3);
    drop(held);
    until(|| count(&dir, "entries") == 2 && count(&dir, "tmp") == 0).await;
    assert!(is_there(&*c) && is_there(&*d));
}

fn is_there(lease: &dyn ArtifactLease) -> bool {
    lease.dir().is_dir()
}

#[tokio::test]
async fn a_prefix_is_brought_as_it_is() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    objects.set("models/m/", Vec::new());
    objects.set("models/m/model.onnx", b"one".to_vec());
    objects.set("models/m/code/inference.py", b"py".to_vec());
    objects.set("models/m/code/lib/x.py", b"x".to_vec());
    objects.set("models/m2/other", b"other".to_vec());
    let cache = cache(&objects, &dir);
    for uri in ["s3://bucket/models/m", "s3://bucket/models/m/"] {
        let lease = cache.fetch(&ModelData::Prefix { uri: uri.to_owned() }).await.unwrap();
        assert_eq!(model(&lease), b"one");
        assert_eq!(fs::read(lease.dir().join("code/lib/x.py")).unwrap(), b"x");
        assert_eq!(fs::read_dir(lease.dir()).unwrap().count(), 2);
    }
    objects.set("models/m/code/lib/x.py", b"y".to_vec());
    let uri = "s3://bucket/models/m/".to_owned();
    let lease = cache.fetch(&ModelData::Prefix { uri }).await.unwrap();
    assert_eq!(fs::read(lease.dir().join("code/lib/x.py")).unwrap(), b"y");
}

#[tokio::test]
async fn hostile_keys_are_refused() {
    for key in ["p/../../x", "p//../x", "p/a\\b", "p/a\nb", "p/a/b", "p/dir/"] {
        let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
        objects.set("p/a", b"x".to_vec()); // Also the file that `p/a/b` would lie below.
        objects.set(key, b"x".to_vec());
        let uri = "s3://bucket/p/".to_owned();
        let error = cache(&objects, &dir).fetch(&ModelData::Prefix { uri }).await.map(drop);
        let error = error.unwrap_err();
        assert!(matches!(error, ArtifactError::Refused { .. }), "{key}: {error}");
        assert_eq!((objects.gets(), count(&dir, "tmp")), (0, 0));
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    let cache = cache(&objects, &dir);
    let check = async |source: ModelData, is_missing: bool| {
        let error = cache.fetch(&source).await.map(drop).unwrap_err();
        assert_eq!(matches!(error, ArtifactError::Missing { .. }), is_missing, "{error}");
        assert_eq!(matches!(error, ArtifactError::BadUri { .. }), !is_missing, "{error}");
    };
    check(archive(), true).await;
    check(ModelData::File { uri: URI.to_owned() }, true).await;
    check(ModelData::Prefix { uri: URI.to_owned() }, true).await;
    check(ModelData::Archive { uri: "https://host/m.tar.gz".to_owned() }, false).await;
    check(ModelData::Archive { uri: "s3://bucket/folder/".to_owned() }, false).await;
    check(ModelData::File { uri: "s3://bucket/..".to_owned() }, false).await;
    assert!(Path::new(&dir.path().join("artifacts")).is_dir());
}

#[tokio::test]
async fn a_version_is_looked_up_again_only_after_a_write() {
    let (objects, dir) = (MemoryObjects::new(), TempDir::new().unwrap());
    let cache = cache(&objects, &dir);
    let source = archive();
    let version = || cache.version(&source);
    assert!(matches!(version().await, Err(ArtifactError::Missing { .. })));
    assert!(version().await.is_err());
    assert_eq!(objects.heads.load(std::sync::atomic::Ordering::SeqCst), 1);
    objects.set(KEY, packed(b"one"));
    let first = version().await.unwrap();
    assert_eq!(version().await.unwrap(), first);
    assert_eq!(objects.heads.load(std::sync::atomic::Ordering::SeqCst), 2);
    objects.set(KEY, packed(b"two"));
    let second = version().await.unwrap();
    assert_ne!(second, first);
    objects.remove(KEY);
    assert!(matches!(version().await, Err(ArtifactError::Missing { .. })));
}
