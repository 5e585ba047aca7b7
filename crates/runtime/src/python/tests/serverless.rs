//! Workers of serverless variants: more of them while calls wait, and templates that stay.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::worker::{Concurrency, LaunchSpec, Resources, Runtime as _, Worker};
use tokio::time::{Instant, timeout};

use super::{Bench, PATIENCE, ask, model, stop, told, until};

/// Tells when the code was imported, and which process answers.
const MODEL: &str = "
import os, time
IMPORTED = os.urandom(8).hex()
def model_fn(model_dir): return os.getpid()
def transform_fn(model, data, content_type, accept):
    data = bytes(data)
    if data.startswith(b'sleep'): time.sleep(float(data[5:]))
    if data.startswith(b'take'): return str(len(bytearray(int(data[4:]) << 20)))
    if data == b'kill': os.kill(os.getpid(), 9)
    return IMPORTED if data == b'imported' else str(model)
";

fn serverless(bench: &Bench, files: &Arc<dyn ArtifactLease>, warm: usize) -> LaunchSpec {
    let concurrency = Some(Concurrency { warm, most: 4 });
    LaunchSpec {
        model: Some(files.clone()),
        resources: Resources { cpus: 1, memory_bytes: 1 << 30, concurrency },
        ..bench.spec(None, &[])
    }
}

async fn launch(bench: &Bench, spec: &LaunchSpec) -> Arc<dyn Worker> {
    timeout(PATIENCE, bench.runtime.launch(spec)).await.unwrap().unwrap()
}

async fn rest(worker: &Arc<dyn Worker>) {
    timeout(PATIENCE, worker.rest(Instant::now() + Duration::from_secs(5))).await.unwrap();
}

/// Each has a folder and a note.
fn n_templates(bench: &Bench) -> usize {
    bench.homes() / 2
}

async fn said(worker: &Arc<dyn Worker>, body: &'static str) -> String {
    let reply = ask(worker, body).await.unwrap();
    String::from_utf8(reply.payload.body.to_vec()).unwrap()
}

#[tokio::test]
async fn each_waiting_call_gets_a_worker_but_not_more_than_there_may_be() {
    let bench = Bench::new();
    let worker = launch(&bench, &serverless(&bench, &model(MODEL), 0)).await;
    assert_eq!(worker.concurrency(), 4);
    let first = said(&worker, "pid").await;
    assert_eq!(said(&worker, "pid").await, first, "one is enough for one call");
    let pids: BTreeSet<String> =
        join_all((0..8).map(|_| said(&worker, "sleep0.5"))).await.into_iter().collect();
    assert_eq!(pids.len(), 4, "{pids:?}");
    assert!(pids.contains(&first));
    stop(&worker).await;
    assert_eq!(bench.homes(), 0, "nothing stays behind");
}

#[tokio::test]
async fn a_template_stays_while_its_workers_rest() {
    let bench = Bench::new();
    let files = model(MODEL);
    let spec = serverless(&bench, &files, 0);
    let worker = launch(&bench, &spec).await;
    let imported = said(&worker, "imported").await;
    rest(&worker).await;
    assert!(ask(&worker, "pid").await.is_err(), "it has no workers");
    let again = LaunchSpec { name: "v/i-1".to_owned(), ..spec.clone() };
    let worker = launch(&bench, &again).await;
    assert_eq!(said(&worker, "imported").await, imported);
    // Another variant, or another version of the files, has its own.
    let other = LaunchSpec { name: "w/i-2".to_owned(), ..spec.clone() };
    let other = launch(&bench, &other).await;
    assert_ne!(said(&other, "imported").await, imported);
    stop(&other).await;
    rest(&worker).await;
    bench.runtime.forget("r", "other").await;
    assert_eq!(n_templates(&bench), 1);
    bench.runtime.forget("r", "g").await;
    until(|| bench.homes() == 0).await;
    let worker = launch(&bench, &spec).await;
    assert_ne!(said(&worker, "imported").await, imported);
    stop(&worker).await;
    assert_eq!(bench.homes(), 0, "who is stopped leaves nothing");
}

#[tokio::test]
async fn only_a_few_templates_stay() {
    let bench = Bench::new();
    for i in 0..6 {
        let spec = serverless(&bench, &model(MODEL), 0);
        let worker = launch(&bench, &LaunchSpec { name: format!("v{i}/i-0"), ..spec }).await;
        rest(&worker).await;
    }
    until(|| n_templates(&bench) == 4).await;
}

#[tokio::test]
async fn a_call_that_wants_too_much_memory_is_told_so_and_alone() {
    let bench = Bench::new();
    let worker = launch(&bench, &serverless(&bench, &model(MODEL), 2)).await;
    let greedy = async { told(ask(&worker, "take2000").await) };
    let ((status, message), modest, killed) =
        tokio::join!(greedy, said(&worker, "take100"), async { told(ask(&worker, "kill").await) },);
    assert_eq!((status, modest.as_str()), (500, "104857600"));
    assert!(message.contains("MemoryError") && message.contains("1024 MB"), "{message}");
    assert!(killed.1.contains("1024 MB of memory"), "{}", killed.1);
    assert!(ask(&worker, "pid").await.is_ok());
    stop(&worker).await;
}
