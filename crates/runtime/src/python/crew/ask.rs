//! Calls brought to workers, alone or together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use sagebrush_core::worker::{Call, Reply, WorkerError};
use tokio::time::{Instant, timeout_at};

use super::super::conn::{Exchange, Outcome};
use super::{Crew, LONGEST_WAIT, Loaded, Shared};

/// Calls with more to carry together than this go apart: two workers copy at the same time.
const CARRIED: usize = 256 << 10;
/// The same for calls that `predict_batch_fn` gets: pictures, perhaps.
const CARRIED_TOGETHER: usize = 32 << 20;
/// How many calls `predict_batch_fn` gets at most where nobody says.
const DEFAULT_BATCH: usize = 32;

impl Crew {
    /// Answers each call, on idle workers or on the first that become idle.
    pub(in super::super) async fn ask_all(
        &self,
        mut calls: Vec<Call>,
    ) -> Vec<Result<Reply, WorkerError>> {
        match (calls.pop(), calls.is_empty()) {
            (None, _) => Vec::new(),
            (Some(call), true) => vec![self.ask(call).await],
            (Some(last), false) => {
                calls.push(last);
                let carried = if self.is_together() { CARRIED_TOGETHER } else { CARRIED };
                let groups = trips(calls, carried).into_iter().map(|calls| self.ask_trip(calls));
                join_all(groups).await.into_iter().flatten().collect()
            }
        }
    }

    async fn ask(&self, call: Call) -> Result<Reply, WorkerError> {
        match self.shared.trip(&[call]).await.pop() {
            Some(Outcome::Answered(answer)) => answer,
            Some(Outcome::Lost(error)) => Err(error),
            Some(Outcome::NotBegun) | None => {
                Err(WorkerError::Gone { reason: "its process has ended".to_owned() })
            }
        }
    }

    /// Answers calls that go together. Each that was lost with its worker is tried once more, alone:
    /// one that ends workers must not take the others with it.
    async fn ask_trip(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let outcomes = self.shared.trip(&calls).await;
        let answers = calls.into_iter().zip(outcomes).map(async |(call, outcome)| match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::NotBegun => self.ask(call).await,
            Outcome::Lost(error) if !self.shared.plan.retries_after_death => Err(error),
            Outcome::Lost(_) => self.ask(call).await.map_err(for_the_last_time),
        });
        join_all(answers).await
    }

    /// How many calls one [`Crew::ask_all`] may bring to a worker.
    pub(in super::super) fn max_batch(&self) -> usize {
        let shared = &self.shared;
        let given = shared.plan.max_batch;
        if self.is_together() {
            return given.unwrap_or(DEFAULT_BATCH);
        }
        shared.pace.n_together().min(given.unwrap_or(usize::MAX))
    }

    /// How long a batch may wait for more calls.
    pub(in super::super) fn max_batch_delay(&self) -> Duration {
        if self.is_together() { self.shared.plan.max_batch_delay } else { Duration::ZERO }
    }

    fn is_together(&self) -> bool {
        self.shared.together.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Brings calls to a worker, and their replies back: an outcome for each.
    async fn trip(self: &Arc<Self>, calls: &[Call]) -> Vec<Outcome> {
        let now = Instant::now();
        let call_timeout = self.plan.call_timeout.of(calls, now);
        let by = now + call_timeout;
        let deadline = calls.iter().map(|call| call.deadline.min(by)).max().unwrap_or(by);
        let all = |error: WorkerError| {
            calls.iter().map(|_| Outcome::Answered(Err(error.clone()))).collect()
        };
        loop {
            let Some(conn) = self.take(self.patience(deadline)).await else {
                return all(self.no_worker());
            };
            // Who waited long has little time left: that is not the worker's fault.
            let exchange = Exchange::new(self.pool.clone(), conn, calls, call_timeout);
            match timeout_at(deadline, exchange.run()).await {
                Ok(None) => {} // The pool has another one, or says why not.
                Ok(Some(outcomes)) => {
                    self.note_pace(calls, &outcomes);
                    return outcomes;
                }
                Err(_late) => return all(WorkerError::TimedOut),
            }
        }
    }

    fn note_pace(&self, calls: &[Call], outcomes: &[Outcome]) {
        for (call, outcome) in calls.iter().zip(outcomes) {
            if let Outcome::Answered(Ok(reply)) = outcome {
                let carried = call.payload.body.len() + reply.payload.body.len();
                self.pace.note(reply.timings, carried);
            }
        }
    }

    /// How long a call waits for a worker: to its deadline while there are any, but not much
    /// longer than the next attempt while none can be had.
    pub(super) fn patience(&self, deadline: Instant) -> Instant {
        match &*self.loaded.borrow() {
            Loaded::No(_) | Loaded::Never(_) if self.n_serving.load(Ordering::Relaxed) == 0 => {
                deadline.min(Instant::now() + LONGEST_WAIT)
            }
            Loaded::No(_) | Loaded::Never(_) | Loaded::Yes | Loaded::NotYet => deadline,
        }
    }

    /// Why no worker took a call.
    pub(super) fn no_worker(&self) -> WorkerError {
        if self.pool.is_closed() {
            return WorkerError::Gone { reason: "its workers were stopped".to_owned() };
        }
        match &*self.loaded.borrow() {
            Loaded::No(error) | Loaded::Never(error) => WorkerError::Model {
                status: 503,
                message: format!("No worker process is there to answer: {error}"),
                content_type: None,
            },
            Loaded::Yes | Loaded::NotYet => WorkerError::TimedOut,
        }
    }
}

/// The error of a second try.
fn for_the_last_time(error: WorkerError) -> WorkerError {
    match error {
        WorkerError::Died { message, .. } => WorkerError::Died { message, once_more: false },
        WorkerError::Model { .. }
        | WorkerError::TimedOut
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. }
        | WorkerError::At { .. }
        | WorkerError::Gone { .. } => error,
    }
}

/// Calls as they go to workers: together, as long as they have little to carry.
fn trips(calls: Vec<Call>, most: usize) -> Vec<Vec<Call>> {
    let mut trips: Vec<Vec<Call>> = Vec::new();
    let mut carried = 0;
    for call in calls {
        carried += call.payload.body.len();
        match trips.last_mut() {
            Some(trip) if carried <= most => trip.push(call),
            Some(_) | None => {
                carried = call.payload.body.len();
                trips.push(vec![call]);
            }
        }
    }
    trips
}
