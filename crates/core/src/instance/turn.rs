//! The way of a call through an instance: a slot, alone or with others, and the answer.

use std::borrow::Borrow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::queue::{Fill, Next, Waiting};
use super::{Answered, Batch, Instance, Left, NoTurn, retry_after};
use crate::worker::{Call, Reply, WorkerError};
use crate::{task, trace};

/// What a timer may be late. A wait for more calls that is no longer is not begun.
const TIMER_GRAIN: Duration = Duration::from_millis(1);
/// A batch waits for more calls for this share of a run at most.
const MOST_OF_A_RUN: u32 = 10;

/// Of lone calls that took no longer, one in so many is noted: they are as their neighbours, and
/// what is noted all cores write to. A prime, so that instances that take turns all have theirs.
const SHORT: Duration = Duration::from_micros(100);
const NOTED: u32 = 17;

thread_local! {
    static N_SHORT: Cell<u32> = const { Cell::new(0) };
}

/// True for one in [`NOTED`] calls of this thread.
fn is_noted() -> bool {
    let n = N_SHORT.get();
    N_SHORT.set(n.wrapping_add(1));
    n.is_multiple_of(NOTED)
}

/// What a waiting call gets in the end.
pub(super) enum Grant {
    /// A slot of its own.
    Turn { slot: Slot, call: Call, left: Left, gathered: Duration },
    /// The answer, of a batch that it was part of.
    Answer(Answered),
}

pub(super) async fn answer(
    instance: &Arc<Instance>,
    call: Call,
    is_alone: bool,
) -> Result<Answered, NoTurn> {
    let deadline = call.deadline;
    let (mut waiter, since) = match enter(instance, call, is_alone) {
        Entered::At(slot, call) => {
            return Ok(alone(slot, call, Duration::ZERO, Duration::ZERO, Left::Idle).await);
        }
        Entered::Waits(waiter, since) => (waiter, since),
    };
    match timeout_at(deadline, &mut waiter.granted).await {
        Ok(Ok(Grant::Turn { slot, call, left, gathered })) => {
            let queued = since.elapsed().saturating_sub(gathered);
            Ok(alone(slot, call, queued, gathered, left).await)
        }
        Ok(Ok(Grant::Answer(answered))) => Ok(answered),
        // Its turn came too late; or the batch was lost with its task.
        Ok(Err(_)) if Instant::now() < deadline => Ok(lost(since, crashed())),
        Err(_) if !waiter.is_waiting() => Ok(lost(since, WorkerError::TimedOut)),
        Ok(Err(_)) | Err(_) => Err(instance.no_turn()),
    }
}

pub(super) enum Entered<'i> {
    At(Slot<&'i Arc<Instance>>, Call),
    /// Since then.
    Waits(Waiter<'i>, Instant),
}

pub(super) fn enter(instance: &Arc<Instance>, call: Call, is_alone: bool) -> Entered<'_> {
    let mut queue = instance.queue();
    if queue.take_free() {
        return Entered::At(Slot(Some(instance)), call);
    }
    let (since, (grant, granted)) = (Instant::now(), oneshot::channel());
    let number = queue.push(Waiting { call, since, is_alone, grant });
    drop(queue);
    instance.arrived.notify_waiters();
    Entered::Waits(Waiter { instance, number, granted }, since)
}

/// A place in the queue, which is given up when this is dropped.
pub(super) struct Waiter<'i> {
    instance: &'i Arc<Instance>,
    number: u64,
    pub(super) granted: oneshot::Receiver<Grant>,
}

impl Waiter<'_> {
    /// False once its call was taken out to be computed.
    fn is_waiting(&self) -> bool {
        self.instance.queue().remove(self.number).is_some()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // A slot that was granted just now goes on with the channel that holds it.
        drop(self.instance.queue().remove(self.number));
    }
}

/// One of an instance's slots, lent or owned. Dropped, it goes on to the calls that wait.
pub(super) struct Slot<I: Borrow<Arc<Instance>> = Arc<Instance>>(Option<I>);

impl Slot<&Arc<Instance>> {
    pub(super) fn into_own(mut self) -> Slot {
        Slot(self.0.take().cloned())
    }
}

impl Slot {
    /// Lets the slot take calls now that waited for more of them since `freed_at`.
    fn end_of_wait(mut self, freed_at: Instant) {
        if let Some(instance) = self.0.take() {
            pass_on(&instance, Some(freed_at));
        }
    }
}

impl<I: Borrow<Arc<Instance>>> Drop for Slot<I> {
    fn drop(&mut self) {
        if let Some(instance) = self.0.take() {
            pass_on(instance.borrow(), None);
        }
    }
}

/// Gives a free slot to the calls that wait; `gathering_since` if it waited for more of them.
fn pass_on(instance: &Arc<Instance>, gathering_since: Option<Instant>) {
    if instance.queue().take_back() {
        return;
    }
    let wait = if gathering_since.is_some() { Duration::ZERO } else { instance.longest_wait() };
    let gathered = gathering_since.map(|since| since.elapsed()).unwrap_or_default();
    let mut slot = Slot(Some(instance.clone()));
    loop {
        let most = if Handle::try_current().is_ok() { instance.worker.max_batch() } else { 1 };
        let next = instance.queue().next(most.max(1), !wait.is_zero() && most > 1);
        match next {
            Next::Nothing => {
                slot.0 = None; // The queue has it.
                return;
            }
            Next::Gather(wanted) => {
                drop(task::spawn("gather", gather(slot, wanted, wait)));
                return;
            }
            Next::Batch(mut batch, fill) => {
                let left = match fill {
                    Fill::Full if batch.len() > 1 => Left::Full,
                    Fill::Full | Fill::All if gathering_since.is_some() => Left::Delayed,
                    Fill::Full | Fill::All => Left::Freed,
                };
                if batch.len() > 1 {
                    drop(task::spawn("batch", together(slot, batch, left, gathered)));
                    return;
                }
                let Some(Waiting { call, grant, .. }) = batch.pop() else { continue };
                match grant.send(Grant::Turn { slot, call, left, gathered }) {
                    Ok(()) | Err(Grant::Answer(_)) => return,
                    Err(Grant::Turn { slot: back, .. }) => slot = back, // Its caller has just left.
                }
            }
        }
    }
}

