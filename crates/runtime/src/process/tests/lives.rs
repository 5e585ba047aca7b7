//! How programs end, and that nothing of them stays.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::Worker;
use tokio::time::{Instant, timeout};

use super::Bench;
use crate::contract::HealthCheck;
use crate::contract::testing::{answer, call, said, until};

/// How many processes are left that have the environment of this bench.
fn n_alive(bench: &Bench) -> usize {
    let mark = format!("MARK={}", bench.dir.path().display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.flat_map(|process| fs::read(process.path().join("environ")));
    environments
        .filter(|all| all.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()))
        .count()
}

/// A launched worker whose program has started another.
async fn family(bench: &mut Bench) -> Arc<dyn Worker> {
    let mark = bench.dir.path().to_str().unwrap().to_owned();
    bench.spec.environment.insert("MARK".to_owned(), mark);
    let worker = bench.launch().await;
    said(&*worker, "spawn ").await;
    // A process has no environment yet while it is started.
    until("it has started another", || n_alive(bench) >= 2).await;
    worker
}

#[tokio::test]
async fn a_stop_leaves_nothing_behind() {
    let mut bench = Bench::new(&["{port}"]);
    let worker = family(&mut bench).await;
    assert_eq!(bench.homes(), 1);
    worker.stop(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(n_alive(&bench), 0);
    assert_eq!(bench.homes(), 0);
    let ended = timeout(Duration::from_millis(20), worker.ended()).await;
    assert!(ended.is_err(), "a stopped worker did not end by itself: {ended:?}");
}

#[tokio::test]
async fn a_program_that_ignores_the_signal_is_killed_after_its_grace() {
    let mut bench = Bench::with(&["{port}"], |recipe| {
        recipe.environment.insert("STUBBORN".to_owned(), "1".to_owned());
        recipe.grace = Duration::from_millis(300);
    });
    let worker = family(&mut bench).await;
    let since = Instant::now();
    worker.stop(Instant::now()).await;
    assert!(since.elapsed() >= Duration::from_millis(300), "{:?}", since.elapsed());
    assert_eq!(n_alive(&bench), 0);
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_dropped_worker_leaves_nothing_behind() {
    let mut bench = Bench::new(&["{port}"]);
    let worker = family(&mut bench).await;
    drop(worker);
    until("its processes are gone", || n_alive(&bench) == 0).await;
    until("its home is gone", || bench.homes() == 0).await;
}

#[tokio::test]
async fn a_launch_that_is_given_up_leaves_nothing_behind() {
    let bench = Bench::new(&["mute"]);
    let given_up = timeout(Duration::from_millis(300), bench.launch()).await;
    assert!(given_up.is_err());
    until("its home is gone", || bench.homes() == 0).await;
}

#[tokio::test]
async fn a_program_that_answers_no_pings_is_killed() {
    let mut bench = Bench::new(&["{port}"]);
    bench.runtime.health = HealthCheck { interval: Duration::from_millis(20), failures: 3 };
    let worker = bench.launch().await;
    said(&*worker, "deaf ").await;
    let reason = timeout(Duration::from_secs(20), worker.ended()).await.unwrap();
    let want = "The process was killed: it failed 3 pings in a row \
                (the model answered 404: no such page).";
    assert_eq!(reason, want);
    answer(&*worker, call("echo 1")).await.unwrap_err();
    assert_eq!(bench.homes(), 0);
}
