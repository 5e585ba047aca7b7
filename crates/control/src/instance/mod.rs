//! Instances on this machine: groups of them, each with one worker.
//!
//! ```text
//! Starting --ready--> Ready --stop--> Draining --> gone
//!    ^  |
//!    |  failed
//!    +--Failed (waits, longer each time)
//! ```

mod catalogue;
mod launch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::fleet::{Fleet, FleetError, FleetView, GroupKey, GroupSpec, InstanceState};
use sagebrush_core::route::Instance;
use sagebrush_core::task;
use tokio::sync::watch;
use tokio::time::Instant;

pub use catalogue::Catalogue;
pub use launch::Launcher;

/// How long instances that are not wanted any more may take over the calls that they have.
const SURPLUS_DRAIN: Duration = Duration::from_secs(60);

/// How long a failed instance waits before its next start: doubled each time, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The fleet of one machine: its instances are workers that runtimes launch here.
pub struct LocalFleet {
    shared: Arc<Shared>,
}

struct Shared {
    launcher: Launcher,
    groups: Mutex<BTreeMap<GroupKey, Group>>,
    view: watch::Sender<Arc<FleetView>>,
}

/// The instances of a group by their ordinal.
#[derive(Default)]
struct Group {
    members: BTreeMap<u32, Member>,
}

struct Member {
    state: InstanceState,
    /// How long the worker may take to finish, once it is to stop.
    stop: watch::Sender<Option<Duration>>,
}

impl LocalFleet {
    #[must_use]
    pub fn new(launcher: Launcher) -> Self {
        let (view, _) = watch::channel(Arc::default());
        Self { shared: Arc::new(Shared { launcher, groups: Mutex::default(), view }) }
    }
}

#[async_trait]
impl Fleet for LocalFleet {
    async fn apply_group(&self, spec: &GroupSpec) -> Result<(), FleetError> {
        let mut groups = self.shared.groups();
        let group = groups.entry(spec.key.clone()).or_default();
        let mut changed = false;
        for ordinal in 0..spec.instance_count {
            if let Entry::Vacant(place) = group.members.entry(ordinal) {
                place.insert(self.start(spec.clone(), ordinal));
                changed = true;
            }
        }
        for (_, surplus) in group.members.range_mut(spec.instance_count..) {
            changed |= surplus.stop(SURPLUS_DRAIN);
        }
        if changed {
            self.shared.publish(&groups);
        }
        Ok(())
    }

    async fn delete_group(&self, key: &GroupKey, drain: Duration) -> Result<(), FleetError> {
        let mut groups = self.shared.groups();
        let Some(group) = groups.get_mut(key) else { return Ok(()) };
        let mut changed = false;
        for member in group.members.values_mut() {
            changed |= member.stop(drain);
        }
        if changed {
            self.shared.publish(&groups);
        }
        Ok(())
    }

    fn watch(&self) -> watch::Receiver<Arc<FleetView>> {
        self.shared.view.subscribe()
    }
}

impl LocalFleet {
    fn start(&self, spec: GroupSpec, ordinal: u32) -> Member {
        let (stop, stopped) = watch::channel(None);
        let life = Life { shared: self.shared.clone(), spec, ordinal, stopped };
        task::spawn("instance", life.run());
        Member { state: InstanceState::Starting, stop }
    }
}

impl Member {
    /// Tells the instance to stop. False if it was told before.
    fn stop(&mut self, drain: Duration) -> bool {
        let told_before = self.stop.send_replace(Some(drain)).is_some();
        self.state = InstanceState::Draining;
        !told_before
    }
}

impl Shared {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupKey, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, groups: &BTreeMap<GroupKey, Group>) {
        let states = |group: &Group| group.members.values().map(|m| m.state.clone()).collect();
        let view = groups.iter().map(|(key, group)| (key.clone(), states(group))).collect();
        self.view.send_replace(Arc::new(view));
    }

    /// Notes what became of an instance, unless it is on its way out.
    fn note(&self, key: &GroupKey, ordinal: u32, state: InstanceState) {
        let mut groups = self.groups();
        let member = groups.get_mut(key).and_then(|group| group.members.get_mut(&ordinal));
        if let Some(member) = member.filter(|member| member.stop.borrow().is_none()) {
            member.state = state;
            self.publish(&groups);
        }
    }

    /// Forgets an instance, and its group with the last one.
    fn forget(&self, key: &GroupKey, ordinal: u32) {
        let mut groups = self.groups();
        let Some(group) = groups.get_mut(key) else { return };
        group.members.remove(&ordinal);
        if group.members.is_empty() {
            groups.remove(key);
        }
        self.publish(&groups);
    }
}

/// One instance, from its first start to its end.
struct Life {
    shared: Arc<Shared>,
    spec: GroupSpec,
    ordinal: u32,
    stopped: watch::Receiver<Option<Duration>>,
}

impl Life {
    async fn run(mut self) {
        if let Some(instance) = self.launched().await {
            self.shared.note(&self.spec.key, self.ordinal, InstanceState::Ready(instance.clone()));
            let drain = self.told_to_stop().await;
            stop(&instance, drain).await;
        }
        self.shared.forget(&self.spec.key, self.ordinal);
    }

    /// Starts until a start succeeds; `None` when told to stop before.
    async fn launched(&mut self) -> Option<Arc<Instance>> {
        let mut attempts = 0;
        let mut wait = FIRST_WAIT;
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
            attempts += 1;
            let (reason, permanent) = (failure.to_string(), failure.is_permanent());
            tracing::warn!(group = %self.spec.key, %reason, attempts, "instance did not start");
            let state = InstanceState::Failed { reason, permanent, attempts };
            self.shared.note(&self.spec.key, self.ordinal, state);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.stopped.wait_for(Option::is_some) => return None,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn told_to_stop(&mut self) -> Duration {
        match self.stopped.wait_for(Option::is_some).await {
            Ok(drain) => drain.unwrap_or_default(),
            Err(_) => Duration::ZERO, // The fleet itself is gone.
        }
    }
}

/// Lets the calls under way finish, at most for `drain`, then ends the worker.
async fn stop(instance: &Arc<Instance>, drain: Duration) {
    let deadline = Instant::now() + drain;
    if tokio::time::timeout_at(deadline, instance.drain()).await.is_err() {
        let left = instance.outstanding();
        tracing::warn!(instance = instance.id, left, "calls were cut off at the end of the drain");
    }
    instance.worker.stop(deadline).await;
}
