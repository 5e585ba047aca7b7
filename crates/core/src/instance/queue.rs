//! The calls that wait for a slot, in the order in which they came.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::sizing::Sizing;
use super::turn::Grant;
use crate::worker::Call;

/// The most bytes that the payloads of one batch have together.
const BATCH_BYTES: usize = 64 << 20;

/// Free slots and waiting calls: never both, but while a batch waits for more.
pub(super) struct Queue {
    free: usize,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Boxed, so that what each call writes lies close together.
    sizing: Box<Sizing>,
}

/// A call that waits; by its number, so that it can be taken back from the middle.
pub(super) struct Waiting {
    pub(super) call: Call,
    pub(super) since: Instant,
    /// It is not asked together with others: it is answered in parts, or a worker died with it.
    pub(super) is_alone: bool,
    pub(super) grant: oneshot::Sender<Grant>,
}

/// What a free slot does next.
pub(super) enum Next {
    /// It stays free.
    Nothing,
    /// These calls are asked together; at least one.
    Batch(Vec<Waiting>, Fill),
    /// More calls would be worth a wait, until there are so many.
    Gather(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Full,
    All,
}

impl Queue {
    pub(super) fn new(free: usize) -> Self {
        Self { free, waiting: BTreeMap::new(), next: 0, sizing: Box::default() }
    }

    /// Takes a slot if one is free and nobody waits.
    pub(super) fn take_free(&mut self) -> bool {
        let is_free = self.free > 0 && self.waiting.is_empty();
        if is_free {
            self.free -= 1;
        }
        is_free
    }

    /// Adds a call at the end; returns its number.
    pub(super) fn push(&mut self, waiting: Waiting) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, waiting);
        number
    }

    /// Takes a call out that is still there.
    pub(super) fn remove(&mut self, number: u64) -> Option<Waiting> {
        self.waiting.remove(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free
    }

    pub(super) fn note(&mut self, calls: usize, took: Duration) {
        self.sizing.note(calls, took);
    }

    /// Takes a slot back if nobody waits for one.
    pub(super) fn take_back(&mut self) -> bool {
        let is_idle = self.waiting.is_empty();
        if is_idle {
            self.free += 1;
        }
        is_idle
    }

    /// What a slot does that has become free; it counts as free only after `Nothing`.
    pub(super) fn next(&mut self, most: usize, may_gather: bool) -> Next {
        let waiting = self.waiting.len();
        let is_alone = self.waiting.values().next().is_some_and(|first| first.is_alone);
        let size = if is_alone {
            1
        } else if may_gather {
            // As if there were enough: is a larger batch worth a wait?
            let wanted = self.sizing.choose(most, most);
            if waiting > 1 && wanted > waiting {
                return Next::Gather(wanted);
            }
            wanted.min(waiting)
        } else {
            self.sizing.choose(waiting, most)
        };
        let fill = if size < waiting || size == most { Fill::Full } else { Fill::All };
        let batch = self.pop(size);
        if batch.is_empty() {
            self.free += 1;
            return Next::Nothing;
        }
        Next::Batch(batch, fill)
    }

    /// The first `size` calls, or fewer large ones, or one that goes alone. Those that nobody waits for any more and
    /// those that are too late are dropped, before any is computed.
    fn pop(&mut self, size: usize) -> Vec<Waiting> {
        let now = Instant::now();
        let mut batch = Vec::with_capacity(size.min(self.waiting.len()));
        let mut bytes = 0;
        while batch.len() < size {
            let Some(first) = self.waiting.first_entry() else { break };
            let Waiting { call, is_alone, grant, .. } = first.get();
            if grant.is_closed() || call.deadline <= now {
                first.remove();
                continue;
            }
            let is_alone = *is_alone;
            bytes += call.payload.body.len();
            if !batch.is_empty() && (is_alone || bytes > BATCH_BYTES) {
                break;
            }
            batch.push(first.remove());
            if is_alone {
                break;
            }
        }
        batch
    }
}
