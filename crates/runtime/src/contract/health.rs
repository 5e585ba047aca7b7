//! Whether a container is fit to answer: at its start, and later.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sagebrush_core::worker::WorkerError;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::ContractClient;
use super::failure::CallFailure;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Why a container never became ready.
pub(crate) enum NotReady {
    /// It ended first; says how.
    Ended(String),
    /// Says what it answered last.
    TooLate(String),
}

/// How a running container is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HealthCheck {
    pub(crate) interval: Duration,
    /// So many pings in a row must fail.
    pub(crate) failures: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), failures: 5 }
    }
}

/// What the calls tell about a container's health.
#[derive(Default)]
pub(crate) struct Pulse {
    under_way: AtomicUsize,
    answered: AtomicBool,
    timed_out: AtomicBool,
}

/// A call that is under way; also one that is given up.
pub(crate) struct Beat(Arc<Pulse>);

/// Waits until the container answers its first ping.
pub(crate) async fn first_ping(
    client: &ContractClient,
    ended: impl Future<Output = String>,
    deadline: Instant,
) -> Result<(), NotReady> {
    let mut ended = pin!(ended);
    let mut pause = FIRST_PAUSE;
    loop {
        let ping = timeout_at(deadline, client.ping());
        let last = tokio::select! {
            biased;
            how = &mut ended => return Err(NotReady::Ended(how)),
            ping = ping => match ping {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure.reason(),
                Err(_late) => "it did not answer".to_owned(),
            },
        };
        if Instant::now() + pause >= deadline {
            return Err(NotReady::TooLate(last));
        }
        tokio::select! {
            how = &mut ended => return Err(NotReady::Ended(how)),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Returns once so many pings in a row have failed that the container counts as hung; says why.
pub(crate) async fn until_sick(
    client: &ContractClient,
    pulse: &Pulse,
    check: HealthCheck,
) -> String {
    let mut failures = 0;
    loop {
        sleep(check.interval).await;
        let Err(failure) = client.ping().await else {
            failures = 0;
            pulse.timed_out.store(false, Ordering::Relaxed);
            continue;
        };
        if pulse.excuses(&failure) {
            failures = 0;
            continue;
        }
        failures += 1;
        if failures >= check.failures {
            return format!("it failed {failures} pings in a row ({})", failure.reason());
        }
    }
}

impl Pulse {
    pub(crate) fn begin(self: &Arc<Self>) -> Beat {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Beat(self.clone())
    }

    /// True if a failed ping does not count. A server of one thread cannot answer pings while it
    /// computes: it is not hung as long as it answers calls, or they are within their time. A
    /// server that says itself that it is not well is believed.
    fn excuses(&self, failure: &CallFailure) -> bool {
        let answered = self.answered.swap(false, Ordering::Relaxed);
        let in_time =
            self.under_way.load(Ordering::Relaxed) > 0 && !self.timed_out.load(Ordering::Relaxed);
        match failure {
            CallFailure::Final(WorkerError::TimedOut) => answered || in_time,
            CallFailure::Final(_) => false,
            CallFailure::NotSent { .. } | CallFailure::Broken { .. } => answered,
        }
    }
}

impl Beat {
    pub(crate) fn end<T>(self, reply: &Result<T, WorkerError>) {
        match reply {
            Ok(_) => {
                self.0.answered.store(true, Ordering::Relaxed);
                self.0.timed_out.store(false, Ordering::Relaxed);
            }
            Err(WorkerError::TimedOut) => self.0.timed_out.store(true, Ordering::Relaxed),
            Err(
                WorkerError::Model { .. }
                | WorkerError::Died { .. }
                | WorkerError::Invalid { .. }
                | WorkerError::NotReady { .. }
                | WorkerError::At { .. }
                | WorkerError::Gone { .. },
            ) => {}
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
