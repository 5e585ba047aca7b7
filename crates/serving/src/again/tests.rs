//! Calls whose workers end, over workers that end as they are told. Time stands still unless
//! awaited.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::metrics::{Reading, Registry};
use sagebrush_core::route::VariantRoute;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Payload, Reply, StreamedReply, Timings, Worker, WorkerError};
use tokio::time::{Instant, advance, sleep};

use super::Retries;
use crate::error::{InvokeError, StreamError};
use crate::headers::SESSION_ID;
use crate::invoke::{Invoked, Invoker, Target};
use crate::tests::{call, invoker, routed, target};

/// Takes some time over each run, and ends with those that have a call with a deadly payload.
struct Mortal {
    /// How many runs it ends with, whatever their payloads.
    n_deaths: AtomicUsize,
    error: WorkerError,
    takes: Duration,
    /// The payloads of each run.
    ran: Mutex<Vec<Vec<Bytes>>>,
}

const DEADLY: &str = "deadly";
/// Of a stream: it ends after the first part.
const LATER: &str = "later";

impl Mortal {
    fn new(n_deaths: usize) -> Self {
        let (n_deaths, ran) = (AtomicUsize::new(n_deaths), Mutex::default());
        Self { n_deaths, error: died(true), takes: Duration::from_millis(10), ran }
    }

    fn failing(error: WorkerError) -> Self {
        Self { error, ..Self::new(usize::MAX) }
    }

    fn n_asked(&self) -> usize {
        self.ran.lock().unwrap().len()
    }
}

fn died(once_more: bool) -> WorkerError {
    WorkerError::Died { message: "signal 9".to_owned(), once_more }
}

fn gone() -> WorkerError {
    WorkerError::Gone { reason: "signal 9".to_owned() }
}

