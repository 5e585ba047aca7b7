//! Alarms, as CloudWatch has them: they look at metrics, or at other alarms, and act when their
//! state changes.
//!
//! | State | A metric alarm | A composite alarm |
//! |---|---|---|
//! | `INSUFFICIENT_DATA` | is new, or all its data is missing | is new |
//! | `OK` | too few data points breach its threshold | its rule does not hold |
//! | `ALARM` | `DatapointsToAlarm` of `EvaluationPeriods` breach | its rule holds |
//!
//! A change is one write: the new state, and in `untold` what is to be done about it. Then it is
//! done, then struck off; so what `kill -9` interrupts is done again, under the same ids.
//!
//! - [`record`]: what the store keeps; [`history`]: what became of alarms;
//! - [`evaluate`], [`rule`], [`suppress`]: which state there should be, and whether actions wait.
//!   Pure;
//! - [`watcher`] looks at what is due; [`actor`] does what changes call for;
//! - [`source`] reads metrics; [`reason`], [`message`], [`event`] put it into CloudWatch's words;
//! - [`api`] speaks CloudWatch.

mod actor;
mod api;
mod evaluate;
mod event;
mod history;
mod message;
mod reason;
mod record;
mod rule;
mod source;
mod suppress;
mod watcher;
mod words;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sagebrush_core::alarms::{AlarmAction, AlarmState};
use sagebrush_core::cloudwatch::{MetricMath, Metrics};
use sagebrush_core::events::EventSink;
use sagebrush_core::messages::Publisher;
use sagebrush_core::resource::Table;
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Clock, Region, Timestamp, alarms, task};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use api::operations;

use self::actor::Actor;
use self::history::History;
use self::record::{Alarm, AlarmKind, Change, Moment};
use self::rule::Rule;
use self::source::Sources;
use self::watcher::{Touch, Watcher};

/// More changes than these wait for nobody.
const MAX_UNTOLD: usize = 20;
/// How many scaling policies wait to be carried out again.
const MAX_REPEATS: usize = 1000;

/// What alarms are made of.
pub struct Parts {
    pub store: Arc<dyn MetaStore>,
    pub clock: Arc<dyn Clock>,
    pub account: AccountId,
    pub metrics: Arc<dyn Metrics>,
    /// Computes expressions; without it, alarms that look at one are refused.
    pub math: Option<Arc<dyn MetricMath>>,
    pub publisher: Arc<dyn Publisher>,
    pub events: Arc<dyn EventSink>,
}

/// All alarms of a server.
pub struct Alarms {
    table: Table<AlarmKind>,
    history: Arc<History>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    sources: Sources,
    publisher: Arc<dyn Publisher>,
    events: Arc<dyn EventSink>,
    known: Mutex<BTreeMap<AlarmId, Known>>,
    /// Held by who changes anything.
    changing: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
    /// Set when somebody watches.
    touches: OnceLock<mpsc::UnboundedSender<Touch>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AlarmId {
    region: Region,
    name: String,
}

#[derive(Clone)]
struct Known {
    stored: Arc<Alarm>,
    /// Of a composite alarm.
    rule: Option<Arc<Rule>>,
}

impl Alarms {
    /// Reads what there is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, clock, account, metrics, math, publisher, events } = parts;
        let this = Self {
            table: Table::new(store.clone(), clock.clone()),
            history: Arc::new(History::new(store, clock.clone())),
            clock,
            account,
            sources: Sources { metrics, math },
            publisher,
            events,
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            changes: watch::Sender::default(),
            touches: OnceLock::new(),
        };
        for stored in this.table.all().await? {
            this.keep(stored);
        }
        Ok(Arc::new(this))
    }

    /// Starts to look at alarms and to act. `scaling` carries out scaling policies; without it
    /// such actions fail.
    #[must_use]
    pub fn run(self: &Arc<Self>, scaling: Option<Arc<dyn AlarmAction>>) -> [JoinHandle<()>; 4] {
        let (touch, touched) = mpsc::unbounded_channel();
        let (tell, untold) = mpsc::unbounded_channel();
        let (repeat, repeats) = mpsc::channel(MAX_REPEATS);
        if self.touches.set(touch).is_err() {
            tracing::warn!("alarms are watched already; changes are told to the first watcher");
        }
        let actor = Arc::new(Actor { alarms: self.clone(), scaling });
        let watcher = Watcher::new(self.clone(), tell, repeat);
        [
            task::spawn("alarm-watcher", watcher.run(touched)),
            task::spawn("alarm-actor", actor.clone().tell_all(untold)),
            task::spawn("alarm-scaling", actor.repeat_all(repeats)),
            task::spawn("alarm-history", self.history.clone().sweep_for_ever()),
        ]
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<AlarmId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &AlarmId) -> Option<Known> {
        self.known().get(id).cloned()
    }

