//! A worker in process: calls go to the compute threads and come back; very short ones are
//! computed where they are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sagebrush_core::worker::{Call, Reply, Worker, WorkerError};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::pace::Pace;
use crate::pool::Pool;
use crate::predict::{Served, predict};

/// A session holds the weights as they are in the file and, for most operators, once more as its
/// kernels want them.
const MEMORY_PER_FILE_BYTE: u64 = 2;

/// Serves one model on the compute threads that all workers share.
pub(crate) struct OnnxWorker {
    /// `None` once it is stopped.
    served: Mutex<Option<Arc<Served>>>,
    pool: Arc<Pool>,
    pace: Arc<Pace>,
    n_under_way: watch::Sender<usize>,
}

type Answer = Result<Reply, WorkerError>;

impl OnnxWorker {
    pub(crate) fn new(served: Served, pool: Arc<Pool>) -> Self {
        let served = Mutex::new(Some(Arc::new(served)));
        Self { served, pool, pace: Arc::default(), n_under_way: watch::Sender::new(0) }
    }

    fn served(&self) -> Result<Arc<Served>, WorkerError> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.clone().ok_or_else(|| WorkerError::Gone { reason: "it was stopped".to_owned() })
    }

    /// Queues a call. It is not computed if the receiver is dropped first.
    fn submit(&self, served: Arc<Served>, call: Call) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let under_way = UnderWay::start(&self.n_under_way);
        let pace = Arc::clone(&self.pace);
        self.pool.submit(move || {
            if !sender.is_closed() {
                let _unheard = sender.send(timed(&pace, &served, &call));
            }
            drop(served); // Before the worker counts as idle: then its memory is free.
            drop(under_way);
        });
        receiver
    }
}

#[async_trait]
impl Worker for OnnxWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Answer> {
        let served = match self.served() {
            Ok(served) => served,
            Err(gone) => return calls.iter().map(|_| Err(gone.clone())).collect(),
        };
        if let [call] = calls.as_slice()
            && self.pace.is_short(call.payload.body.len())
        {
            let _under_way = UnderWay::start(&self.n_under_way);
            return vec![timed(&self.pace, &served, call)];
        }
        let submit = |call| self.submit(Arc::clone(&served), call);
        let pending: Vec<_> = calls.into_iter().map(submit).collect();
        drop(served);
        let mut answers = Vec::with_capacity(pending.len());
        for answer in pending {
            answers.push(answer.await.unwrap_or_else(|_| Err(crashed())));
        }
        answers
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.served().map(|_| ())
    }

    fn concurrency(&self) -> usize {
        self.pool.n_threads()
    }

    fn memory(&self) -> u64 {
        self.served().map_or(0, |served| served.file_bytes().saturating_mul(MEMORY_PER_FILE_BYTE))
    }

    async fn stop(&self, deadline: Instant) {
        let _served = self.served.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut n_under_way = self.n_under_way.subscribe();
        let idle = n_under_way.wait_for(|n| *n == 0);
        if timeout_at(deadline, idle).await.is_err() {
            tracing::warn!("a worker was given up with calls under way");
        }
    }
}

/// Answers a call, and notes what it took.
fn timed(pace: &Pace, served: &Served, call: &Call) -> Answer {
    let started_at = Instant::now();
    let answer = answer(served, call);
    pace.note(call.payload.body.len(), started_at.elapsed());
    answer
}

/// Answers a call that is still of use.
fn answer(served: &Served, call: &Call) -> Answer {
    if Instant::now() >= call.deadline {
        return Err(WorkerError::TimedOut);
    }
    shielded(call, || predict(served, call))
}

/// Makes a panic the failure of its call, and not of the thread.
fn shielded(call: &Call, work: impl FnOnce() -> Answer) -> Answer {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!(request_id = %call.request_id, "a call panicked");
        Err(crashed())
    })
}

fn crashed() -> WorkerError {
    let message = "the model crashed on this call".to_owned();
    WorkerError::Model { status: 500, message, content_type: None }
}

/// Counts a call until it is dropped.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn start(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|n| *n += 1);
        Self(count.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::worker::{Call, Payload, WorkerError};
    use tokio::time::Instant;

    use super::shielded;

    #[test]
    fn a_panic_is_the_failure_of_its_call() {
        let call = Call {
            payload: Payload::default(),
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "1".into(),
            deadline: Instant::now(),
        };
        let answer = shielded(&call, || panic!("as a test"));
        assert!(matches!(answer, Err(WorkerError::Model { status: 500, .. })), "{answer:?}");
    }
}
