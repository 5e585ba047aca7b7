//! A worker in process: calls go to the compute threads and come back; very short ones are
//! computed where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use sagebrush_core::worker::{Call, Usage, Worker, WorkerError};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::batch::{self, Answer, crashed};
use crate::pace::Pace;
use crate::pool::Pool;
use crate::predict::Served;

/// A session holds the weights as they are in the file and, for most operators, once more as its
/// kernels want them.
const MEMORY_PER_FILE_BYTE: u64 = 2;

/// One in so many batches is of one call, so that it is seen what calls take alone even while
/// others always wait.
const ALONE: usize = 16;

/// Serves one model on the compute threads that all workers share.
pub(crate) struct OnnxWorker {
    /// `None` once it is stopped.
    served: ArcSwapOption<Served>,
    pool: Arc<Pool>,
    pace: Arc<Pace>,
    /// The newest lone call was short. Such calls gain nothing together, for they would have to
    /// change threads for it.
    is_short: AtomicBool,
    /// How often it was asked for the size of a batch.
    n_batches: AtomicUsize,
    under_way: Arc<UnderWay>,
    /// What it has computed so far, in nanoseconds.
    computed: Arc<AtomicU64>,
}

impl OnnxWorker {
    pub(crate) fn new(served: Served, pool: Arc<Pool>) -> Self {
        let served = ArcSwapOption::from_pointee(served);
        let (pace, under_way) = (Arc::default(), Arc::default());
        let (is_short, n_batches) = (AtomicBool::new(false), AtomicUsize::new(0));
        let computed = Arc::default();
        Self { served, pool, pace, is_short, n_batches, under_way, computed }
    }

    /// Queues calls that are answered together. They are not computed if the receiver is dropped
    /// first.
    fn submit(
        &self,
        served: Arc<Served>,
        calls: Vec<Call>,
        place: Place,
    ) -> oneshot::Receiver<Vec<Answer>> {
        let (sender, receiver) = oneshot::channel();
        let (pace, computed) = (Arc::clone(&self.pace), Arc::clone(&self.computed));
        self.pool.submit(move || {
            if !sender.is_closed() {
                let answers = timed(&pace, &served, &calls);
                note(&computed, &answers);
                let _unheard = sender.send(answers);
            }
            drop(served); // Before the worker counts as idle: then its memory is free.
            drop(place);
        });
        receiver
    }
}

#[async_trait]
impl Worker for OnnxWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Answer> {
        let place = Place::take(&self.under_way);
        let Some(served) = self.served.load_full() else {
            return calls.iter().map(|_| Err(gone())).collect();
        };
        if let [call] = calls.as_slice() {
            let is_short = self.pace.is_short(call.payload.body.len());
            if self.is_short.load(Ordering::Relaxed) != is_short {
                self.is_short.store(is_short, Ordering::Relaxed);
            }
            if is_short {
                let answers = timed(&self.pace, &served, &calls);
                note(&self.computed, &answers);
                return answers;
            }
        }
        let n = calls.len();
        let answers = self.submit(served, calls, place);
        answers.await.unwrap_or_else(|_| (0..n).map(|_| Err(crashed())).collect())
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.served.load().as_ref().map(|_| ()).ok_or_else(gone)
    }

    fn concurrency(&self) -> usize {
        self.pool.n_threads()
    }

    fn max_batch(&self) -> usize {
        let is_short = self.is_short.load(Ordering::Relaxed);
        if is_short || self.n_batches.fetch_add(1, Ordering::Relaxed) % ALONE == ALONE - 1 {
            return 1;
        }
        self.served.load().as_ref().map_or(1, |served| served.max_batch())
    }

    fn max_batch_delay(&self) -> Duration {
        self.served.load().as_ref().map_or(Duration::ZERO, |served| served.max_batch_delay())
    }

    fn is_enough(&self) -> bool {
        true // All instances compute on the same threads.
    }

    fn memory(&self) -> u64 {
        let file_bytes = self.served.load().as_ref().map_or(0, |served| served.file_bytes());
        file_bytes.saturating_mul(MEMORY_PER_FILE_BYTE)
    }

    fn usage(&self) -> Option<Usage> {
        let cpu = Duration::from_nanos(self.computed.load(Ordering::Relaxed));
        Some(Usage { cpu, memory_bytes: self.memory() })
    }

    async fn stop(&self, deadline: Instant) {
        drop(self.served.swap(None));
        if timeout_at(deadline, self.under_way.end()).await.is_err() {
            tracing::warn!("a worker was given up with calls under way");
        }
    }
}

/// Answers calls together, and notes what a single one took.
fn timed(pace: &Pace, served: &Served, calls: &[Call]) -> Vec<Answer> {
    match calls {
        [call] => pace.time(call.payload.body.len(), || batch::answer(served, calls)),
        _ => batch::answer(served, calls),
    }
}

/// Adds what was measured of these answers: one run of the model, and what is each call's own.
fn note(computed: &AtomicU64, answers: &[Answer]) {
    let timings = || answers.iter().flatten().map(|reply| reply.timings);
    let run = timings().map(|timings| timings.model).max().unwrap_or_default();
    let each: Duration = timings().map(|timings| timings.pre + timings.post).sum();
    let nanos = u64::try_from((run + each).as_nanos()).unwrap_or(u64::MAX);
    computed.fetch_add(nanos, Ordering::Relaxed);
}

fn gone() -> WorkerError {
    WorkerError::Gone { reason: "it was stopped".to_owned() }
}

/// Counts what is under way, at the cost of an addition while nobody waits for its end.
#[derive(Debug, Default)]
struct UnderWay {
    n: AtomicUsize,
    is_awaited: AtomicBool,
    none: Notify,
}

impl UnderWay {
    /// Returns once nothing is under way.
    async fn end(&self) {
        let none = self.none.notified(); // It hears from now on.
        self.is_awaited.store(true, Ordering::SeqCst);
        if self.n.load(Ordering::SeqCst) > 0 {
            none.await;
        }
    }
}

/// A call, or some, that are under way until this is dropped.
struct Place(Arc<UnderWay>);

impl Place {
    fn take(under_way: &Arc<UnderWay>) -> Self {
        under_way.n.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(under_way))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let was_last = self.0.n.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.is_awaited.load(Ordering::SeqCst) {
            self.0.none.notify_waiters();
        }
    }
}
