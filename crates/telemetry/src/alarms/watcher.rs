//! Looks at alarms when it is time to: at metric alarms every few seconds, at composite ones when
//! a child has changed. 1,000 alarms are 200 reads a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::alarms::AlarmState;
use sagebrush_core::cloudwatch::Datapoint;
use sagebrush_core::store::StoreError;
use sagebrush_core::{Timestamp, task};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender};

use super::actor::{self, Repeat};
use super::evaluate::{self, Evidence, Verdict, evaluate};
use super::reason::{self, Child};
use super::record::{Alarm, AlarmSpec, MetricCondition, Moment};
use super::rule::name_of;
use super::{AlarmId, Alarms, Known, step};

/// What is due is looked for at least as often, whatever the clock does; and what failed is tried
/// again after this.
const PAUSE: Duration = Duration::from_secs(5);

/// What happened to an alarm.
#[derive(Debug, Clone)]
pub(super) enum Touch {
    Configured(AlarmId),
    Changed(AlarmId),
}

pub(super) struct Watcher {
    alarms: Arc<Alarms>,
    /// The alarms with changes that are not told yet.
    untold: UnboundedSender<AlarmId>,
    /// Bounded: what does not get in is due again soon.
    repeats: Sender<Repeat>,
    due: BTreeSet<(Timestamp, AlarmId)>,
    due_at: HashMap<AlarmId, Timestamp>,
    /// When scaling policies were last carried out again.
    repeated_at: HashMap<AlarmId, Timestamp>,
}

