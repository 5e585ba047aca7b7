//! A lane for each subscription that has something to get: none waits for another.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use sagebrush_core::{Region, task};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::Courier;
use crate::topics::SubscriptionId;

/// How many messages are on their way to one subscription at the same time.
const AT_ONCE: usize = 32;

/// A message that a subscription waits for; the store has the rest.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) region: Region,
    pub(super) key: String,
    pub(super) n_tried: u32,
}

/// What follows an attempt.
#[derive(Debug)]
pub(super) enum Next {
    Done,
    Again { job: Job, after: Duration },
}

pub(super) struct Lanes {
    courier: Arc<Courier>,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running(Mutex<HashMap<SubscriptionId, UnboundedSender<Job>>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<SubscriptionId, UnboundedSender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    pub(super) fn new(courier: Courier) -> Self {
        Self { courier: Arc::new(courier), running: Arc::default() }
    }

    /// Puts a job into the lane of its subscription, which starts if it is not running.
    pub(super) fn put(&self, id: &SubscriptionId, job: Job) {
        let mut running = self.running.lock();
        if let Some(jobs) = running.get(id) {
            // The other end is there as long as the lane is on the list.
            jobs.send(job).ok();
            return;
        }
        let (sender, jobs) = unbounded_channel();
        sender.send(job).ok();
        running.insert(id.clone(), sender);
        let lane = Lane {
            id: id.clone(),
            courier: self.courier.clone(),
            running: self.running.clone(),
            jobs,
            due: BTreeMap::new(),
            n_queued: 0,
            on_their_way: FuturesUnordered::new(),
        };
        task::spawn("delivery-lane", lane.run());
    }
}

struct Lane {
    id: SubscriptionId,
    courier: Arc<Courier>,
    running: Arc<Running>,
    jobs: UnboundedReceiver<Job>,
    /// By when, and by who came first.
    due: BTreeMap<(Instant, u64), Job>,
    n_queued: u64,
    on_their_way: FuturesUnordered<Pin<Box<dyn Future<Output = Next> + Send>>>,
}

impl Lane {
    async fn run(mut self) {
        while !self.is_over() {
            self.set_out();
            let next = self.due.keys().next().map(|(at, _)| *at);
            let has_room = self.on_their_way.len() < AT_ONCE;
            let due = async move {
                match next.filter(|_| has_room) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(job) = self.jobs.recv() => self.queue(job, Duration::ZERO),
                Some(next) = self.on_their_way.next() => match next {
                    Next::Done => {}
                    Next::Again { job, after } => self.queue(job, after),
                },
                () = due => {}
            }
        }
    }

    fn queue(&mut self, job: Job, after: Duration) {
        self.due.insert((Instant::now() + after, self.n_queued), job);
        self.n_queued += 1;
    }

    /// Sends as many on their way as are due and have room.
    fn set_out(&mut self) {
        let now = Instant::now();
        while self.on_their_way.len() < AT_ONCE {
            let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) else {
                return;
            };
            let job = first.remove();
            let (courier, id) = (self.courier.clone(), self.id.clone());
            self.on_their_way.push(Box::pin(async move { courier.deliver(&id, job).await }));
        }
    }

    /// Takes the lane off the list if nothing is left to do.
    fn is_over(&self) -> bool {
        if !(self.due.is_empty() && self.on_their_way.is_empty()) {
            return false;
        }
        let mut running = self.running.lock();
        let is_over = self.jobs.is_empty();
        if is_over {
            running.remove(&self.id);
        }
        is_over
    }
}
