//! A place on which one worker runs, with the calls it has.
//!
//! A call that finds a slot free is answered alone and at once. Calls that arrive while all slots
//! are busy wait in the order in which they came; the next free slot takes as many of them
//! together as is worth it ([`sizing`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::trace::SpanContext;
use crate::worker::{Call, Reply, Worker, WorkerError};

pub mod breaker;
mod pace;
mod queue;
mod sizing;
mod stream;
#[cfg(test)]
mod tests;
mod turn;

pub use breaker::Breaker;
use pace::Pace;
use queue::Queue;
pub use stream::Streamed;

/// So many calls may wait however long it takes; beyond that none is taken that would wait for
/// longer than [`LONG_WAIT`]. Else a flood of calls to a quick model would fill a queue that takes
/// seconds to empty when the flood is over.
const FEW_WAITING: usize = 64;
const LONG_WAIT: Duration = Duration::from_millis(500);

/// The time after which a refused call may come again, where nothing is known yet.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest that a refused call is told to stay away.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A worker with its queue.
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    pub worker: Arc<dyn Worker>,
    /// Whether its worker fails call after call.
    pub breaker: Breaker,
    limits: Limits,
    concurrency: usize,
    busy: Busy,
    /// Told when a call begins to wait, for a batch that waits for more.
    arrived: Notify,
    /// What a call costs.
    pace: Pace,
    idle: Notify,
}

/// What each call writes, side by side: cores that write to the same memory wait for each other, so
/// a call is to do that at its beginning and at its end, and nowhere else.
#[repr(align(128))]
struct Busy {
    /// The calls under way, waiting ones included, and [`CLOSED`] once no more are admitted.
    outstanding: AtomicUsize,
    /// The bytes of their payloads.
    bytes: AtomicU64,
    queue: Mutex<Queue>,
}

/// What an instance holds at most, so that a flood of calls ends in refusals and not in a full
/// memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls that wait, besides those that the worker has.
    pub waiting: usize,
    /// Bytes of the payloads of all its calls. One call is always taken.
    pub bytes: u64,
}

/// The bit of `Instance::outstanding` that says that no more calls are admitted.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Why an instance takes no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It has as many as it may have, or the call could not be answered in its time. By what
    /// calls have taken, there is room after `retry_after`.
    Full { retry_after: Duration },
    /// It is on its way out; a newer route names another one.
    Closed,
}

/// What came of a call, and where its time went.
#[derive(Debug)]
pub struct Answered {
    pub outcome: Result<Reply, WorkerError>,
    /// From the admission to a free slot.
    pub queued: Duration,
    /// From a free slot to the start of its batch.
    pub gathered: Duration,
    /// How long the worker took.
    pub took: Duration,
    pub batch: Batch,
    /// The spans of its batch, its own included, where several are traced.
    pub traced: Option<Arc<[SpanContext]>>,
}

/// The calls that a worker was asked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub size: usize,
    pub left: Left,
    /// True for one of its calls, so that a batch is counted once.
    pub is_first: bool,
}

/// Why a batch left the queue when it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// A slot was free when the call came.
    Idle,
    /// A slot became free and took all that waited.
    Freed,
    /// It had as many calls as are worth it, or as the worker takes.
    Full,
    /// Its wait for more calls was over.
    Delayed,
}

/// No slot became free before the call's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTurn {
    pub retry_after: Duration,
}

impl Instance {
    #[must_use]
    pub fn new(id: String, worker: Arc<dyn Worker>, limits: Limits) -> Arc<Self> {
        let concurrency = worker.concurrency().max(1);
        Arc::new(Self {
            id,
            worker,
            breaker: Breaker::default(),
            limits,
            concurrency,
            busy: Busy {
                outstanding: AtomicUsize::new(0),
                bytes: AtomicU64::new(0),
                queue: Mutex::new(Queue::new(concurrency)),
            },
            arrived: Notify::new(),
            pace: Pace::default(),
            idle: Notify::new(),
        })
    }

    /// How many calls its worker may usefully have at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// How many calls wait or are being answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.busy.outstanding.load(Ordering::Acquire) & !CLOSED
    }

    /// How many calls wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Takes a place on this instance for a call with a payload of `bytes`.
    ///
    /// # Errors
    /// When it is closed or full, or by what calls take this one would not be begun before its
    /// `deadline`.
    pub fn admit(self: &Arc<Self>, bytes: usize, deadline: Instant) -> Result<Admitted, Refused> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.busy.outstanding.fetch_add(1, Ordering::AcqRel);
        let bytes_before = self.busy.bytes.fetch_add(bytes, Ordering::AcqRel);
        let admitted = Admitted { instance: self.clone(), bytes }; // Gives all back when dropped.
        if before & CLOSED != 0 {
            return Err(Refused::Closed);
        }
        let is_heavy = bytes_before > 0 && bytes_before.saturating_add(bytes) > self.limits.bytes;
        if before < self.concurrency && !is_heavy {
            return Ok(admitted);
        }
        let wait = self.wait_behind(before);
        let waiting = before.saturating_sub(self.concurrency);
        let is_long =
            waiting >= self.limits.waiting || (waiting >= FEW_WAITING && wait > LONG_WAIT);
        if is_heavy || is_long || Instant::now() + wait > deadline {
            return Err(Refused::Full { retry_after: retry_after(wait) });
        }
        Ok(admitted)
    }

    /// Admits no more calls, and returns when none is left.
    pub async fn drain(&self) {
        self.busy.outstanding.fetch_or(CLOSED, Ordering::AcqRel);
        loop {
            let idle = self.idle.notified();
            if self.outstanding() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// How long the worker has to do with `outstanding` calls; zero while nothing is known.
    fn wait_behind(&self, outstanding: usize) -> Duration {
        let rounds = outstanding.checked_div(self.concurrency).unwrap_or_default();
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        self.pace.of_a_call().saturating_mul(rounds)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.busy.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}

/// In whole seconds, as HTTP has it.
fn retry_after(wait: Duration) -> Duration {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(seconds).clamp(RETRY_AFTER, LONGEST_RETRY_AFTER)
}

/// A place on an instance, held while a call is under way.
pub struct Admitted {
    instance: Arc<Instance>,
    bytes: u64,
}

impl Admitted {
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Gives the place back, and says where it was.
    #[must_use]
    pub fn leave(self) -> Arc<Instance> {
        self.instance.clone()
    }

    /// Asks the worker when it is the call's turn. Dropping the future gives the call up: its
    /// place in the queue is free at once.
    ///
    /// # Errors
    /// When its turn did not come before its deadline. What the worker says is in the answer.
    pub async fn answer(&self, call: Call) -> Result<Answered, NoTurn> {
        turn::answer(&self.instance, call, false).await
    }

    /// As [`Self::answer`], never together with other calls: they might end with this one.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn answer_alone(&self, call: Call) -> Result<Answered, NoTurn> {
        turn::answer(&self.instance, call, true).await
    }

    /// Asks the worker for parts when it is the call's turn, and returns with the first of them.
    /// The place is given back when the parts have ended or are dropped, which gives the call up.
    /// The call's deadline is that of the last part.
    ///
    /// # Errors
    /// When its turn did not come before its deadline. What the worker says is in the answer.
    pub async fn stream(self, call: Call) -> Result<Streamed, NoTurn> {
        stream::stream(self, call).await
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.instance.busy.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        let left = self.instance.busy.outstanding.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == CLOSED {
            self.instance.idle.notify_waiters();
        }
    }
}