impl Watcher {
    pub(super) fn new(
        alarms: Arc<Alarms>,
        untold: UnboundedSender<AlarmId>,
        repeats: Sender<Repeat>,
    ) -> Self {
        Self {
            alarms,
            untold,
            repeats,
            due: BTreeSet::new(),
            due_at: HashMap::new(),
            repeated_at: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut touched: UnboundedReceiver<Touch>) {
        let all: Vec<AlarmId> = self.alarms.known().keys().cloned().collect();
        for id in all {
            self.touched(Touch::Configured(id)).await;
        }
        loop {
            while let Ok(touch) = touched.try_recv() {
                self.touched(touch).await;
            }
            self.look_at_all_due().await;
            let next = self.due.first().map(|(at, _)| at.since(self.alarms.clock.now()));
            let pause = next.unwrap_or(PAUSE).min(PAUSE);
            tokio::select! {
                touch = touched.recv() => match touch {
                    Some(touch) => self.touched(touch).await,
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn touched(&mut self, touch: Touch) {
        let now = self.alarms.clock.now();
        match touch {
            Touch::Configured(id) => {
                self.settle(&id, None).await;
                self.schedule(id, now);
            }
            Touch::Changed(id) => {
                for parent in self.parents(&id) {
                    self.settle(&parent, Some(&id)).await;
                    self.schedule(parent, now); // What it held may be free now.
                }
                self.schedule(id, now);
            }
        }
    }

    /// The composite alarms that speak of `id`, or wait for it.
    fn parents(&self, id: &AlarmId) -> Vec<AlarmId> {
        let speaks = |known: &Known| {
            let in_rule =
                known.rule.as_ref().is_some_and(|rule| rule.children().contains(&id.name.as_str()));
            let composite = known.stored.spec.composite();
            let suppressor = composite.and_then(|composite| composite.suppressor.as_ref());
            in_rule || suppressor.is_some_and(|it| name_of(&it.alarm) == id.name)
        };
        let all = self.alarms.of_region(&id.region).into_iter();
        all.filter(speaks).map(|known| AlarmId::of(&known.stored)).collect()
    }

    fn schedule(&mut self, id: AlarmId, at: Timestamp) {
        if let Some(before) = self.due_at.insert(id.clone(), at) {
            self.due.remove(&(before, id.clone()));
        }
        self.due.insert((at, id));
    }

    async fn look_at_all_due(&mut self) {
        let now = self.alarms.clock.now();
        while let Some((at, id)) = self.due.first().cloned() {
            if at > now {
                return;
            }
            self.due.pop_first();
            self.due_at.remove(&id);
            match self.look(&id, now).await {
                Some(next) => self.schedule(id, next),
                None => {
                    self.repeated_at.remove(&id);
                }
            }
        }
    }

    /// Looks at one alarm, and says when to look again; `None` for never.
    async fn look(&mut self, id: &AlarmId, now: Timestamp) -> Option<Timestamp> {
        let known = self.alarms.find(id)?;
        let soon = Timestamp(now.0 + i64::try_from(PAUSE.as_millis()).unwrap_or(0));
        let is_told = known.stored.status.untold.is_empty();
        if !is_told {
            self.untold.send(id.clone()).ok(); // The actor ends with the server only.
        }
        let Some(condition) = known.stored.spec.metric() else {
            // A composite alarm is looked at when others change; this is for what it holds.
            return (!is_told).then(|| self.alarms.held_until(id, now).unwrap_or(soon).min(soon));
        };
        if let Err(error) = self.look_at_metric(id, &known, condition, now).await {
            tracing::warn!(%error, alarm = id.name, "the state of an alarm could not be written");
        }
        Some(evaluate::next_look(condition, now))
    }

    async fn look_at_metric(
        &mut self,
        id: &AlarmId,
        known: &Known,
        condition: &MetricCondition,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let status = &known.stored.status;
        let is_set = status.set_until.is_some_and(|until| now < until);
        let mut value = None;
        if !is_set {
            let Some(points) = self.read(known, now).await else { return Ok(()) };
            if let Verdict::Is(state, evidence) = evaluate(condition, &points, now) {
                value = evidence.points.first().map(|point| point.value);
                if self.enter(id, known, (state, &evidence), now).await? {
                    return Ok(());
                }
            }
        }
        let since = self.repeated_at.get(id).copied().max(Some(status.transitioned_at));
        let is_time = since.is_none_or(|at| now.since(at) >= evaluate::interval(condition));
        if is_time && status.untold.is_empty() && scales(&known.stored.spec, status.now.state) {
            self.repeated_at.insert(id.clone(), now);
            self.repeats.try_send(Repeat { id: id.clone(), value }).ok();
        }
        Ok(())
    }

    /// Where it may block, for old values are in files.
    async fn read(&self, known: &Known, now: Timestamp) -> Option<Vec<Datapoint>> {
        let (alarms, alarm) = (self.alarms.clone(), known.stored.clone());
        let read = task::blocking(move || {
            let condition = alarm.spec.metric()?;
            let span = evaluate::range(condition, now);
            Some(alarms.sources.read(&alarm.region, condition, span))
        });
        // No answer is not the same as no data.
        read.await.inspect_err(|error| tracing::warn!(%error, "no metric was read")).ok().flatten()
    }

    /// Writes the state down if it is a new one, or the first that was looked for.
    async fn enter(
        &self,
        id: &AlarmId,
        known: &Known,
        (state, evidence): (AlarmState, &Evidence),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let status = &known.stored.status;
        let is_first = status.now.reason_data.is_none() && status.set_until.is_none();
        if state == status.now.state && !is_first {
            return Ok(false);
        }
        let Some(condition) = known.stored.spec.metric() else { return Ok(false) };
        let moment = reason::of_metric(condition, state, evidence, now);
        let value = evidence.points.first().map(|point| point.value);
        let version = known.stored.version;
        let change = |stored: &mut Alarm| {
            // What was changed meanwhile is looked at anew.
            let is_same = stored.version == version;
            if is_same {
                stored.status.set_until = None;
                step(stored, moment, value);
            }
            is_same
        };
        Ok(self.alarms.change(id, change).await? && state != status.now.state)
    }

    /// Brings a composite alarm into the state that its rule calls for.
    async fn settle(&self, id: &AlarmId, trigger: Option<&AlarmId>) {
        let Some(known) = self.alarms.find(id) else { return };
        let Some(rule) = &known.rule else { return };
        let child = |name: &str| {
            let id = AlarmId { region: id.region.clone(), name: name.to_owned() };
            let status = &self.alarms.find(&id)?.stored.status;
            let arn = self.alarms.arn(&id);
            Some(Child { arn, state: status.now.state, since: status.transitioned_at })
        };
        let holds = rule.holds(&|name: &str| child(name).map(|child| child.state));
        let state = if holds { AlarmState::Alarm } else { AlarmState::Ok };
        if state == known.stored.status.now.state {
            return;
        }
        let trigger = trigger.and_then(|id| child(&id.name));
        let children: Vec<Child> = rule.children().into_iter().filter_map(child).collect();
        let now = self.alarms.clock.now();
        let moment = reason::of_composite(state, trigger.as_ref(), &children, now);
        self.write_composite(id, moment).await;
    }

    async fn write_composite(&self, id: &AlarmId, moment: Moment) {
        let written = self.alarms.change(id, |stored| {
            step(stored, moment, None);
            true
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, alarm = id.name, "the state of an alarm could not be written");
        }
    }
}

/// Whether a scaling policy is to be carried out again and again in a state.
fn scales(spec: &AlarmSpec, state: AlarmState) -> bool {
    spec.actions_enabled && spec.actions(state).iter().any(|arn| actor::is_scaling(arn))
}
