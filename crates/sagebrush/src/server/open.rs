//! The connections that are open: how many there may be, which of them rest, and how they are
//! asked to end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::metrics::Gauge;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a new connection waits for the place of one that rests.
const EVICTION: Duration = Duration::from_millis(200);

/// All open connections.
pub(super) struct Open {
    n_max: u32,
    places: Arc<Semaphore>,
    all: Mutex<All>,
    gauge: Arc<Gauge>,
}

#[derive(Default)]
struct All {
    next_id: u64,
    is_stopping: bool,
    seats: BTreeMap<u64, Arc<Notify>>,
    /// Those that rest, by how long: the first has rested longest.
    resting: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection.
pub(super) struct Seat {
    open: Arc<Open>,
    id: u64,
    leave: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

/// A connection that rests may lose its place to one that has something to say.
pub(super) struct Rest<'a> {
    open: &'a Open,
    id: u64,
}

impl Open {
    /// `gauge` says how many there are.
    pub(super) fn new(n_max: u32, gauge: Arc<Gauge>) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(n_max as usize));
        Arc::new(Self { n_max, places, all: Mutex::default(), gauge })
    }

    /// A place, be it that of the connection that has rested longest. None if all are at work.
    pub(super) async fn seat(self: &Arc<Self>) -> Option<Seat> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.evict().then_some(())?;
                let freed = self.places.clone().acquire_owned();
                tokio::time::timeout(EVICTION, freed).await.ok()?.ok()?
            }
        };
        let mut all = self.all();
        let (id, leave) = (all.next_id, Arc::new(Notify::new()));
        all.next_id += 1;
        all.seats.insert(id, leave.clone());
        all.resting.insert(id, leave.clone()); // It has not asked anything yet.
        if all.is_stopping {
            leave.notify_one();
        }
        self.gauge.add(1);
        Some(Seat { open: self.clone(), id, leave, _place: place })
    }

    /// Asks the connection that has rested longest to end. False if none rests.
    pub(super) fn evict(&self) -> bool {
        let first = self.all().resting.pop_first();
        first.is_some_and(|(_, leave)| {
            leave.notify_one();
            true
        })
    }

    /// Asks all to end when they have answered what they have, and waits until they did.
    pub(super) async fn stop(&self) {
        {
            let mut all = self.all();
            all.is_stopping = true;
            all.seats.values().for_each(|leave| leave.notify_one());
        }
        let _all = self.places.acquire_many(self.n_max).await;
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Completes when the connection is asked to end.
    pub(super) fn left(&self) -> Notified<'_> {
        self.leave.notified()
    }

    pub(super) fn rest(&self) -> Rest<'_> {
        let mut all = self.open.all();
        // One that has not asked anything yet has rested since it came.
        if all.resting.contains_key(&self.id) {
            return Rest { open: &self.open, id: self.id };
        }
        let id = all.next_id;
        all.next_id += 1;
        all.resting.insert(id, self.leave.clone());
        Rest { open: &self.open, id }
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.open.all().resting.remove(&self.id);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.gauge.add(-1);
        let mut all = self.open.all();
        all.seats.remove(&self.id);
        all.resting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_rested_longest_makes_room() {
        let open = Open::new(2, Arc::default());
        let (one, two) = (open.seat().await.unwrap(), open.seat().await.unwrap());
        drop((one.rest(), two.rest()));
        assert!(open.seat().await.is_none(), "both are at work");
        let _later = two.rest();
        let told = tokio::select! {
            third = open.seat() => third.is_some(),
            () = two.left() => true,
        };
        assert!(told);
        let rest = one.rest();
        drop(rest);
        assert!(open.seat().await.is_none(), "nobody rests any more");
        drop(one);
        assert!(open.seat().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_rests_longest_whoever_begins_first() {
        let open = Open::new(2, Arc::default());
        let (one, two) = (open.seat().await.unwrap(), open.seat().await.unwrap());
        let _rests = (two.rest(), one.rest());
        assert!(open.evict());
        tokio::select! {
            () = one.left() => {}
            () = two.left() => panic!("it came later"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_told_to_stop() {
        let open = Open::new(2, Arc::default());
        let seat = open.seat().await.unwrap();
        let stop = open.stop();
        let leave = async {
            seat.left().await;
            drop(seat);
        };
        tokio::join!(stop, leave);
    }
}
