//! The way of a call that is answered in parts: a slot of its own, held until the last of them.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::turn::{Entered, Grant, Slot, enter};
use super::{Admitted, Instance, NoTurn};
use crate::task;
use crate::worker::{Call, ReplyParts, StreamedReply, WorkerError};

/// Who asks for parts hears of the deadline first.
const UNASKED: Duration = Duration::from_secs(1);

/// What came of a call that is answered in parts, and where its time went until the first.
pub struct Streamed {
    /// With parts of which the first is there, if there are any.
    pub outcome: Result<StreamedReply, WorkerError>,
    /// From the admission to a free slot.
    pub queued: Duration,
    /// How long the worker took over the first part.
    pub took: Duration,
}

pub(super) async fn stream(place: Admitted, call: Call) -> Result<Streamed, NoTurn> {
    let instance = place.instance.clone();
    let (since, deadline) = (Instant::now(), call.deadline);
    let (slot, call) = turn(&instance, call).await?;
    let began = Instant::now();
    let outcome = timeout_at(deadline, begin(&instance, call)).await;
    let outcome = outcome.unwrap_or(Err(WorkerError::TimedOut));
    let took = began.elapsed();
    let outcome = match outcome {
        Ok((reply, first)) => {
            let (parts, late) = (reply.parts, Box::pin(sleep_until(deadline)));
            let running = Running { parts, late, waits_since: None, took, _slot: slot, place };
            let parts = Parts::new(first, running, deadline).boxed();
            Ok(StreamedReply { parts, ..reply })
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        instance.breaker.note(&outcome);
    }
    Ok(Streamed { outcome, queued: began - since, took })
}

async fn turn(instance: &Arc<Instance>, call: Call) -> Result<(Slot, Call), NoTurn> {
    let deadline = call.deadline;
    let mut waiter = match enter(instance, call, true) {
        Entered::At(slot, call) => return Ok((slot.into_own(), call)),
        Entered::Waits(waiter, _) => waiter,
    };
    match timeout_at(deadline, &mut waiter.granted).await {
        Ok(Ok(Grant::Turn { slot, call, .. })) => Ok((slot, call)),
        Ok(Ok(Grant::Answer(_)) | Err(_)) | Err(_) => Err(instance.no_turn()),
    }
}

/// The reply with its first part, if it has any: what fails before is the call's own error.
async fn begin(
    instance: &Instance,
    call: Call,
) -> Result<(StreamedReply, Option<Bytes>), WorkerError> {
    let mut reply = instance.worker.stream(call).await?;
    loop {
        let first = reply.parts.next().await.transpose()?;
        if first.as_ref().is_none_or(|first| !first.is_empty()) {
            return Ok((reply, first));
        }
    }
}

/// The parts of a reply, none of them empty.
struct Parts {
    first: Option<Bytes>,
    state: Arc<Mutex<State>>,
    limit: Option<JoinHandle<()>>,
}

enum State {
    Running(Running),
    /// The deadline has passed while nobody asked for parts.
    Late,
    Over,
}

/// A worker that makes parts, with the slot that it does so on.
struct Running {
    parts: ReplyParts,
    late: Pin<Box<Sleep>>,
    /// Since when the next part is awaited.
    waits_since: Option<Instant>,
    /// How long parts were awaited so far.
    took: Duration,
    _slot: Slot,
    place: Admitted,
}

impl Parts {
    fn new(first: Option<Bytes>, running: Running, deadline: Instant) -> Self {
        if first.is_none() {
            running.end();
            return Self { first, state: Arc::new(Mutex::new(State::Over)), limit: None };
        }
        let state = Arc::new(Mutex::new(State::Running(running)));
        let limit = task::spawn("stream-limit", end_at(deadline, state.clone()));
        Self { first, state, limit: Some(limit) }
    }
}

/// Frees the place at the deadline, also if nobody asks for parts any more.
async fn end_at(deadline: Instant, state: Arc<Mutex<State>>) {
    sleep_until(deadline + UNASKED).await;
    let mut state = lock(&state);
    if matches!(*state, State::Running(_)) {
        *state = State::Late;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Parts {
    type Item = Result<Bytes, WorkerError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, WorkerError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let mut state = lock(&self.state);
        let next = match &mut *state {
            State::Running(running) => running.poll(context),
            State::Late => Poll::Ready(Some(Err(WorkerError::TimedOut))),
            State::Over => Poll::Ready(None),
        };
        if let Poll::Ready(None | Some(Err(_))) = &next {
            *state = State::Over;
        }
        next
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        *lock(&self.state) = State::Over;
        if let Some(limit) = &self.limit {
            limit.abort();
        }
    }
}

impl Running {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, WorkerError>>> {
        if self.late.as_mut().poll(context).is_ready() {
            let late = Err(WorkerError::TimedOut);
            if self.waits_since.is_some() {
                self.place.instance.breaker.note(&late); // Else it is the client who was slow.
            }
            return Poll::Ready(Some(late));
        }
        loop {
            let Poll::Ready(next) = self.parts.poll_next_unpin(context) else {
                self.waits_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            self.took += self.waits_since.take().map(|since| since.elapsed()).unwrap_or_default();
            match &next {
                Some(Ok(part)) if part.is_empty() => continue,
                Some(Ok(_)) => {}
                Some(error @ Err(_)) => self.place.instance.breaker.note(error),
                None => self.end(),
            }
            return Poll::Ready(next);
        }
    }

    /// Notes that all parts have come.
    fn end(&self) {
        self.place.instance.breaker.note(&Ok(()));
        self.place.instance.pace.note_stream(self.took);
    }
}