#[async_trait]
impl Worker for Mortal {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        sleep(self.takes).await;
        let bodies: Vec<Bytes> = calls.iter().map(|call| call.payload.body.clone()).collect();
        let is_deadly = bodies.iter().any(|body| body == DEADLY);
        self.ran.lock().unwrap().push(bodies);
        let left = self.n_deaths.load(Ordering::SeqCst);
        self.n_deaths.store(left.saturating_sub(1), Ordering::SeqCst);
        if is_deadly || left > 0 {
            return calls.iter().map(|_| Err(self.error.clone())).collect();
        }
        let reply = |call: Call| Reply {
            payload: call.payload,
            custom_attributes: None,
            session: None,
            timings: Timings::default(),
        };
        calls.into_iter().map(|call| Ok(reply(call))).collect()
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let is_later = call.payload.body == LATER;
        let reply = self.invoke(vec![call]).await.remove(0)?;
        let mut streamed = StreamedReply::from(reply);
        if is_later {
            let end = stream::iter([Err(self.error.clone())]);
            streamed.parts = streamed.parts.chain(end).boxed();
        }
        Ok(streamed)
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

fn instance(worker: Mortal) -> (Arc<Instance>, Arc<Mortal>) {
    let (worker, limits) = (Arc::new(worker), Limits { waiting: 100, bytes: 1 << 20 });
    (Instance::new("i-0".to_owned(), worker.clone(), limits), worker)
}

fn variant(instances: &[&Arc<Instance>]) -> VariantRoute {
    VariantRoute::new("v", "c".into(), instances.iter().copied().cloned().collect())
}

/// An invoker over one variant, and what it counts.
fn counted(variant: VariantRoute) -> (Invoker, Registry) {
    let registry = Registry::default();
    let (invoker, _) = invoker(routed(variant));
    (Invoker { retries: Retries::new(registry.clone()), ..invoker }, registry)
}

fn n_retried(registry: &Registry) -> u64 {
    let readings = registry.readings("sagebrush_retried_calls_total");
    let count = |(_, reading): (_, Reading)| match reading {
        Reading::Counter(n) => n,
        Reading::Gauge(_) | Reading::Times(_) => panic!("{reading:?}"),
    };
    readings.into_iter().map(count).sum()
}

fn with_body(body: &'static str) -> Call {
    let payload = Payload { content_type: None, body: Bytes::from_static(body.as_bytes()) };
    Call { payload, ..call() }
}

async fn ask(invoker: &Invoker, body: &'static str) -> Invoked {
    invoker.invoke(&target("e", None), with_body(body)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_once_more_and_no_more() {
    for (deaths, n_asked, is_answered) in [
        (&[0][..], &[1][..], true),
        (&[1], &[2], true),
        (&[2], &[2], false),
        (&[1, 0], &[1, 1], true),
        (&[9, 0], &[1, 1], true),
        (&[9, 1], &[1, 1], false),
        (&[9, 9], &[1, 1], false),
    ] {
        let all: Vec<_> = deaths.iter().map(|n| instance(Mortal::new(*n))).collect();
        let (invoker, registry) =
            counted(variant(&all.iter().map(|(instance, _)| instance).collect::<Vec<_>>()));
        let invoked = ask(&invoker, "x").await;
        let asked: Vec<_> = all.iter().map(|(_, worker)| worker.n_asked()).collect();
        assert_eq!(
            (asked.as_slice(), invoked.outcome.is_ok()),
            (n_asked, is_answered),
            "{deaths:?}"
        );
        let was_retried = asked.iter().sum::<usize>() > 1;
        assert_eq!(invoked.was_retried, was_retried);
        assert_eq!(n_retried(&registry), u64::from(was_retried));
        assert_eq!(invoked.worker_died, !is_answered);
        assert_eq!(invoked.model_latency, Duration::from_millis(10), "that of the last try");
        if let Err(error) = invoked.outcome {
            assert!(error.to_string().contains("signal 9"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_fails_is_no_better_than_the_one_that_was_left() {
    let (failing, failing_worker) = instance(Mortal::failing(WorkerError::TimedOut));
    while !failing.breaker.is_open() {
        let place = failing.admit(1, call().deadline).ok().unwrap();
        assert!(place.answer(call()).await.unwrap().outcome.is_err());
    }
    let n_before = failing_worker.n_asked();
    let (mortal, worker) = instance(Mortal::new(1));
    let (invoker, _) = counted(variant(&[&failing, &mortal]));
    assert!(ask(&invoker, "x").await.outcome.is_ok());
    assert_eq!((worker.n_asked(), failing_worker.n_asked()), (2, n_before));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_be_tried_again() {
    let at = |error| WorkerError::At { container: "second".into(), error: Box::new(error) };
    let is = |is_asynchronous| Target { is_asynchronous, ..target("e", None) };
    let model = WorkerError::Model { status: 500, message: String::new(), content_type: None };
    let soon = Duration::from_millis(10);
    let minute = Duration::from_secs(60);
    for (what, error, allowed, target, time, n_asked) in [
        ("one that is", died(true), true, is(false), minute, 2),
        ("of one of several containers", at(died(true)), true, is(false), minute, 2),
        ("was tried again, or its process is there", died(false), true, is(false), minute, 1),
        ("its container said so", died(true), false, is(false), minute, 1),
        ("a backlog's", died(true), true, is(true), minute, 1),
        ("its time is over", died(true), true, is(false), soon, 1),
        ("an answer, though an error", model, true, is(false), minute, 1),
        ("too late", WorkerError::TimedOut, true, is(false), minute, 1),
    ] {
        let (instance, worker) = instance(Mortal::failing(error));
        let route = VariantRoute { retries_after_death: allowed, ..variant(&[&instance]) };
        let (invoker, registry) = counted(route);
        let call = Call { deadline: Instant::now() + time, ..call() };
        assert!(invoker.invoke(&target, call).await.unwrap().outcome.is_err());
        assert_eq!(worker.n_asked(), n_asked, "{what}");
        assert_eq!(n_retried(&registry), n_asked as u64 - 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_worker_but_one_that_is_asked_for_may_begin() {
    let (instance, worker) = instance(Mortal::new(1));
    let (invoker, _) = counted(variant(&[&instance]));
    let of = |id: &str| Call { headers: vec![(SESSION_ID, id.to_owned())], ..call() };
    let new = invoker.invoke(&target("e", None), of("NEW_SESSION")).await.unwrap();
    assert!(new.outcome.is_ok() && worker.n_asked() == 2);
    let said = sagebrush_core::worker::Session::New("s".to_owned());
    invoker.sessions.note(&target("e", None), &of("NEW_SESSION"), &said, &instance);
    worker.n_deaths.store(1, Ordering::SeqCst);
    let lost = invoker.invoke(&target("e", None), of("s")).await.unwrap();
    assert!(lost.outcome.is_err() && worker.n_asked() == 3);
}

#[tokio::test(start_paused = true)]
async fn what_kills_workers_is_not_tried_again_for_a_while() {
    let (instance, worker) = instance(Mortal::new(0));
    let (invoker, registry) = counted(variant(&[&instance]));
    let deadly = async || {
        let before = worker.n_asked();
        assert!(ask(&invoker, DEADLY).await.outcome.is_err());
        worker.n_asked() - before
    };
    for _ in 0..3 {
        assert_eq!(deadly().await, 2);
    }
    for _ in 0..3 {
        assert_eq!(deadly().await, 1);
        assert!(ask(&invoker, "x").await.outcome.is_ok());
    }
    assert_eq!(n_retried(&registry), 3);
    advance(Duration::from_secs(30)).await;
    worker.n_deaths.store(1, Ordering::SeqCst);
    assert!(ask(&invoker, "x").await.outcome.is_ok());
    assert_eq!(deadly().await, 2);
}

/// Asks all at once; answers by their bodies.
async fn ask_all(
    invoker: &Invoker,
    bodies: &[&'static str],
) -> HashMap<&'static str, Result<Reply, InvokeError>> {
    let asked = bodies.iter().map(|body| {
        let (invoker, body) = (invoker.clone(), *body);
        task::spawn("call", async move { (body, ask(&invoker, body).await.outcome) })
    });
    let asked: Vec<_> = asked.collect();
    let mut answers = HashMap::new();
    for one in asked {
        let (body, answer) = one.await.unwrap();
        answers.insert(body, answer);
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn a_call_that_kills_workers_does_not_take_its_neighbours_along() {
    let (instance, worker) = instance(Mortal::new(0));
    let (invoker, _) = counted(variant(&[&instance]));
    for _ in 0..4 {
        assert!(ask(&invoker, "x").await.outcome.is_ok()); // What one costs is known then.
    }
    worker.ran.lock().unwrap().clear();
    let answers = ask_all(&invoker, &["busy", "a", DEADLY, "b"]).await;
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    assert!(failed.len() == 1 && *failed[0].0 == DEADLY, "{failed:?}");
    let ran = worker.ran.lock().unwrap();
    let deadly: Vec<_> = ran.iter().filter(|run| run.iter().any(|body| body == DEADLY)).collect();
    assert_eq!(deadly.len(), 2, "{ran:?}");
    assert!(deadly[0].len() > 1 && deadly[1].len() == 1, "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_begin_again_but_not_in_its_middle() {
    for (n_deaths, body, n_asked) in [(1, "x", 2), (2, "x", 2), (0, LATER, 1)] {
        let (instance, worker) = instance(Mortal::new(n_deaths));
        let (invoker, registry) = counted(variant(&[&instance]));
        let streamed = invoker.stream(&target("e", None), with_body(body)).await.unwrap();
        assert_eq!(worker.n_asked(), n_asked, "{body}");
        assert_eq!(streamed.was_retried, n_asked > 1);
        assert_eq!(n_retried(&registry), n_asked as u64 - 1);
        match streamed.outcome {
            Ok(reply) => {
                let parts: Vec<_> = reply.parts.collect().await;
                assert_eq!(parts[0].as_ref().unwrap(), body);
                let is_broken = matches!(parts.last(), Some(Err(StreamError::Model { .. })));
                assert_eq!(is_broken, body == LATER);
            }
            Err(error) => assert!(n_deaths == 2, "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tables_of_others_do_not_use_up_a_calls_tries() {
    let (dead, dead_worker) = instance(Mortal::failing(gone()));
    let (new, _) = instance(Mortal::new(0));
    let (invoker, routes) = invoker(routed(variant(&[&dead])));
    let asked = task::spawn("asked", async move { ask(&invoker, "x").await });
    for _ in 0..20 {
        sleep(Duration::from_millis(50)).await;
        routes.publish(routed(variant(&[&dead])));
    }
    assert!(dead_worker.n_asked() <= 3, "{}", dead_worker.n_asked());
    let before = Instant::now();
    routes.publish(routed(variant(&[&new])));
    assert!(asked.await.unwrap().outcome.is_ok());
    assert!(before.elapsed() < Duration::from_millis(100), "it goes on at once");
}

#[tokio::test(start_paused = true)]
async fn a_second_try_waits_for_an_instance_as_long_as_the_call_has_time() {
    for (comes_after, is_answered) in [(45, true), (70, false)] {
        let (dead, dead_worker) = instance(Mortal::new(1));
        let (new, new_worker) = instance(Mortal::new(0));
        let (invoker, routes) = invoker(routed(variant(&[&dead])));
        let asked =
            task::spawn("asked", async move { invoker.invoke(&target("e", None), call()).await });
        sleep(Duration::from_millis(1)).await;
        routes.publish(routed(variant(&[])));
        sleep(Duration::from_secs(comes_after)).await;
        routes.publish(routed(variant(&[&new])));
        let invoked = asked.await.unwrap();
        assert_eq!(invoked.is_ok_and(|invoked| invoked.outcome.is_ok()), is_answered);
        assert_eq!((dead_worker.n_asked(), new_worker.n_asked()), (1, usize::from(is_answered)));
    }
}
