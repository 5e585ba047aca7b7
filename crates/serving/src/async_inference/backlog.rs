//! The calls that wait: rows in the store, and in memory what it takes to find the next one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::demand::{Demand, Wanted};
use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::route::{VariantId, VariantRoute};
use sagebrush_core::store::{Query, SortBy, StoreError};
use sagebrush_core::{Region, ResourceName, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::{AsyncCall, CallState, Done, expires_at};

/// How many rows are read at once when the server starts; each may carry a payload.
const PAGE: usize = 200;

/// An endpoint.
pub(super) type At = (Region, ResourceName);

/// All calls that were accepted and are not over.
pub(super) struct Backlog {
    pub(super) table: Table<AsyncCall>,
    queues: Mutex<HashMap<At, Arc<Queue>>>,
}

/// The calls of one endpoint that wait for their turn.
pub(super) struct Queue {
    pub(super) region: Region,
    pub(super) endpoint: ResourceName,
    /// Told when a call comes, or comes back, or has left its instance.
    pub(super) changed: Notify,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    /// The oldest first.
    waiting: VecDeque<Ticket>,
    /// The calls that have their turn, by variant.
    running: BTreeMap<VariantId, usize>,
    /// No call is begun before: the last try says that it is of no use.
    rest_until: Option<Instant>,
    /// No call expires before.
    expiry: Option<Timestamp>,
}

/// What is kept in memory of a call that waits.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    /// The key of its row.
    pub(super) key: Arc<str>,
    pub(super) accepted_at: Timestamp,
    expires_at: Timestamp,
    /// How often it was begun in vain.
    pub(super) tries: u32,
    /// It was accepted before the server started: its result may be there already.
    pub(super) is_old: bool,
}

/// The turn of a call, held until its instance has answered it.
pub(super) struct Turn {
    pub(super) queue: Arc<Queue>,
    pub(super) variant: VariantId,
    /// Counts the call until its worker is asked.
    pub(super) wanted: Option<Wanted>,
}

/// A call that was there when the server started.
pub(super) enum Found {
    Waiting { at: At, ticket: Ticket },
    Done(Box<Stored<AsyncCall>>, Done),
}

impl Backlog {
    pub(super) fn new(table: Table<AsyncCall>) -> Self {
        Self { table, queues: Mutex::default() }
    }

    /// Reads all rows, the oldest first.
    pub(super) async fn load(&self, mut found: impl FnMut(Found)) -> Result<(), StoreError> {
        let mut query = Query { sort_by: SortBy::CreationTime, limit: PAGE, ..Query::default() };
        loop {
            let (calls, next) = self.table.list(&query).await?;
            for call in calls {
                found(match &call.status {
                    CallState::Waiting => Found::Waiting {
                        at: (call.region.clone(), call.spec.endpoint.clone()),
                        ticket: Ticket { is_old: true, ..Ticket::of(&call) },
                    },
                    CallState::Done(done) => {
                        let done = done.clone();
                        Found::Done(Box::new(call), done)
                    }
                });
            }
            if next.is_none() {
                return Ok(());
            }
            query.after = next;
        }
    }

    /// Lets a call wait. Returns the queue if it is a new one, which nobody works at yet.
    pub(super) fn enter(&self, at: At, ticket: Ticket) -> Option<Arc<Queue>> {
        let mut queues = self.queues();
        if let Some(queue) = queues.get(&at) {
            queue.line().push(ticket);
            queue.changed.notify_one();
            return None;
        }
        let queue = Arc::new(Queue::new(at.clone()));
        queue.line().push(ticket);
        queues.insert(at, queue.clone());
        Some(queue)
    }

    /// Forgets a queue of which nothing is left; false if something is.
    pub(super) fn forget(&self, queue: &Queue) -> bool {
        let mut queues = self.queues(); // Held, so that no call comes in between.
        let is_over = {
            let line = queue.line();
            line.waiting.is_empty() && line.running.is_empty()
        };
        if is_over {
            queues.remove(&(queue.region.clone(), queue.endpoint.clone()));
        }
        is_over
    }

    pub(super) fn queue(&self, at: &At) -> Option<Arc<Queue>> {
        self.queues().get(at).cloned()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<At, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    pub(super) fn new((region, endpoint): At) -> Self {
        Self { region, endpoint, changed: Notify::new(), line: Mutex::default() }
    }

    /// The next call, with a turn on `variant`.
    pub(super) fn next(self: &Arc<Self>, variant: &VariantRoute) -> Option<(Ticket, Turn)> {
        let mut line = self.line();
        if line.rest_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        line.rest_until = None;
        let ticket = line.waiting.pop_front()?;
        *line.running.entry(variant.id()).or_default() += 1;
        let wanted = variant.demand.as_ref().and_then(Demand::call);
        Some((ticket, Turn { queue: self.clone(), variant: variant.id(), wanted }))
    }

    /// A call comes back to be tried again, after `rest` at the earliest.
    pub(super) fn again(&self, ticket: Ticket, rest: Duration) {
        let mut line = self.line();
        let until = Instant::now() + rest;
        line.rest_until = Some(line.rest_until.map_or(until, |before| before.max(until)));
        line.expiry = Some(line.expiry.map_or(ticket.expires_at, |at| at.min(ticket.expires_at)));
        line.waiting.push_front(ticket);
        drop(line);
        self.changed.notify_one();
    }

    /// The calls that have waited for too long.
    pub(super) fn take_expired(&self, now: Timestamp) -> Vec<Ticket> {
        let mut line = self.line();
        if line.expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut line.waiting);
        let (expired, left): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|ticket| ticket.expires_at <= now);
        line.expiry = left.iter().map(|ticket| ticket.expires_at).min();
        line.waiting = left.into();
        expired
    }

    pub(super) fn take_all(&self) -> Vec<Ticket> {
        let mut line = self.line();
        line.expiry = None;
        std::mem::take(&mut line.waiting).into()
    }

    pub(super) fn n_waiting(&self) -> usize {
        self.line().waiting.len()
    }

    pub(super) fn n_running(&self, variant: &VariantId) -> usize {
        self.line().running.get(variant).copied().unwrap_or(0)
    }

    /// When the call was accepted that has waited for longest.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.line().waiting.iter().take(64).map(|ticket| ticket.accepted_at).min()
    }

    /// How long nothing happens by itself.
    pub(super) fn quiet_for(&self, now: Timestamp) -> Option<Duration> {
        let mut line = self.line();
        let expiry = line.expiry.map(|at| at.since(now));
        let rest = line.rest_until.map(|at| at.saturating_duration_since(Instant::now()));
        if rest.is_some_and(|rest| rest.is_zero()) {
            line.rest_until = None; // One more look, and no further one while there is no room.
        }
        expiry.into_iter().chain(rest.filter(|_| !line.waiting.is_empty())).min()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn push(&mut self, ticket: Ticket) {
        self.expiry = Some(self.expiry.map_or(ticket.expires_at, |at| at.min(ticket.expires_at)));
        self.waiting.push_back(ticket);
    }
}

impl Ticket {
    pub(super) fn of(call: &Stored<AsyncCall>) -> Self {
        Self {
            key: call.name.as_str().into(),
            accepted_at: call.created_at,
            expires_at: expires_at(call),
            tries: 0,
            is_old: false,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        if let Some(n) = line.running.get_mut(&self.variant) {
            *n -= 1;
            if *n == 0 {
                line.running.remove(&self.variant);
            }
        }
        drop(line);
        self.queue.changed.notify_one();
    }
}
