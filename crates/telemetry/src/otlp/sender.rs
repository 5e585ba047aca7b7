//! Requests on their way, one after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::metrics::{Counter, Registry};
use tokio::time::{Instant, sleep};

use super::collector::{Collector, Untold};

/// How long is waited before each further attempt, unless the collector names a time.
const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// A collector that wants to be left alone for longer is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often it is said that something gets lost.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// What is told, and how it is counted.
pub(crate) struct Words {
    /// `traces`.
    pub(crate) what: &'static str,
    /// Names and helps of counters.
    pub(crate) told: (&'static str, &'static str),
    pub(crate) dropped: (&'static str, &'static str),
}

impl Words {
    /// The counter of what gets lost for this reason.
    pub(crate) fn dropped(&self, registry: &Registry, reason: &str) -> Arc<Counter> {
        let (name, help) = self.dropped;
        registry.counter(name, help, vec![("reason", reason.to_owned())])
    }
}

/// Sends requests.
pub(crate) struct Sender {
    collector: Arc<dyn Collector>,
    what: &'static str,
    told: Arc<Counter>,
    refused: Arc<Counter>,
    unreachable: Arc<Counter>,
    last_warning: Option<Instant>,
}

impl Sender {
    pub(crate) fn new(collector: Arc<dyn Collector>, words: &Words, registry: &Registry) -> Self {
        let (name, help) = words.told;
        Self {
            collector,
            what: words.what,
            told: registry.counter(name, help, Vec::new()),
            refused: words.dropped(registry, "refused"),
            unreachable: words.dropped(registry, "unreachable"),
            last_warning: None,
        }
    }

    /// Sends a request that tells `n` things, until it is taken or given up.
    pub(crate) async fn tell(&mut self, request: Bytes, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        match self.send(request).await {
            Ok(()) => self.told.add(n),
            Err(untold) => {
                let counter = match &untold {
                    Untold::ForGood(_) => &self.refused,
                    Untold::ForNow { .. } => &self.unreachable,
                };
                counter.add(n);
                if self.last_warning.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                    self.last_warning = Some(Instant::now());
                    tracing::warn!(error = %untold, n, "{} were not told", self.what);
                }
            }
        }
    }

    async fn send(&self, request: Bytes) -> Result<(), Untold> {
        let mut waits = WAITS.iter();
        loop {
            let (error, wished) = match self.collector.post(request.clone()).await {
                Err(Untold::ForNow { reason, after }) => (reason, after),
                told @ (Ok(()) | Err(Untold::ForGood(_))) => return told,
            };
            let wait = waits.next().map(|wait| wished.unwrap_or(*wait));
            match wait.filter(|wait| *wait <= LONGEST_WAIT) {
                Some(wait) => sleep(wait).await,
                None => return Err(Untold::ForNow { reason: error, after: None }),
            }
        }
    }
}
