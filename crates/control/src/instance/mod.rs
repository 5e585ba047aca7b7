//! Instances on this machine: groups of them, each with one worker.
//!
//! ```text
//! Starting --ready--> Ready --stop--> Draining --> gone
//!    ^  |               |
//!    |  failed          | its worker has ended
//!    +--Failed <--------+ (waits, longer each time)
//! ```
//!
//! An instance has one worker. With several containers that is a [`series`] or a choice
//! ([`direct`]); a container of many models is a [`multi_model`] cache.

mod catalogue;
mod launch;
mod life;
mod parts;
mod series;
mod direct;
mod multi_model;

#[cfg(test)]
mod composite_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::fleet::{Fleet, FleetError, FleetView, GroupKey, GroupSpec, InstanceState};
use sagebrush_core::task;
use tokio::sync::watch;

pub use catalogue::Catalogue;
pub use launch::Launcher;
use life::Life;

/// How long instances that are not wanted any more may take over the calls that they have.
const SURPLUS_DRAIN: Duration = Duration::from_secs(60);

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
    /// Set once the worker is to stop.
    stop: watch::Sender<Option<Stop>>,
}

/// How a worker is to stop.
#[derive(Debug, Clone, Copy)]
struct Stop {
    /// How long it may take over the calls that it has.
    drain: Duration,
    /// It may be launched again at any time.
    rests: bool,
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
        if spec.instance_count == 0 && !groups.contains_key(&spec.key) {
            return Ok(()); // A group is there as long as it has instances.
        }
        let group = groups.entry(spec.key.clone()).or_default();
        let wanted = spec.instance_count as usize;
        let n_staying = group.members.values().filter(|member| member.stays()).count();
        for _ in n_staying..wanted {
            let ordinal = group.free_ordinal();
            group.members.insert(ordinal, self.start(spec.clone(), ordinal));
        }
        let staying = group.members.values_mut().filter(|member| member.stays());
        for surplus in staying.skip(wanted) {
            surplus.stop(Stop { drain: SURPLUS_DRAIN, rests: true });
        }
        if n_staying != wanted {
            self.shared.publish(&groups);
        }
        Ok(())
    }

    async fn delete_group(&self, key: &GroupKey, drain: Duration) -> Result<(), FleetError> {
        self.shared.stop_group(key, Stop { drain, rests: false });
        self.shared.launcher.forget(key).await;
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

impl Group {
    /// The first that no instance has, not even one that is on its way out.
    fn free_ordinal(&self) -> u32 {
        (0..).find(|ordinal| !self.members.contains_key(ordinal)).unwrap_or(u32::MAX)
    }
}

impl Member {
    /// It was not told to stop.
    fn stays(&self) -> bool {
        self.stop.borrow().is_none()
    }

    /// Tells the instance to stop. False if it was told before.
    fn stop(&mut self, how: Stop) -> bool {
        let told_before = self.stop.send_replace(Some(how)).is_some();
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

    fn stop_group(&self, key: &GroupKey, how: Stop) {
        let mut groups = self.groups();
        let Some(group) = groups.get_mut(key) else { return };
        let mut changed = false;
        for member in group.members.values_mut() {
            changed |= member.stop(how);
        }
        if changed {
            self.publish(&groups);
        }
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
