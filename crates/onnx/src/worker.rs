//! A worker in process: calls go to the compute threads and come back; very short ones are
//! computed where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use sagebrush_core::shards::{Count, Shards};
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
    computed: Arc<Count>,
}

impl OnnxWorker {
    pub(crate) fn new(served: Served, pool: Arc<Pool>) -> Self {
        let served = ArcSwapOption::from_pointee(served);
        let (pace, under_way) = (Arc::default(), Arc::new(UnderWay::new()));
        let (is_short, n_batches) = (AtomicBool::new(false), AtomicUsize::new(0));
        let computed = Arc::default();
        Self { served, pool, pace, is_short, n_batches, under_way, computed }
    }

    /// Answers calls on the calling thread, and writes nothing that other threads write as well.
    fn answer_here(&self, calls: &[Call]) -> Vec<Answer> {
        let _here = self.under_way.enter_here();
        let served = self.served.load();
        let Some(served) = &*served else { return all_gone(calls) };
        let answers = timed(&self.pace, served, calls);
        note(&self.computed, &answers);
        answers
    }

    /// Queues calls that are answered together. They are not computed if the receiver is dropped
    /// first.
    fn submit(
        &self,
        served: Arc<Served>,
        calls: Vec<Call>,
        place: OnPool,
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
        if let [call] = calls.as_slice() {
            let is_short = self.pace.is_short(call.payload.body.len());
            if self.is_short.load(Ordering::Relaxed) != is_short {
                self.is_short.store(is_short, Ordering::Relaxed);
            }
            if is_short {
                return self.answer_here(&calls);
            }
        }
        let place = self.under_way.enter_pool();
        let Some(served) = self.served.load_full() else { return all_gone(&calls) };
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
        let cpu = Duration::from_nanos(self.computed.get());
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
fn note(computed: &Count, answers: &[Answer]) {
    let timings = || answers.iter().flatten().map(|reply| reply.timings);
    let run = timings().map(|timings| timings.model).max().unwrap_or_default();
    let each: Duration = timings().map(|timings| timings.pre + timings.post).sum();
    let nanos = u64::try_from((run + each).as_nanos()).unwrap_or(u64::MAX);
    computed.add(nanos);
}

fn all_gone(calls: &[Call]) -> Vec<Answer> {
    calls.iter().map(|_| Err(gone())).collect()
}

fn gone() -> WorkerError {
    WorkerError::Gone { reason: "it was stopped".to_owned() }
}

/// Counts what is under way, at the cost of an addition while nobody waits for its end.
#[derive(Debug)]
struct UnderWay {
    /// By the thread that it began on, where it also ends.
    here: Shards<AtomicUsize>,
    on_the_pool: AtomicUsize,
    is_awaited: AtomicBool,
    none: Notify,
}

impl UnderWay {
    fn new() -> Self {
        let (on_the_pool, is_awaited) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self {
            here: Shards::made(AtomicUsize::default),
            on_the_pool,
            is_awaited,
            none: Notify::new(),
        }
    }

    /// Returns once nothing is under way that began before.
    async fn end(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
        for n in self.here.iter().chain([&self.on_the_pool]) {
            loop {
                let none = self.none.notified(); // It hears from now on.
                if n.load(Ordering::SeqCst) == 0 {
                    break;
                }
                none.await;
            }
        }
    }

    fn enter_here(&self) -> Here<'_> {
        let n = self.here.mine(AtomicUsize::default);
        n.fetch_add(1, Ordering::SeqCst);
        Here { all: self, n }
    }

    fn enter_pool(self: &Arc<Self>) -> OnPool {
        self.on_the_pool.fetch_add(1, Ordering::SeqCst);
        OnPool(Arc::clone(self))
    }

    fn end_one(&self, n: &AtomicUsize) {
        let was_last = n.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.is_awaited.load(Ordering::SeqCst) {
            self.none.notify_waiters();
        }
    }
}

/// A call that is under way on this thread until this is dropped.
struct Here<'a> {
    all: &'a UnderWay,
    n: &'a AtomicUsize,
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.all.end_one(self.n);
    }
}

/// Calls that are under way elsewhere until this is dropped.
struct OnPool(Arc<UnderWay>);

impl Drop for OnPool {
    fn drop(&mut self) {
        self.0.end_one(&self.0.on_the_pool);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::Poll;

    use super::UnderWay;

    #[tokio::test]
    async fn the_end_is_awaited_of_what_is_here_and_of_what_is_elsewhere() {
        let under_way = Arc::new(UnderWay::new());
        under_way.end().await; // Nothing is under way.
        let (here, also_here) = (under_way.enter_here(), under_way.enter_here());
        let elsewhere = under_way.enter_pool();
        let mut end = pin!(under_way.end());
        assert!(is_pending(end.as_mut()).await);
        drop((here, elsewhere));
        assert!(is_pending(end.as_mut()).await);
        drop(also_here);
        end.await;
    }

    async fn is_pending(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
