//! Calls through an instance whose worker does as it is told. Time stands still unless awaited.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Answered, Instance, Left, Limits, NoTurn, Refused};
use crate::task;
use crate::worker::{Call, Payload, Reply, Timings, Worker, WorkerError};

/// Answers with the payload, after `base` and `each` more for each call of a batch.
struct Fake {
    slots: usize,
    max_batch: usize,
    delay: Duration,
    base: Duration,
    each: Duration,
    /// Answers that are missing.
    n_short: usize,
    /// The payloads of each run.
    ran: Mutex<Vec<Vec<Bytes>>>,
    running: AtomicUsize,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            slots: 1,
            max_batch: 1,
            delay: Duration::ZERO,
            base: Duration::from_millis(100),
            each: Duration::ZERO,
            n_short: 0,
            ran: Mutex::default(),
            running: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Worker for Fake {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        assert!(calls.len() <= self.max_batch);
        let _running = Running::start(self);
        let bodies = calls.iter().map(|call| call.payload.body.clone()).collect();
        self.ran.lock().unwrap().push(bodies);
        sleep(self.base + self.each * u32::try_from(calls.len()).unwrap()).await;
        let reply = |call: Call| {
            Ok(Reply {
                payload: call.payload,
                custom_attributes: None,
                session: None,
                timings: Timings::default(),
            })
        };
        calls.into_iter().skip(self.n_short).map(reply).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.slots
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn max_batch_delay(&self) -> Duration {
        self.delay
    }

    async fn stop(&self, _deadline: Instant) {}
}

/// A run, which may be given up.
struct Running<'f>(&'f Fake);

