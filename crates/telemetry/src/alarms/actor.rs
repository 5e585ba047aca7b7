//! Does what a change of state calls for: history, event, actions.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::{ActionError, AlarmAction, Alarming};
use sagebrush_core::messages::PublishError;
use sagebrush_core::store::StoreError;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::timeout;

use super::event::event;
use super::history::{self, Item, ItemKind};
use super::message::message;
use super::record::{Alarm, Change, Moment};
use super::rule::name_of;
use super::suppress::{Hold, hold};
use super::{AlarmId, Alarms, key_of, words};

/// How long a scaling policy may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The scaling policies of the state that there is, once more.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) id: AlarmId,
    /// The newest that was looked at.
    pub(super) value: Option<f64>,
}

/// Whether `arn` names a topic.
pub(super) fn is_topic(arn: &str) -> bool {
    arn.starts_with("arn:aws:sns:")
}

/// Whether `arn` names a scaling policy.
pub(super) fn is_scaling(arn: &str) -> bool {
    arn.starts_with("arn:aws:autoscaling:") && arn.contains(":scalingPolicy:")
}

pub(super) struct Actor {
    pub(super) alarms: Arc<Alarms>,
    pub(super) scaling: Option<Arc<dyn AlarmAction>>,
}

impl Actor {
    /// Tells what is not told yet of the alarms that are named.
    pub(super) async fn tell_all(self: Arc<Self>, mut ids: UnboundedReceiver<AlarmId>) {
        while let Some(id) = ids.recv().await {
            if let Err(error) = self.tell(&id).await {
                // The watcher names it again.
                tracing::warn!(%error, alarm = id.name, "a change could not be told");
            }
        }
    }

    /// In a task of its own, for policies may take long.
    pub(super) async fn repeat_all(self: Arc<Self>, mut repeats: Receiver<Repeat>) {
        while let Some(Repeat { id, value }) = repeats.recv().await {
            self.repeat(&id, value).await;
        }
    }

    async fn tell(&self, id: &AlarmId) -> Result<(), StoreError> {
        while let Some(known) = self.alarms.find(id) {
            let Some(change) = known.stored.status.untold.first() else { return Ok(()) };
            if !change.is_noted {
                self.note(&known.stored, change).await?;
            }
            let is_held = self.alarms.hold(id, self.alarms.clock.now()).is_some();
            if is_held && !change.actions.is_empty() {
                return self.set_aside(id, change).await;
            }
            for (index, arn) in change.actions.iter().enumerate() {
                self.act(&known.stored, change, index, arn).await?;
            }
            self.strike_off(id, change).await?;
        }
        Ok(())
    }

    /// Into history, and to who listens to events.
    async fn note(&self, alarm: &Alarm, change: &Change) -> Result<(), StoreError> {
        let (from, to) = (change.from.state.word(), change.to.state.word());
        let state = |moment: &Moment| {
            let data = moment.reason_data.as_deref();
            let data: Value = data.and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
            json!({
                "stateValue": moment.state.word(),
                "stateReason": moment.reason,
                "stateReasonData": data,
            })
        };
        let states = json!({
            "version": "1.0",
            "oldState": state(&change.from),
            "newState": state(&change.to),
        });
        let item = Item {
            alarm: alarm.name.clone(),
            is_composite: alarm.spec.composite().is_some(),
            kind: ItemKind::StateUpdate,
            at: change.to.at,
            summary: format!("Alarm updated from {from} to {to}"),
            data: history::data(
                states,
                &["/oldState/stateReasonData", "/newState/stateReasonData"],
            ),
        };
        let key = key_of(item.at, &change.id);
        self.alarms.history.add(&alarm.region, &key, item).await?;
        let arn = self.alarms.arn(&AlarmId::of(alarm));
        self.alarms.events.emit(event(alarm, &arn, change));
        Ok(())
    }

    /// Leaves the actions for later.
    async fn set_aside(&self, id: &AlarmId, change: &Change) -> Result<(), StoreError> {
        let set = self.alarms.change(id, |stored| {
            let mut untold = stored.status.untold.iter_mut();
            let found = untold.find(|other| other.id == change.id && !other.is_noted);
            found.map(|other| other.is_noted = true).is_some()
        });
        set.await.map(drop)
    }

    async fn strike_off(&self, id: &AlarmId, change: &Change) -> Result<(), StoreError> {
        let struck = self.alarms.change(id, |stored| {
            stored.status.untold.retain(|other| other.id != change.id);
            true
        });
        struck.await.map(drop)
    }

