//! Gives the calls that wait to the instances that there are.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::instance::Instance;
use sagebrush_core::route::{EndpointRoute, VariantRoute};
use tokio::time::sleep;

use super::Core;
use super::backlog::{At, Queue, Ticket};
use super::demand::Held;
use super::turn::Failure;

/// So many calls go to a worker for each that it can have at once, if it answers several together:
/// what waits on the instance may join a batch, but its time runs.
const CALLS_PER_SLOT: usize = 4;

/// A queue is looked at that often at least.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// How an endpoint stands.
enum Standing<'a> {
    Open(&'a Arc<EndpointRoute>),
    /// It may take calls later.
    Closed,
    /// It takes no calls any more.
    Gone,
}

impl Core {
    /// Lets a call wait for its turn.
    pub(super) fn enter(self: &Arc<Self>, at: At, ticket: Ticket) {
        if let Some(queue) = self.backlog.enter(at, ticket) {
            self.spawn("async-endpoint", self.clone().work_at(queue));
        }
    }

    /// Works at the calls of one endpoint, until it is gone and they are over.
    async fn work_at(self: Arc<Self>, queue: Arc<Queue>) {
        let mut routes = self.invoker.routes.clone();
        if !routes.has_changed() && routes.changed().await.is_err() {
            return; // Before the first table, endpoints that are there would not be found.
        }
        let mut held = Held::default();
        loop {
            routes.mark_seen(); // Before the look: no change is missed.
            let table = routes.newest();
            let now = self.clock.now();
            self.end_all(&queue, queue.take_expired(now), Failure::waited);
            match standing(table.find(&queue.region, &queue.endpoint)) {
                Standing::Open(route) => {
                    self.hand_out(&queue, route);
                    held.follow(route, &queue);
                }
                Standing::Closed => {}
                Standing::Gone => {
                    self.end_all(&queue, queue.take_all(), Failure::endpoint_gone);
                    if self.backlog.forget(&queue) {
                        return;
                    }
                }
            }
            drop(table);
            let quiet_for = queue.quiet_for(now).unwrap_or(LOOK_AFTER).min(LOOK_AFTER);
            tokio::select! {
                () = queue.changed.notified() => {}
                changed = routes.changed() => if changed.is_err() { return },
                () = sleep(quiet_for) => {}
            }
        }
    }

    /// Begins as many calls as there is room for.
    fn hand_out(self: &Arc<Self>, queue: &Arc<Queue>, route: &EndpointRoute) {
        while queue.n_waiting() > 0
            && let Some(variant) = with_room(queue, route, (self.invoker.chance)())
            && let Some((ticket, turn)) = queue.next(variant)
        {
            self.spawn("async-call", self.clone().take_turn(ticket, turn));
        }
    }

    /// Ends calls that get no turn any more.
    fn end_all(self: &Arc<Self>, queue: &Arc<Queue>, tickets: Vec<Ticket>, why: fn() -> Failure) {
        if tickets.is_empty() {
            return;
        }
        let (core, queue) = (self.clone(), queue.clone());
        self.spawn("async-calls-over", async move {
            for ticket in tickets {
                let core = core.clone();
                let Ok(writer) = core.writers.clone().acquire_owned().await else { return };
                let end = core.clone().end_unturned(queue.clone(), ticket, why());
                core.spawn("async-call-over", async move {
                    end.await;
                    drop(writer);
                });
            }
        });
    }
}

fn standing(route: Option<&Arc<EndpointRoute>>) -> Standing<'_> {
    match route {
        Some(route) if route.closed.is_none() => Standing::Open(route),
        Some(route) if route.closed != Some("Deleting") => Standing::Closed,
        Some(_) | None => Standing::Gone,
    }
}

/// A variant whose instances have room for a call, by weight; `chance` is in `0.0..1.0`.
fn with_room<'a>(queue: &Queue, route: &'a EndpointRoute, chance: f32) -> Option<&'a VariantRoute> {
    let given = route.asynchronous.as_ref().and_then(|config| config.max_concurrent_per_instance);
    let has_room = |variant: &&VariantRoute| {
        variant.traffic() > 0.0 && queue.n_running(&variant.id()) < room(variant, given)
    };
    let free: Vec<&VariantRoute> = route.variants.iter().filter(has_room).collect();
    let mut left = chance * free.iter().map(|variant| variant.traffic()).sum::<f32>();
    let chosen = free.iter().find(|variant| {
        left -= variant.traffic();
        left < 0.0
    });
    chosen.or_else(|| free.last()).copied()
}

/// How many calls the instances of a variant may have at once.
fn room(variant: &VariantRoute, given: Option<u32>) -> usize {
    let of = |instance: &Arc<Instance>| match given {
        Some(given) => usize::try_from(given).unwrap_or(usize::MAX),
        None => instance.concurrency() * instance.worker.max_batch().clamp(1, CALLS_PER_SLOT),
    };
    variant.instances.iter().map(of).sum()
}

/// How the backlog of an endpoint stands, for the gauges.
pub(super) struct Stand {
    pub(super) n_calls: usize,
    pub(super) n_instances: usize,
    pub(super) oldest: Duration,
}

impl Stand {
    pub(super) fn of(route: &EndpointRoute, queue: Option<&Queue>, now: Timestamp) -> Self {
        let running =
            |variant: &VariantRoute| queue.map_or(0, |queue| queue.n_running(&variant.id()));
        let n_running: usize = route.variants.iter().map(running).sum();
        let oldest = queue.and_then(Queue::oldest).map(|at| now.since(at));
        Self {
            n_calls: n_running + queue.map_or(0, Queue::n_waiting),
            n_instances: route.variants.iter().map(|variant| variant.instances.len()).sum(),
            oldest: oldest.unwrap_or_default(),
        }
    }
}