impl<'f> Running<'f> {
    fn start(fake: &'f Fake) -> Self {
        assert!(fake.running.fetch_add(1, Ordering::SeqCst) < fake.slots);
        Self(fake)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    fn ran(&self) -> Vec<usize> {
        self.ran.lock().unwrap().iter().map(Vec::len).collect()
    }
}

const LIMITS: Limits = Limits { waiting: 100, bytes: 1 << 20 };

fn instance(fake: Fake) -> (Arc<Instance>, Arc<Fake>) {
    let fake = Arc::new(fake);
    (Instance::new("i-0".to_owned(), fake.clone(), LIMITS), fake)
}

fn call(body: &str, seconds: u64) -> Call {
    Call {
        payload: Payload { content_type: None, body: Bytes::copy_from_slice(body.as_bytes()) },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "id".into(),
        deadline: Instant::now() + Duration::from_secs(seconds),
    }
}

async fn ask(instance: &Arc<Instance>, call: Call) -> Result<Answered, NoTurn> {
    let place = instance.admit(call.payload.body.len(), call.deadline).unwrap_or_else(|refused| {
        panic!("{refused:?}");
    });
    place.answer(call).await
}

fn asked(instance: &Arc<Instance>, call: Call) -> JoinHandle<Result<Answered, NoTurn>> {
    let instance = instance.clone();
    task::spawn("call", async move { ask(&instance, call).await })
}

/// Lets every task go on that can.
async fn settle() {
    sleep(Duration::from_micros(1)).await;
}

fn body(answered: &Answered) -> Bytes {
    answered.outcome.as_ref().unwrap().payload.body.clone()
}

/// An instance on which batches of four are known to pay.
async fn batching(delay: Duration) -> (Arc<Instance>, Arc<Fake>) {
    let (instance, fake) = instance(Fake { max_batch: 4, delay, ..Fake::default() });
    let calls: Vec<_> = (0..60).map(|n| asked(&instance, call(&n.to_string(), 60))).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(body(&call.await.unwrap().unwrap()), n.to_string());
    }
    fake.ran.lock().unwrap().clear();
    (instance, fake)
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_is_answered_alone_and_at_once() {
    let (instance, fake) = batching(Duration::from_secs(1)).await;
    let answered = ask(&instance, call("x", 60)).await.unwrap();
    assert_eq!((answered.queued, answered.gathered), (Duration::ZERO, Duration::ZERO));
    assert_eq!((answered.batch.size, answered.batch.left), (1, Left::Idle));
    let first = asked(&instance, call("x", 60));
    settle().await;
    let second = ask(&instance, call("y", 60)).await.unwrap();
    assert_eq!((second.batch.size, second.batch.left), (1, Left::Freed), "nothing to wait for");
    assert!(second.queued < Duration::from_millis(101), "{:?}", second.queued);
    assert!(first.await.unwrap().is_ok());
    assert_eq!(fake.ran(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_while_it_is_busy_are_the_next_batch() {
    let (instance, fake) = batching(Duration::ZERO).await;
    let calls: Vec<_> = (0..8).map(|n| asked(&instance, call(&n.to_string(), 60))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    assert_eq!(fake.ran(), [1, 4, 3]);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(body(answer), n.to_string());
    }
    let left: Vec<Left> = answers.iter().map(|answer| answer.batch.left).collect();
    assert_eq!(left[..2], [Left::Idle, Left::Full]);
    assert_eq!(left[5], Left::Freed);
    let firsts = answers.iter().filter(|answer| answer.batch.is_first).count();
    assert_eq!(firsts, 3, "each batch is counted once");
    assert_eq!(answers[7].queued.as_millis(), 200);
    assert_eq!(answers[7].took.as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_answered_in_parts_parts_a_batch() {
    let (instance, fake) = batching(Duration::ZERO).await;
    let first = asked(&instance, call("0", 60));
    settle().await;
    let before: Vec<_> = (0..2).map(|n| asked(&instance, call(&n.to_string(), 60))).collect();
    settle().await;
    let other = instance.clone();
    let stream = task::spawn("stream", async move {
        let call = call("parts", 60);
        let place = other.admit(call.payload.body.len(), call.deadline).unwrap();
        let mut parts = place.stream(call).await.unwrap().outcome.unwrap().parts;
        futures::StreamExt::next(&mut parts).await.unwrap().unwrap()
    });
    settle().await;
    let after: Vec<_> = (0..2).map(|n| asked(&instance, call(&n.to_string(), 60))).collect();
    assert!(first.await.unwrap().is_ok());
    for call in before.into_iter().chain(after) {
        assert_eq!(call.await.unwrap().unwrap().batch.size, 2);
    }
    assert_eq!(stream.await.unwrap(), "parts");
    assert_eq!(fake.ran(), [1, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn batches_that_do_not_pay_are_not_made() {
    let each = Duration::from_millis(10);
    let (instance, fake) =
        instance(Fake { max_batch: 8, base: Duration::ZERO, each, ..Fake::default() });
    let calls: Vec<_> = (0..100).map(|_| asked(&instance, call("x", 60))).collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let n_together = fake.ran().into_iter().filter(|size| *size > 1).count();
    assert!(n_together <= 6, "some are tried: {:?}", fake.ran());
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_more_but_not_longer_than_a_tenth_of_a_run() {
    for (delay, waits) in [(Duration::from_secs(1), 9), (Duration::from_millis(4), 3)] {
        let (instance, fake) = batching(delay).await;
        let first = asked(&instance, call("0", 60));
        settle().await;
        let waiting: Vec<_> = (0..2).map(|n| asked(&instance, call(&n.to_string(), 60))).collect();
        for call in waiting {
            let answered = call.await.unwrap().unwrap();
            assert_eq!((answered.batch.size, answered.batch.left), (2, Left::Delayed));
            assert_eq!(answered.gathered.as_millis(), waits, "{delay:?}");
        }
        assert!(first.await.unwrap().is_ok());
        assert_eq!(fake.ran(), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_full_waits_no_longer() {
    let (instance, fake) = batching(Duration::from_secs(1)).await;
    let mut calls = vec![asked(&instance, call("0", 60))];
    settle().await;
    calls.extend((1..3).map(|n| asked(&instance, call(&n.to_string(), 60))));
    sleep(Duration::from_millis(105)).await; // The slot is free, and waits for two more.
    calls.extend((3..5).map(|n| asked(&instance, call(&n.to_string(), 60))));
    for call in calls {
        let answered = call.await.unwrap().unwrap();
        assert!(answered.gathered < Duration::from_millis(7), "{:?}", answered.gathered);
    }
    assert_eq!(fake.ran(), [1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_full_instance_says_when_to_come_again() {
    let limits = Limits { waiting: 2, bytes: 100 };
    let fake = Arc::new(Fake { base: Duration::from_millis(1500), ..Fake::default() });
    let instance = Instance::new("i-0".to_owned(), fake, limits);
    let deadline = Instant::now() + Duration::from_secs(60);
    let refused = |bytes| instance.admit(bytes, deadline).err();
    let calls: Vec<_> = (0..3).map(|_| asked(&instance, call("x", 60))).collect();
    settle().await;
    let at_once = Refused::Full { retry_after: Duration::from_secs(1) };
    assert_eq!(refused(1), Some(at_once), "nothing is known yet");
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let calls: Vec<_> = (0..3).map(|_| asked(&instance, call("x", 60))).collect();
    settle().await;
    assert_eq!(refused(1), Some(Refused::Full { retry_after: Duration::from_secs(5) }));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let first = instance.admit(200, deadline).ok();
    assert!(first.is_some(), "one call is always taken");
    assert!(refused(1).is_some(), "but nothing beside it");
    drop(first);
    assert!(refused(1).is_none());
    assert_eq!(instance.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_takes_no_call_that_would_wait_for_long() {
    for (base, most) in [(7, 71), (8, 64), (100, 64), (1, 100)] {
        let (instance, _) = instance(Fake { base: Duration::from_millis(base), ..Fake::default() });
        assert!(ask(&instance, call("x", 60)).await.is_ok());
        let deadline = Instant::now() + Duration::from_secs(60);
        let admitted: Vec<_> = (0..200).map_while(|_| instance.admit(1, deadline).ok()).collect();
        assert_eq!(admitted.len() - 1, most, "{base} ms a call");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_be_answered_in_time_is_refused() {
    let (instance, _) = instance(Fake { base: Duration::from_secs(1), ..Fake::default() });
    assert!(ask(&instance, call("x", 60)).await.is_ok());
    let calls: Vec<_> = (0..10).map(|_| asked(&instance, call("x", 60))).collect();
    settle().await;
    let in_seconds = |seconds| Instant::now() + Duration::from_secs(seconds);
    let retry_after = Duration::from_secs(10);
    assert_eq!(instance.admit(1, in_seconds(9)).err(), Some(Refused::Full { retry_after }));
    assert!(instance.admit(1, in_seconds(11)).is_ok());
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_late_or_given_up_is_never_computed() {
    let (instance, fake) = instance(Fake { base: Duration::from_secs(2), ..Fake::default() });
    let first = asked(&instance, call("first", 60));
    settle().await;
    let late = asked(&instance, call("late", 1));
    let left = asked(&instance, call("left", 60));
    let kept = asked(&instance, call("kept", 60));
    settle().await;
    assert_eq!(instance.outstanding(), 4);
    left.abort();
    settle().await;
    assert_eq!(instance.outstanding(), 3, "its place is free at once");
    assert_eq!(late.await.unwrap().unwrap_err(), NoTurn { retry_after: Duration::from_secs(1) });
    assert!(first.await.unwrap().is_ok() && kept.await.unwrap().is_ok());
    assert_eq!(*fake.ran.lock().unwrap(), [[Bytes::from("first")], [Bytes::from("kept")]]);
    assert_eq!(instance.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_a_batch_has_its_own_deadline() {
    let (instance, _) = batching(Duration::ZERO).await;
    let first = asked(&instance, call("0", 60));
    settle().await;
    let hurried = Call { deadline: Instant::now() + Duration::from_millis(150), ..call("1", 60) };
    let (hurried, other) = (asked(&instance, hurried), asked(&instance, call("2", 60)));
    let outcome = hurried.await.unwrap().unwrap().outcome;
    assert!(matches!(outcome, Err(WorkerError::TimedOut)), "{outcome:?}");
    let other = other.await.unwrap().unwrap();
    assert_eq!((body(&other), other.batch.size), (Bytes::from("2"), 2));
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_answers_too_few_answers_none() {
    let (instance, _) = instance(Fake { n_short: 1, ..Fake::default() });
    let answered = ask(&instance, call("x", 60)).await.unwrap();
    assert!(matches!(answered.outcome, Err(WorkerError::Gone { .. })), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drained_instance_has_finished_what_it_had() {
    let (instance, fake) = instance(Fake::default());
    let calls: Vec<_> = (0..3).map(|_| asked(&instance, call("x", 60))).collect();
    settle().await;
    instance.drain().await;
    assert_eq!(fake.ran(), [1, 1, 1]);
    assert_eq!(instance.admit(0, Instant::now()).err(), Some(Refused::Closed));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[derive(Debug, Clone)]
struct Arrival {
    after_ms: u64,
    deadline_s: u64,
    /// When its caller leaves.
    leaves_after_ms: Option<u64>,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (0u64..40, 1u64..5, proptest::option::weighted(0.2, 0u64..300)).prop_map(
        |(after_ms, deadline_s, leaves_after_ms)| Arrival { after_ms, deadline_s, leaves_after_ms },
    )
}

async fn run(arrivals: Vec<Arrival>, fake: Fake) {
    let (instance, fake) = instance(fake);
    let mut calls = Vec::new();
    for (n, arrival) in arrivals.into_iter().enumerate() {
        sleep(Duration::from_millis(arrival.after_ms)).await;
        let asked = call(&n.to_string(), arrival.deadline_s);
        let (instance, deadline) = (instance.clone(), asked.deadline);
        calls.push(task::spawn("caller", async move {
            let Ok(place) = instance.admit(1, deadline) else { return };
            let answer = place.answer(asked);
            let leaves = sleep(Duration::from_millis(arrival.leaves_after_ms.unwrap_or(100_000)));
            tokio::select! {
                answer = answer => if let Ok(answered) = answer
                    && let Ok(reply) = answered.outcome
                {
                    assert_eq!(reply.payload.body, n.to_string(), "its own answer");
                    assert!(Instant::now() <= deadline);
                },
                () = leaves => {}
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(instance.outstanding(), 0);
    let mut computed: Vec<Bytes> = fake.ran.lock().unwrap().iter().flatten().cloned().collect();
    let n_computed = computed.len();
    computed.sort();
    computed.dedup();
    assert_eq!(computed.len(), n_computed, "nothing is computed twice");
    sleep(Duration::from_secs(1)).await; // What nobody waits for any more ends, too.
    for n in 0..fake.slots {
        let answered = ask(&instance, call("after", 60)).await.unwrap();
        assert_eq!(answered.batch.left, Left::Idle, "slot {n} is free again");
    }
    let n_free = instance.queue().free();
    assert_eq!(n_free, fake.slots, "no slot is lost, none is made");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_caller_gets_its_own_answer_and_no_slot_is_lost(
        arrivals in proptest::collection::vec(arrival(), 1..60),
        slots in 1usize..4,
        max_batch in 1usize..6,
        delay_ms in 0u64..20,
        each_ms in 0u64..20,
    ) {
        let fake = Fake {
            slots,
            max_batch,
            delay: Duration::from_millis(delay_ms),
            base: Duration::from_millis(40),
            each: Duration::from_millis(each_ms),
            ..Fake::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(arrivals, fake));
    }
}

/// Answers after a turn or two of the scheduler, from real threads.
struct Quick;

#[async_trait]
impl Worker for Quick {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        for _ in 0..calls.len() % 3 {
            tokio::task::yield_now().await;
        }
        let timings = Timings::default();
        let reply = |call: Call| {
            Ok(Reply { payload: call.payload, custom_attributes: None, session: None, timings })
        };
        calls.into_iter().map(reply).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        3
    }

    fn max_batch(&self) -> usize {
        5
    }

    fn max_batch_delay(&self) -> Duration {
        Duration::from_millis(5)
    }

    async fn stop(&self, _deadline: Instant) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_that_come_and_leave() {
    let limits = Limits { waiting: 1000, bytes: 1 << 20 };
    let instance = Instance::new("i-0".to_owned(), Arc::new(Quick), limits);
    for round in 0..20 {
        let callers: Vec<_> = (0..200)
            .map(|n| {
                let asked = format!("{round}-{n}");
                let (instance, call) = (instance.clone(), call(&asked, 60));
                task::spawn("caller", async move {
                    let answered = ask(&instance, call).await.unwrap();
                    assert_eq!(body(&answered), asked);
                })
            })
            .collect();
        for (n, caller) in callers.into_iter().enumerate() {
            if n % 7 == 0 {
                caller.abort();
            }
            assert!(caller.await.map_or_else(|error| error.is_cancelled(), |()| true));
        }
    }
    instance.drain().await;
    // A batch whose callers have all left may still be under way.
    while instance.queue().free() != 3 {
        tokio::task::yield_now().await;
    }
}
