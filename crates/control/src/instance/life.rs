//! The life of one instance, from its first start to its end.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::fleet::{GroupSpec, InstanceState};
use sagebrush_core::instance::Instance;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Shared, Stop};

/// How long a failed instance waits before its next start: doubled each time, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// An instance that answered for so long was well: its end does not count with earlier failures.
const STEADY: Duration = Duration::from_secs(60);

/// How long what is left of an ended worker may take over the calls that it has.
const ENDED_DRAIN: Duration = Duration::from_secs(5);

pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: GroupSpec,
    pub(super) ordinal: u32,
    pub(super) stopped: watch::Receiver<Option<Stop>>,
}

/// The failures in a row.
struct Failures {
    attempts: u32,
    wait: Duration,
}

impl Failures {
    const NONE: Self = Self { attempts: 0, wait: FIRST_WAIT };
}

impl Life {
    /// Starts the instance again and again until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut failures = Failures::NONE;
        while let Some(instance) = self.launched(&mut failures).await {
            self.note(InstanceState::Ready(instance.clone()));
            let began = Instant::now();
            let reason = tokio::select! {
                drain = self.told_to_stop() => {
                    self.stop(&instance, drain).await;
                    break;
                }
                reason = instance.worker.ended() => reason,
            };
            if began.elapsed() >= STEADY {
                failures = Failures::NONE;
            }
            self.lost(&instance, &mut failures, &reason).await;
            if self.waited(&mut failures).await.is_none() {
                break;
            }
            self.note(InstanceState::Starting);
        }
        self.shared.forget(&self.spec.key, self.ordinal);
    }

    /// Starts until a start succeeds; `None` when told to stop before.
    async fn launched(&mut self, failures: &mut Failures) -> Option<Arc<Instance>> {
        loop {
            let shared = self.shared.clone();
            let outcome = tokio::select! {
                outcome = shared.launcher.launch(&self.spec) => outcome,
                _ = self.stopped.wait_for(Option::is_some) => return None,
            };
            let failure = match outcome {
                Ok(instance) => return Some(instance),
                Err(failure) => failure,
            };
            failures.attempts += 1;
            let (reason, permanent) = (failure.to_string(), failure.is_permanent());
            let attempts = failures.attempts;
            tracing::warn!(group = %self.spec.key, %reason, attempts, "instance did not start");
            self.note(InstanceState::Failed { reason, permanent, attempts });
            self.waited(failures).await?;
        }
    }

    /// Takes an instance whose worker has ended out of the routes, and clears it away.
    async fn lost(&self, instance: &Arc<Instance>, failures: &mut Failures, reason: &str) {
        failures.attempts += 1;
        let attempts = failures.attempts;
        tracing::warn!(group = %self.spec.key, instance = instance.id, %reason, "worker ended");
        self.shared.launcher.say(&self.spec, &instance.id, &format!("ERROR {reason}"));
        let reason = format!("The worker ended: {reason}");
        self.note(InstanceState::Failed { reason, permanent: false, attempts });
        let deadline = drained(instance, ENDED_DRAIN).await;
        instance.worker.stop(deadline).await;
    }

    /// Waits before the next start; `None` when told to stop meanwhile.
    async fn waited(&mut self, failures: &mut Failures) -> Option<()> {
        let wait = failures.wait;
        failures.wait = (wait * 2).min(LONGEST_WAIT);
        tokio::select! {
            () = tokio::time::sleep(wait) => Some(()),
            _ = self.stopped.wait_for(Option::is_some) => None,
        }
    }

    async fn told_to_stop(&mut self) -> Duration {
        match self.stopped.wait_for(Option::is_some).await {
            Ok(how) => how.map_or(Duration::ZERO, |how| how.drain),
            Err(_) => Duration::ZERO, // The fleet itself is gone.
        }
    }

    /// Lets the calls under way finish, at most for `drain`, then ends the worker.
    async fn stop(&self, instance: &Arc<Instance>, drain: Duration) {
        let deadline = drained(instance, drain).await;
        let rests = self.stopped.borrow().is_some_and(|how| how.rests); // As it was told last.
        if rests {
            instance.worker.rest(deadline).await;
        } else {
            instance.worker.stop(deadline).await;
        }
    }

    fn note(&self, state: InstanceState) {
        self.shared.note(&self.spec.key, self.ordinal, state);
    }
}

/// Lets the calls under way finish, at most for `drain`. Returns when that is over.
async fn drained(instance: &Arc<Instance>, drain: Duration) -> Instant {
    let deadline = Instant::now() + drain;
    if tokio::time::timeout_at(deadline, instance.drain()).await.is_err() {
        let left = instance.outstanding();
        tracing::warn!(instance = instance.id, left, "calls were cut off at the end of the drain");
    }
    deadline
}
