//! The contract of a worker: batches, deadlines, stopping.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::{Runtime as _, WorkerError};
use tokio::time::Instant;

use crate::support::{Folder, call, invoke, launch, runtime, spec};

#[tokio::test]
async fn each_call_of_a_batch_has_its_own_answer() {
    let worker = launch(Folder::of("identity_float")).await.unwrap();
    let mut late = call("text/csv", "3");
    late.deadline = Instant::now();
    let batch = vec![call("text/csv", "1"), call("text/csv", "x"), late, call("text/csv", "4")];
    let replies = worker.invoke(batch).await;
    let [first, bad, late, last] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!(first.as_ref().unwrap().payload.body, "1.0\n");
    assert!(matches!(bad, Err(WorkerError::Model { status: 400, .. })), "{bad:?}");
    assert!(matches!(late, Err(WorkerError::TimedOut)), "{late:?}");
    assert_eq!(last.as_ref().unwrap().payload.body, "4.0\n");
    assert!(worker.invoke(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn a_stopped_worker_is_gone() {
    let worker = launch(Folder::of("identity_float")).await.unwrap();
    assert_eq!(worker.concurrency(), 2);
    worker.ping().await.unwrap();
    worker.stop(Instant::now() + Duration::from_secs(10)).await;
    assert!(matches!(worker.ping().await, Err(WorkerError::Gone { .. })));
    let reply = invoke(&*worker, call("text/csv", "1")).await;
    assert!(matches!(reply, Err(WorkerError::Gone { .. })), "{reply:?}");
}

#[tokio::test]
async fn stopping_waits_for_calls_under_way() {
    let worker = launch(Folder::of("iris_forest")).await.unwrap();
    let rows = "5.1,3.5,1.4,0.2\n".repeat(20_000);
    let mut under_way = Box::pin(worker.invoke(vec![call("text/csv", rows)]));
    assert!(futures_poll_once(&mut under_way).await.is_none());
    worker.stop(Instant::now() + Duration::from_secs(60)).await;
    let answered_by_now = futures_poll_once(&mut under_way).await;
    let replies = answered_by_now.expect("the call ended before the worker did");
    assert!(replies[0].is_ok(), "{:?}", replies[0]);
}

#[tokio::test]
async fn workers_of_one_archive_stop_apart() {
    let runtime = runtime();
    let folder = Folder::of("identity_float");
    let one = runtime.launch(&spec(Some(Arc::clone(&folder)))).await.unwrap();
    let other = runtime.launch(&spec(Some(folder))).await.unwrap();
    one.stop(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(invoke(&*other, call("text/csv", "1")).await.unwrap().payload.body, "1.0\n");
}

#[tokio::test]
async fn says_where_the_time_went() {
    let worker = launch(Folder::of("iris_forest")).await.unwrap();
    let rows = "5.1,3.5,1.4,0.2\n".repeat(1000);
    let timings = invoke(&*worker, call("text/csv", rows)).await.unwrap().timings;
    let all_set = [timings.pre, timings.model, timings.post].iter().all(|time| !time.is_zero());
    assert!(all_set, "{timings:?}");
}

/// Polls a future once.
async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
