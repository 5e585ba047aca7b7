//! The server's own metrics, told again and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::metrics::Registry;
use sagebrush_core::{Clock, task};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::points::{Times, requests};
use super::{Collector, Destination, HttpCollector, Sender, Words, finish};

const WORDS: Words = Words {
    what: "metrics",
    told: ("sagebrush_exported_points_total", "Points of metrics that the collector has taken."),
    dropped: (
        "sagebrush_dropped_points_total",
        "Points of metrics that were not told to the collector, by why.",
    ),
};

/// What it takes to tell metrics.
pub struct Parts {
    pub destination: Destination,
    /// How often they are told.
    pub every: Duration,
    pub registry: Registry,
    pub clock: Arc<dyn Clock>,
    /// Has gauges set to how things are now.
    pub look: Box<dyn Fn() + Send + Sync>,
}

/// Tells all metrics of a server to a collector. What it does not take is dropped: the next time
/// tells what it would have told.
pub struct MetricExporter {
    stop: Mutex<Option<oneshot::Sender<()>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl MetricExporter {
    /// Begins to tell metrics.
    #[must_use]
    pub fn start(parts: Parts) -> Arc<Self> {
        let collector = HttpCollector::new(&parts.destination);
        Self::to(Arc::new(collector), parts)
    }

    pub(super) fn to(collector: Arc<dyn Collector>, parts: Parts) -> Arc<Self> {
        let (stop, stopped) = oneshot::channel();
        let began = parts.clock.nanos();
        let sender = Sender::new(collector, &WORDS, &parts.registry);
        let task = task::spawn("otlp-metrics", Telling { parts, began, sender }.run(stopped));
        Arc::new(Self { stop: Mutex::new(Some(stop)), task: Mutex::new(Some(task)) })
    }

    /// Tells how things stand, in this time at most, and nothing after it.
    pub async fn stop(&self, within: Duration) {
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            finish(task, within, WORDS.what).await;
        }
    }
}

struct Telling {
    parts: Parts,
    began: u64,
    sender: Sender,
}

impl Telling {
    /// Tells until nobody holds the other end of `stopped`, and once more.
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let every = self.parts.every;
        let mut turns = interval_at(tokio::time::Instant::now() + every, every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ended = &mut stopped => break,
                () = self.turn(&mut turns) => {}
            }
        }
        self.tell().await;
    }

    async fn turn(&mut self, turns: &mut Interval) {
        turns.tick().await;
        self.tell().await;
    }

    async fn tell(&mut self) {
        (self.parts.look)();
        let metrics = self.parts.registry.snapshot();
        let times = Times { began: self.began, now: self.parts.clock.nanos() };
        for (request, n_points) in requests(&self.parts.destination, &metrics, times) {
            self.sender.tell(request, n_points).await;
        }
    }
}
