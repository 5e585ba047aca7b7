//! Replies in parts from a worker that does as it is told. Time stands still unless awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::instance::{Instance, Limits, NoTurn, Streamed};
use crate::task;
use crate::worker::{Call, Payload, Reply, StreamedReply, Timings, Worker, WorkerError};

/// What it does for the parts of each call.
#[derive(Clone)]
enum Does {
    Say(&'static str),
    Take(u64),
    Fail,
}
use Does::{Fail, Say, Take};

#[derive(Default)]
struct Fake {
    script: Vec<Does>,
    n_said: Arc<AtomicUsize>,
    n_open: Arc<AtomicUsize>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failure() -> WorkerError {
    WorkerError::Model { status: 500, message: "oh".to_owned(), content_type: None }
}

#[async_trait]
impl Worker for Fake {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let reply = |call: Call| {
            Ok(Reply {
                payload: call.payload,
                custom_attributes: None,
                session: None,
                timings: Timings::default(),
            })
        };
        calls.into_iter().map(reply).collect()
    }

    async fn stream(&self, _call: Call) -> Result<StreamedReply, WorkerError> {
        let n_said = self.n_said.clone();
        self.n_open.fetch_add(1, Ordering::SeqCst);
        let parts = stream::iter(self.script.clone()).filter_map(move |does| {
            let n_said = n_said.clone();
            async move {
                match does {
                    Say(text) => {
                        n_said.fetch_add(1, Ordering::SeqCst);
                        Some(Ok(Bytes::from(text)))
                    }
                    Take(seconds) => {
                        sleep(Duration::from_secs(seconds)).await;
                        None
                    }
                    Fail => Some(Err(failure())),
                }
            }
        });
        let reply = StreamedReply {
            content_type: None,
            custom_attributes: None,
            session: None,
            parts: parts.boxed(),
        };
        Ok(reply.holding(Open(self.n_open.clone())))
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn max_batch(&self) -> usize {
        8
    }

    async fn stop(&self, _deadline: Instant) {}
}

fn instance(script: &[Does]) -> (Arc<Instance>, Arc<Fake>) {
    let fake = Arc::new(Fake { script: script.to_vec(), ..Fake::default() });
    let limits = Limits { waiting: 100, bytes: 1 << 20 };
    (Instance::new("i-0".to_owned(), fake.clone(), limits), fake)
}

fn call(seconds: u64) -> Call {
    Call {
        payload: Payload { content_type: None, body: Bytes::from_static(b"body") },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "id".into(),
        deadline: Instant::now() + Duration::from_secs(seconds),
    }
}

async fn begin(instance: &Arc<Instance>, seconds: u64) -> Result<Streamed, NoTurn> {
    let call = call(seconds);
    let place = instance.admit(call.payload.body.len(), call.deadline).unwrap();
    place.stream(call).await
}

/// The parts to their end.
async fn all(streamed: Streamed) -> Vec<Result<String, WorkerError>> {
    let text = |part: Bytes| String::from_utf8(part.to_vec()).unwrap();
    streamed.outcome.unwrap().parts.map(|part| part.map(text)).collect().await
}

#[tokio::test(start_paused = true)]
async fn parts_come_as_they_are_made_and_the_place_is_held_until_the_last() {
    let (instance, fake) = instance(&[Take(1), Say("a"), Say(""), Take(2), Say("b")]);
    let streamed = begin(&instance, 60).await.unwrap();
    assert_eq!(streamed.took, Duration::from_secs(1));
    let mut parts = streamed.outcome.unwrap().parts;
    assert_eq!(parts.next().await.unwrap().unwrap(), "a");
    assert_eq!((instance.outstanding(), instance.queue().free()), (1, 0));
    assert_eq!(fake.n_said.load(Ordering::SeqCst), 1, "no part is made before it is asked for");
    assert_eq!(parts.next().await.unwrap().unwrap(), "b");
    assert!(parts.next().await.is_none());
    assert_eq!((instance.outstanding(), instance.queue().free()), (0, 1), "before it is dropped");
    assert_eq!(fake.n_open.load(Ordering::SeqCst), 0);
    assert!(parts.next().await.is_none());
    assert_eq!(instance.pace.of_a_call(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn what_fails_before_the_first_part_is_the_calls_own_error() {
    for script in [&[Fail][..], &[Say(""), Fail]] {
        let (instance, _) = instance(script);
        for _ in 0..5 {
            let error = begin(&instance, 60).await.unwrap().outcome.err().unwrap();
            assert_eq!(error.to_string(), failure().to_string());
        }
        assert_eq!(instance.outstanding(), 0);
        assert!(instance.breaker.is_open());
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_later_ends_the_parts_and_frees_the_place() {
    let (instance, _) = instance(&[Say("a"), Fail, Say("never")]);
    for _ in 0..5 {
        let parts = all(begin(&instance, 60).await.unwrap()).await;
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].as_ref().unwrap(), "a");
        assert_eq!(parts[1].as_ref().unwrap_err().to_string(), failure().to_string());
        assert_eq!((instance.outstanding(), instance.queue().free()), (0, 1));
    }
    assert!(instance.breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_reply_without_parts_ends_at_once() {
    for script in [&[][..], &[Say("")]] {
        let (instance, _) = instance(script);
        let streamed = begin(&instance, 60).await.unwrap();
        assert_eq!((instance.outstanding(), instance.queue().free()), (0, 1));
        assert!(all(streamed).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_parts_give_the_call_up() {
    let (instance, fake) = instance(&[Say("a"), Take(1000), Say("b")]);
    for n_polled in 0..3 {
        let mut parts = begin(&instance, 60).await.unwrap().outcome.unwrap().parts;
        for _ in 0..n_polled {
            let _part_or_late = tokio::time::timeout(Duration::from_secs(1), parts.next()).await;
        }
        assert_eq!(fake.n_open.load(Ordering::SeqCst), 1);
        drop(parts);
        assert_eq!(fake.n_open.load(Ordering::SeqCst), 0);
        assert_eq!((instance.outstanding(), instance.queue().free()), (0, 1));
    }
    let begun = tokio::time::timeout(Duration::from_millis(1), begin(&instance, 60)).await;
    drop(begun);
    assert_eq!(instance.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_that_of_the_last_part() {
    let (first, _) = instance(&[Take(100), Say("a")]);
    let error = begin(&first, 10).await.unwrap().outcome.err().unwrap();
    assert!(matches!(error, WorkerError::TimedOut), "{error}");

    let (later, _) = instance(&[Say("a"), Take(4), Say("b"), Take(100), Say("c")]);
    let since = Instant::now();
    let parts = all(begin(&later, 10).await.unwrap()).await;
    assert_eq!(since.elapsed(), Duration::from_secs(10));
    assert!(matches!(parts[..], [Ok(_), Ok(_), Err(WorkerError::TimedOut)]), "{parts:?}");
    assert_eq!((later.outstanding(), later.queue().free()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn who_takes_parts_slowly_is_no_fault_of_the_worker() {
    let (instance, _) = instance(&[Say("a"), Say("b")]);
    for _ in 0..10 {
        let mut parts = begin(&instance, 10).await.unwrap().outcome.unwrap().parts;
        assert!(parts.next().await.unwrap().is_ok());
        sleep(Duration::from_millis(10_500)).await;
        assert_eq!(instance.outstanding(), 1);
        sleep(Duration::from_secs(1)).await;
        assert_eq!((instance.outstanding(), instance.queue().free()), (0, 1), "nobody asked");
        assert!(matches!(parts.next().await, Some(Err(WorkerError::TimedOut))));
        assert!(parts.next().await.is_none());
    }
    assert!(!instance.breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_its_turn_and_goes_alone() {
    let (instance, fake) = instance(&[Take(1), Say("a")]);
    let first = begin(&instance, 60).await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let instance = instance.clone();
            task::spawn("stream", async move { all(begin(&instance, 60).await.unwrap()).await })
        })
        .collect();
    sleep(Duration::from_millis(1)).await;
    assert_eq!((instance.waiting(), fake.n_open.load(Ordering::SeqCst)), (3, 1));
    drop(first);
    sleep(Duration::from_millis(1)).await;
    assert_eq!((instance.waiting(), fake.n_open.load(Ordering::SeqCst)), (2, 1));
    for stream in waiting {
        assert_eq!(stream.await.unwrap().len(), 1);
    }
    assert_eq!(instance.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_turn_does_not_come_is_refused() {
    let (instance, _) = instance(&[Say("a")]);
    let first = begin(&instance, 60).await.unwrap();
    assert!(begin(&instance, 5).await.is_err());
    assert_eq!((instance.waiting(), instance.outstanding()), (0, 1));
    drop(first);
    assert_eq!(all(begin(&instance, 5).await.unwrap()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_no_parts_answers_in_one() {
    struct Whole;
    #[async_trait]
    impl Worker for Whole {
        async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
            Fake::default().invoke(calls).await
        }
        async fn ping(&self) -> Result<(), WorkerError> {
            Ok(())
        }
        fn concurrency(&self) -> usize {
            1
        }
        async fn stop(&self, _deadline: Instant) {}
    }
    let limits = Limits { waiting: 1, bytes: 1 << 20 };
    let instance = Instance::new("i-0".to_owned(), Arc::new(Whole), limits);
    let parts = all(begin(&instance, 60).await.unwrap()).await;
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].as_ref().unwrap(), "body");
}
