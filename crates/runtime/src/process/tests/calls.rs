//! Calls to a running program.

use std::time::Duration;

use sagebrush_core::worker::WorkerError;
use tokio::time::Instant;

use super::{Bench, soon};
use crate::contract::testing::{Files, answer, call, lines, said, until};

#[tokio::test]
async fn a_call_goes_in_and_its_reply_comes_out() {
    let mut bench = Bench::new(&["{port}"]);
    bench.spec.model = Some(Files::with(&[("weights", "w-1")]));
    bench.spec.environment.insert("NAME".to_owned(), "value".to_owned());
    let worker = bench.launch().await;
    assert_eq!(worker.concurrency(), 64);
    let image = worker.image().unwrap();
    assert!(image.starts_with("process:python3") && image.contains(";isolation="), "{image}");
    worker.ping().await.unwrap();
    assert_eq!(said(&*worker, "echo hello").await, "hello");
    assert_eq!(said(&*worker, "env NAME").await, "value");
    assert_eq!(said(&*worker, "env SAGEMAKER_MULTI_MODEL").await, "none");
    assert_eq!(said(&*worker, "read $SM_MODEL_DIR/weights").await, "w-1");
    assert_eq!(said(&*worker, "read $SAGEMAKER_BASE_DIR/model/weights").await, "w-1");

    let mut with_attributes = call("attributes ");
    let attributes = ("x-amzn-sagemaker-custom-attributes", "trace=7".to_owned());
    with_attributes.headers.push(attributes);
    let reply = answer(&*worker, with_attributes).await.unwrap();
    assert_eq!(reply.custom_attributes.as_deref(), Some("trace=7;seen"));
    assert_eq!(reply.payload.content_type.as_deref(), Some("text/plain"));
    until("its memory is known", || worker.memory() > 1 << 20).await;
    worker.stop(soon()).await;
}

#[tokio::test]
async fn errors_keep_their_status_and_their_words() {
    let worker = Bench::new(&["{port}"]);
    let worker = worker.launch().await;
    for want in [400, 404, 422, 500, 503] {
        let error = answer(&*worker, call(&format!("status {want}"))).await.unwrap_err();
        let WorkerError::Model { status, message, .. } = error else { panic!("{error:?}") };
        assert_eq!((status, message), (want, format!("it is a {want}")));
    }
    worker.stop(soon()).await;
}

#[tokio::test]
async fn a_slow_call_times_out_while_others_go_on() {
    let bench = Bench::new(&["{port}"]);
    let worker = bench.launch().await;
    let mut slow = call("sleep 600");
    slow.deadline = Instant::now() + Duration::from_millis(200);
    let replies = worker.invoke(vec![call("echo a"), slow, call("status 400"), call("echo b")]);
    let replies = replies.await;
    let bodies: Vec<_> = replies.iter().flatten().map(|reply| &reply.payload.body[..]).collect();
    assert_eq!(bodies, [b"a", b"b"]);
    assert!(matches!(replies[1], Err(WorkerError::TimedOut)), "{replies:?}");
    assert!(matches!(replies[2], Err(WorkerError::Model { status: 400, .. })), "{replies:?}");
    worker.stop(soon()).await;
}

#[tokio::test]
async fn a_program_that_dies_while_it_answers_is_named_as_the_cause() {
    let bench = Bench::new(&["{port}"]);
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "echo 1").await, "1"); // So that the connection is a kept one.
    let error = answer(&*worker, call("die 3")).await.unwrap_err();
    let WorkerError::Died { message, once_more: true } = error else { panic!("{error:?}") };
    assert_eq!(message, "The process ended with exit code 3 while it answered.");
    assert_eq!(worker.ended().await, "The process ended with exit code 3.");
    let error = answer(&*worker, call("echo 2")).await.unwrap_err();
    assert_eq!(error.to_string(), "the worker is gone: The process ended with exit code 3");
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn what_it_prints_is_in_the_log() {
    let bench = Bench::new(&["{port}"]);
    let worker = bench.launch().await;
    said(&*worker, "say hello").await;
    until("both lines are there", || {
        let lines = lines(&bench.log);
        ["hello", "error: hello"].iter().all(|line| lines.iter().any(|found| found == line))
    })
    .await;
    worker.stop(soon()).await;
}

#[tokio::test]
async fn without_a_network_it_answers_over_a_socket() {
    let mut bench = Bench::new(&["{socket}"]);
    bench.spec.network_isolation = true;
    if let Err(refusal) = bench.sandbox.check_network(false).await {
        assert_eq!(bench.failure().await.to_string(), refusal.to_string());
        return; // Nothing here would keep it from the network.
    }
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "env SAGEMAKER_BIND_TO_PORT").await, "none");
    assert_eq!(said(&*worker, "echo hello").await, "hello");
    worker.stop(soon()).await;
    assert_eq!(bench.homes(), 0);
}
