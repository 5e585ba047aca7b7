//! What was acknowledged survives `kill -9`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sagebrush_core::store::MetaStore as _;
use sagebrush_core::task;

use super::record;
use crate::SqliteStore;

const DATABASE: &str = "SAGEBRUSH_TEST_DATABASE";

/// Started by the test below: writes until it is killed, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is the process that is killed"]
async fn writes_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the test tells its child")]
    let path = std::env::var(DATABASE).unwrap();
    let store = std::sync::Arc::new(SqliteStore::open(Path::new(&path)).await.unwrap());
    let pid = std::process::id();
    let write = |task: usize| {
        let store = store.clone();
        async move {
            for n in 0.. {
                let key = format!("{pid}-{task}-{n}");
                store.put(record(&key, 500), 0).await.unwrap();
                writeln!(std::io::stdout().lock(), "acknowledged {key}").unwrap();
            }
        }
    };
    let tasks: Vec<_> = (0..8).map(|n| task::spawn("write", write(n))).collect();
    futures::future::join_all(tasks).await;
}

/// Runs the child, kills it some time after its first line, and returns what it printed.
fn acknowledged_until_killed(path: &Path, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::kill::writes_until_it_is_killed"])
        .args(["--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let key = |line: String| Some(line.split_once("acknowledged ")?.1.to_owned());
    let first = lines.by_ref().find_map(key).unwrap();
    let reader =
        std::thread::Builder::new().spawn(move || lines.filter_map(key).collect::<Vec<_>>());
    std::thread::sleep(after);
    child.kill().unwrap(); // SIGKILL.
    child.wait().unwrap();
    let mut keys = reader.unwrap().join().unwrap();
    keys.push(first);
    keys
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut acknowledged = Vec::new();
    for round in 0..10_u64 {
        let after = Duration::from_millis((round * 37) % 101);
        acknowledged.extend(acknowledged_until_killed(&path, after));
        let store = SqliteStore::open(&path).await.unwrap();
        for key in &acknowledged {
            let found = store.get(&record(key, 0).id).await.unwrap();
            assert!(found.is_some(), "`{key}` was acknowledged and is gone after kill {round}");
        }
        let sound = sqlx::query_scalar::<_, String>("pragma integrity_check");
        assert_eq!(sound.fetch_one(&store.readers).await.unwrap(), "ok");
        store.close().await;
    }
    assert!(acknowledged.len() >= 100, "{} writes say little", acknowledged.len());
}