    /// All alarms of a region, by name.
    fn of_region(&self, region: &Region) -> Vec<Known> {
        let first = AlarmId { region: region.clone(), name: String::new() };
        let known = self.known();
        let all = known.range((Bound::Included(first), Bound::Unbounded));
        all.take_while(|(id, _)| id.region == *region).map(|(_, known)| known.clone()).collect()
    }

    fn arn(&self, id: &AlarmId) -> String {
        format!("arn:aws:cloudwatch:{}:{}:alarm:{}", id.region, self.account.0, id.name)
    }

    fn keep(&self, stored: Alarm) {
        let id = AlarmId { region: stored.region.clone(), name: stored.name.clone() };
        let rule = stored.spec.composite().and_then(|composite| {
            let rule = Rule::parse(&composite.rule);
            rule.inspect_err(|error| tracing::warn!(alarm = id.name, %error, "no rule")).ok()
        });
        let known = Known { stored: Arc::new(stored), rule: rule.map(Arc::new) };
        self.known().insert(id, known);
    }

    /// Changes an alarm in the store, then in memory. `change` says whether there is anything to
    /// write. Not for who holds `changing`.
    async fn change(
        &self,
        id: &AlarmId,
        change: impl FnOnce(&mut Alarm) -> bool + Send,
    ) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        let Some(known) = self.find(id) else { return Ok(false) };
        let mut stored = (*known.stored).clone();
        if !change(&mut stored) {
            return Ok(false);
        }
        let is_other = stored.status.now.state != known.stored.status.now.state;
        self.keep(self.table.update(stored).await?);
        if is_other {
            self.changes.send_modify(|n_changes| *n_changes += 1);
            self.touch(Touch::Changed(id.clone()));
        }
        Ok(true)
    }

    fn touch(&self, touch: Touch) {
        if let Some(touches) = self.touches.get() {
            touches.send(touch).ok(); // The watcher ends with the server only.
        }
    }
}

impl alarms::Alarms for Alarms {
    fn state(&self, region: &Region, name: &str) -> Option<AlarmState> {
        let id = AlarmId { region: region.clone(), name: name.to_owned() };
        self.known().get(&id).map(|known| known.stored.status.now.state)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl AlarmId {
    fn of(stored: &Alarm) -> Self {
        Self { region: stored.region.clone(), name: stored.name.clone() }
    }
}

/// Brings an alarm into a state. If it is another one, what is to be done is written down with it.
fn step(stored: &mut Alarm, to: Moment, value: Option<f64>) {
    let status = &mut stored.status;
    let from = std::mem::replace(&mut status.now, to.clone());
    if from.state == to.state {
        return;
    }
    if from.state == AlarmState::Alarm {
        status.left_alarm_at = Some(to.at);
    }
    status.transitioned_at = to.at;
    let mut actions = Vec::new();
    if stored.spec.actions_enabled {
        actions = stored.spec.actions(to.state).to_vec();
        actions.dedup();
    }
    let is_held = stored.spec.composite().is_some_and(|composite| composite.suppressor.is_some());
    if is_held && let Some(told) = forget_held(&mut status.untold) {
        actions.retain(|_| told != to.state);
    }
    let id = Uuid::now_v7().to_string();
    status.untold.push(Change { id, from, to, value, is_noted: false, actions });
    if status.untold.len() > MAX_UNTOLD {
        let oldest = status.untold.remove(0);
        tracing::warn!(alarm = stored.name, change = oldest.id, "a change was told to nobody");
    }
}

/// Lets go the actions that were kept back, and returns the state that was told last, if there
/// were any.
fn forget_held(untold: &mut Vec<Change>) -> Option<AlarmState> {
    let told = untold.iter().find(|change| !change.actions.is_empty())?.from.state;
    untold.iter_mut().for_each(|change| change.actions.clear());
    untold.retain(|change| !change.is_noted);
    Some(told)
}

/// In a list that is asked for by time.
fn key_of(at: Timestamp, id: &str) -> String {
    format!("{:013}-{id}", at.0)
}