    /// One action, which may fail: that is told in the history. Only a store that fails is an
    /// error.
    async fn act(
        &self,
        alarm: &Alarm,
        change: &Change,
        index: usize,
        arn: &str,
    ) -> Result<(), StoreError> {
        let id = AlarmId::of(alarm);
        let outcome = if is_topic(arn) {
            let own = self.alarms.arn(&id);
            let message = message(alarm, &own, &self.alarms.account.0, change, index);
            match self.alarms.publisher.publish(arn, message).await {
                Ok(()) => Ok(()),
                Err(error @ PublishError::NoTopic(_)) => Err(error.to_string()),
                Err(PublishError::Store(error)) => return Err(error),
            }
        } else {
            let alarming = self.alarming(alarm, &change.to, change.value);
            self.scale(arn, &alarming).await.map_err(|error| error.to_string())
        };
        if let Err(error) = &outcome {
            tracing::warn!(alarm = alarm.name, action = arn, error, "an alarm's action failed");
        }
        let (summary, state) = match &outcome {
            Ok(()) => (format!("Successfully executed action {arn}"), "Succeeded"),
            Err(error) => {
                (format!("Failed to execute action {arn}. Received error: \"{error}\""), "Failed")
            }
        };
        let mut data = json!({
            "actionState": state,
            "stateUpdateTimestamp": change.to.at.0,
            "notificationResource": arn,
        });
        if let Err(error) = outcome {
            data["error"] = error.into();
        }
        let item = Item {
            alarm: alarm.name.clone(),
            is_composite: alarm.spec.composite().is_some(),
            kind: ItemKind::Action,
            at: self.alarms.clock.now(),
            summary,
            data: data.to_string(),
        };
        let key = key_of(change.to.at, &format!("{}-{index}", change.id));
        self.alarms.history.add(&alarm.region, &key, item).await
    }

    async fn repeat(&self, id: &AlarmId, value: Option<f64>) {
        let Some(known) = self.alarms.find(id) else { return };
        let alarm = &known.stored;
        let alarming = self.alarming(alarm, &alarm.status.now, value);
        for arn in alarm.spec.actions(alarming.state).iter().filter(|arn| is_scaling(arn)) {
            if let Err(error) = self.scale(arn, &alarming).await {
                tracing::debug!(%error, alarm = id.name, action = arn, "a policy did nothing");
            }
        }
    }

    async fn scale(&self, arn: &str, alarming: &Alarming) -> Result<(), ActionError> {
        let Some(scaling) = &self.scaling else {
            return Err(ActionError("this server carries out no scaling policies".to_owned()));
        };
        let late = |_| ActionError("it was not done in time".to_owned());
        timeout(TIMEOUT, scaling.act(arn, alarming)).await.map_err(late)?
    }

    fn alarming(&self, alarm: &Alarm, to: &Moment, value: Option<f64>) -> Alarming {
        Alarming {
            region: alarm.region.clone(),
            name: alarm.name.clone(),
            arn: self.alarms.arn(&AlarmId::of(alarm)),
            state: to.state,
            reason: to.reason.clone(),
            at: to.at,
            value,
            threshold: alarm.spec.metric().map(|condition| condition.threshold),
        }
    }
}

impl Alarms {
    /// What keeps the actions of an alarm back.
    pub(super) fn hold(&self, id: &AlarmId, now: Timestamp) -> Option<Hold> {
        let known = self.find(id)?;
        let suppressor = known.stored.spec.composite()?.suppressor.as_ref()?;
        let name = name_of(&suppressor.alarm).to_owned();
        let suppressing = self.find(&AlarmId { region: id.region.clone(), name });
        let status = suppressing.as_ref().map(|known| &known.stored.status);
        hold(suppressor, status, &known.stored.status, now)
    }

    pub(super) fn held_until(&self, id: &AlarmId, now: Timestamp) -> Option<Timestamp> {
        self.hold(id, now)?.until()
    }

    /// CloudWatch API: `ActionsSuppressedReason`.
    pub(super) fn held_because(hold: Hold, suppressor: &str) -> String {
        let until = |at: Timestamp| words::long(at);
        match hold {
            Hold::Alarm => format!("Actions suppressed by {suppressor}, which is in ALARM"),
            Hold::WaitPeriod(at) => {
                format!("Actions wait for {suppressor} until {}", until(at))
            }
            Hold::ExtensionPeriod(at) => {
                format!(
                    "Actions suppressed by {suppressor}, which was in ALARM, until {}",
                    until(at)
                )
            }
        }
    }
}