/// Holds a free slot until `wanted` calls wait, or the wait is over.
async fn gather(slot: Slot, wanted: usize, wait: Duration) {
    let Some(instance) = slot.0.clone() else { return };
    let freed_at = Instant::now();
    // The timer may be late by its grain, the wait must not.
    let until = freed_at + wait.saturating_sub(TIMER_GRAIN);
    loop {
        let arrived = instance.arrived.notified(); // Before the look: no arrival is missed.
        if instance.queue().len() >= wanted || timeout_at(until, arrived).await.is_err() {
            break;
        }
    }
    slot.end_of_wait(freed_at);
}

/// Asks the worker one call.
async fn alone<I: Borrow<Arc<Instance>>>(
    slot: Slot<I>,
    call: Call,
    queued: Duration,
    gathered: Duration,
    left: Left,
) -> Answered {
    let batch = Batch { size: 1, left, is_first: true };
    let Some(instance) = &slot.0 else { return lost(Instant::now(), crashed()) };
    let instance = instance.borrow();
    let (began, deadline) = (Instant::now(), call.deadline);
    let answer = timeout_at(deadline, instance.worker.invoke(vec![call])).await;
    let took = began.elapsed();
    let outcome = match answer.map(|mut outcomes| (outcomes.pop(), outcomes.is_empty())) {
        Ok((Some(outcome), true)) => outcome,
        Ok((Some(_) | None, _)) => Err(miscounted()),
        Err(_) => Err(WorkerError::TimedOut),
    };
    instance.note([&outcome], took);
    Answered { outcome, queued, gathered, took, batch, traced: None }
}

/// Asks the worker several calls at once, and gives each caller its own answer.
async fn together(slot: Slot, waiting: Vec<Waiting>, left: Left, gathered: Duration) {
    let Some(instance) = slot.0.clone() else { return };
    let (began, size) = (Instant::now(), waiting.len());
    let deadline = waiting.iter().map(|waiting| waiting.call.deadline).max().unwrap_or(began);
    let (mut calls, mut callers) = (Vec::with_capacity(size), Vec::with_capacity(size));
    for Waiting { call, since, grant, .. } in waiting {
        calls.push(call);
        callers.push((since, grant));
    }
    let traced = trace::traced_together(&calls);
    let answer = timeout_at(deadline, instance.worker.invoke(calls)).await;
    let took = began.elapsed();
    let outcomes = match answer {
        Ok(outcomes) if outcomes.len() == size => outcomes,
        Ok(_) => (0..size).map(|_| Err(miscounted())).collect(),
        Err(_) => (0..size).map(|_| Err(WorkerError::TimedOut)).collect(),
    };
    instance.note(&outcomes, took);
    drop(slot);
    for (index, (outcome, (since, grant))) in outcomes.into_iter().zip(callers).enumerate() {
        let waited = began.saturating_duration_since(since);
        let gathered = gathered.min(waited); // It may have come while the batch waited.
        let batch = Batch { size, left, is_first: index == 0 };
        let queued = waited - gathered;
        let traced = traced.clone();
        let answered = Answered { outcome, queued, gathered, took, batch, traced };
        drop(grant.send(Grant::Answer(answered))); // Its caller may have left.
    }
}

impl Instance {
    /// For a call whose turn did not come in time.
    pub(super) fn no_turn(&self) -> NoTurn {
        let wait = self.wait_behind(self.outstanding());
        NoTurn { retry_after: retry_after(wait) }
    }

    /// How long a batch that is not full may wait for more calls now.
    fn longest_wait(&self) -> Duration {
        let wished = self.worker.max_batch_delay();
        if wished.is_zero() {
            return wished;
        }
        let wait = wished.min(self.pace.of_a_run() / MOST_OF_A_RUN);
        if wait > TIMER_GRAIN { wait } else { Duration::ZERO }
    }

    /// Learns from a run, and what came of its calls.
    fn note<'o>(
        &self,
        outcomes: impl IntoIterator<Item = &'o Result<Reply, WorkerError>>,
        took: Duration,
    ) {
        let (mut calls, mut was_computed) = (0, false);
        for outcome in outcomes {
            calls += 1;
            // What is refused at once says nothing about what the others cost.
            was_computed |= matches!(outcome, Ok(_) | Err(WorkerError::TimedOut));
            self.breaker.note(outcome);
        }
        if was_computed && (calls > 1 || took > SHORT || is_noted()) {
            self.pace.note(calls, took);
            self.queue().note(calls, took);
        }
    }
}

/// An answer of which nothing is known but that it does not come.
fn lost(since: Instant, error: WorkerError) -> Answered {
    Answered {
        outcome: Err(error),
        queued: Duration::ZERO,
        gathered: Duration::ZERO,
        took: since.elapsed(),
        batch: Batch { size: 1, left: Left::Freed, is_first: false },
        traced: None,
    }
}

fn miscounted() -> WorkerError {
    WorkerError::Gone { reason: "the worker did not answer each call once".to_owned() }
}

fn crashed() -> WorkerError {
    let message = "the worker crashed on this call".to_owned();
    WorkerError::Model { status: 500, message, content_type: None }
}
