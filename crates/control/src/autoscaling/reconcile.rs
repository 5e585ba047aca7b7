//! Looks at every target, again and again: reads, asks `plan`, carries out. An alarm that acts has
//! its policy's target looked at at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::alarms::{ActionError, AlarmAction, Alarming};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{Query, StoreError};
use sagebrush_core::{Region, Timestamp};
use tokio::sync::Mutex;

use super::calendar::Calendar;
use super::history::{self, Code, ScalingActivity};
use super::plan::Reason;
use super::settle::Look;
use super::{Rule, ScalableTarget, ScalingPolicy, ScheduledAction};
use crate::Control;

/// High-resolution metrics have a point every ten seconds.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// How long an alarm holds a target that has acted and does not act again.
const ALARMED_FOR: Duration = Duration::from_secs(90);
const SWEEP_AFTER: Duration = Duration::from_hours(1);

/// Changes the capacity of targets. A look may be killed between any two steps.
pub struct Autoscaler {
    control: Arc<Control>,
    /// Held by the one who looks.
    memory: Mutex<Memory>,
}

/// What is known from one look to the next, and found out anew after a restart.
#[derive(Default)]
pub(super) struct Memory {
    /// Alarms that acted lately, by the ARN of their policy.
    pub(super) alarmed: HashMap<String, Alarmed>,
    /// What was last not done to a target, so that it is told once.
    pub(super) not_scaled: HashMap<(Region, String), (Reason, String)>,
    pub(super) calendar: Calendar,
    swept: Option<Timestamp>,
}

pub(super) struct Alarmed {
    pub(super) alarm: String,
    /// How far its metric is from its threshold.
    pub(super) beyond: f64,
    at: Timestamp,
    /// Nothing was done for it yet.
    pub(super) is_new: bool,
}

/// What clients have put, with which targets are looked at.
pub(super) struct Rules {
    pub(super) policies: Vec<Stored<ScalingPolicy>>,
    pub(super) actions: Vec<Stored<ScheduledAction>>,
}

impl Autoscaler {
    #[must_use]
    pub fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self { control, memory: Mutex::default() })
    }

    /// Looks until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut settled = self.control.settled();
        loop {
            let pause = self.look().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "looking at scalable targets failed"); // Tried again below.
                LOOK_AFTER
            });
            tokio::select! {
                () = self.control.autoscaling.wake.notified() => {}
                changed = settled.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at every target once. Returns how long there is until the next look.
    pub(super) async fn look(&self) -> Result<Duration, StoreError> {
        let memory = &mut *self.memory.lock().await;
        let tables = &self.control.autoscaling;
        let now = self.control.clock.now();
        memory.alarmed.retain(|_, alarmed| now.since(alarmed.at) < ALARMED_FOR);
        let targets = tables.targets.all().await?;
        self.sweep(memory, &targets, now).await?;
        memory.not_scaled.retain(|(region, name), _| {
            targets.iter().any(|target| target.region == *region && target.name == *name)
        });
        if targets.is_empty() {
            return Ok(LOOK_AFTER);
        }
        let rules =
            Rules { policies: tables.policies.all().await?, actions: tables.actions.all().await? };
        memory.calendar.keep(&rules.actions);
        for target in targets {
            let name = target.name.clone();
            let mut look = Look { control: &self.control, memory: &mut *memory, now };
            if let Err(error) = look.settle(target, &rules).await {
                // The next look tries again.
                tracing::warn!(target = %name, %error, "settling a scalable target failed");
            }
        }
        let pause = memory.calendar.next(now).map_or(LOOK_AFTER, |due| due.since(now));
        Ok(pause.min(LOOK_AFTER))
    }

    /// Forgets old activities, and ends those at the start that nobody is at work on.
    async fn sweep(
        &self,
        memory: &mut Memory,
        targets: &[Stored<ScalableTarget>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let activities = &self.control.autoscaling.activities;
        if memory.swept.is_some_and(|swept| now.since(swept) < SWEEP_AFTER) {
            return Ok(());
        }
        if memory.swept.is_none() {
            for activity in self.begun().await? {
                let is_known = |target: &Stored<ScalableTarget>| {
                    let under_way = target.status.under_way.as_ref();
                    under_way.is_some_and(|under_way| under_way.activity == activity.name)
                };
                if !targets.iter().any(is_known) {
                    let why = "The server was restarted before the change was made.".to_owned();
                    history::set(activities, activity, Code::Failed, why, Some(now)).await?;
                }
            }
        }
        history::sweep(activities, now).await?;
        memory.swept = Some(now);
        Ok(())
    }

    async fn begun(&self) -> Result<Vec<Stored<ScalingActivity>>, StoreError> {
        let mut begun = Vec::new();
        for status in ["Pending", "InProgress"] {
            let query = Query { status: Some(status.to_owned()), ..Query::default() };
            begun.extend(self.control.autoscaling.activities.list(&query).await?.0);
        }
        Ok(begun)
    }

    async fn act_on(&self, arn: &str, alarm: &Alarming) -> Result<(), ActError> {
        // First: what is read below is not changed by a look meanwhile.
        let memory = &mut *self.memory.lock().await;
        let tables = &self.control.autoscaling;
        let query = Query { region: Some(alarm.region.clone()), ..Query::default() };
        let (policies, _) = tables.policies.list(&query).await?;
        let policy = policies.iter().find(|policy| policy.spec.arn == arn);
        let policy = policy.ok_or(ActError::NoPolicy)?;
        let Rule::Step(_) = policy.spec.rule else { return Err(ActError::NoStepScaling) };
        let target = tables.targets.get(&alarm.region, &policy.spec.target).await?;
        let target = target.ok_or(ActError::NoTarget)?;
        let now = self.control.clock.now();
        let beyond = alarm.value.zip(alarm.threshold).map_or(0.0, |(value, limit)| value - limit);
        let alarmed = Alarmed { alarm: alarm.name.clone(), beyond, at: now, is_new: true };
        memory.alarmed.insert(arn.to_owned(), alarmed);
        let rules = Rules { policies, actions: Vec::new() };
        let outcome =
            Look { control: &self.control, memory: &mut *memory, now }.settle(target, &rules).await;
        if let Some(alarmed) = memory.alarmed.get_mut(arn) {
            alarmed.is_new = false;
        }
        Ok(outcome?)
    }
}

#[async_trait]
impl AlarmAction for Autoscaler {
    /// Nothing to do, because of a cooldown or of the bounds, is no error.
    async fn act(&self, arn: &str, alarm: &Alarming) -> Result<(), ActionError> {
        self.act_on(arn, alarm).await.map_err(|error| ActionError(error.to_string()))
    }
}

/// Why an alarm's policy was not carried out.
#[derive(Debug, thiserror::Error)]
enum ActError {
    #[error("there is no scaling policy of this ARN")]
    NoPolicy,
    #[error("the policy is not a step scaling policy")]
    NoStepScaling,
    #[error("the policy's scalable target is gone")]
    NoTarget,
    #[error(transparent)]
    Store(#[from] StoreError),
}
