//! One target at one look: what is due by the clock, how the last change ended, what is to change.

use sagebrush_core::Timestamp;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{Query, StoreError};

use super::dimension::{Dimension, Scalable};
use super::history::{self, Code, NotScaled, Note};
use super::plan::{self, Change, Reason, Seen, Step};
use super::reconcile::{Memory, Rules};
use super::target_id::{TargetId, key};
use super::{
    ActionSpec, Bounds, Failures, ScalableTarget, ScaledOut, ScheduledAction, TargetStatus,
    UnderWay, Why,
};
use crate::Control;
use crate::endpoint::Endpoint;
use crate::endpoint::capacity;

pub(super) struct Look<'a> {
    pub(super) control: &'a Control,
    pub(super) memory: &'a mut Memory,
    pub(super) now: Timestamp,
}

type Target = Stored<ScalableTarget>;

impl Look<'_> {
    /// Takes the target's next step. Who changes the target meanwhile is quicker: the next look
    /// sees to the rest.
    pub(super) async fn settle(&mut self, target: Target, rules: &Rules) -> Result<(), StoreError> {
        match self.try_settle(target, rules).await {
            Err(StoreError::Conflict { .. }) => {
                self.control.autoscaling.wake.notify_one();
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn try_settle(&mut self, target: Target, rules: &Rules) -> Result<(), StoreError> {
        let Ok(id) = target.name.parse::<TargetId>() else { return Ok(()) };
        let endpoint = self.control.endpoints.get(&target.region, &id.endpoint).await?;
        let Some(endpoint) = endpoint else { return forget(self.control, target).await };
        let target = self.run_due(target, &rules.actions).await?;
        if !endpoint.status.is_settled() {
            return Ok(());
        }
        let serving = endpoint.status.serving();
        let variant = serving
            .and_then(|serving| serving.variants.iter().find(|variant| variant.name == id.variant));
        let scalable = variant.and_then(|variant| id.dimension.of(variant));
        let what = id.dimension.what();
        let target =
            self.find_out(target, scalable.map(|scalable| scalable.capacity), what).await?;
        let Some(Scalable { capacity, most }) = scalable else { return Ok(()) };
        let bounds = target.spec.bounds(&target.status).up_to(most);
        let target = self.note_inside(target, bounds, capacity).await?;
        let seen = Seen {
            now: self.now,
            capacity,
            bounds,
            suspended: target.spec.suspended,
            status: &target.status,
        };
        let is_async = serving.is_some_and(|serving| serving.asynchronous.is_some());
        let least = match id.dimension {
            // A queue of calls waits while there is no instance; a caller does not.
            Dimension::InstanceCount => u32::from(!is_async),
            // Without any there is no utilization that could lead back.
            Dimension::ProvisionedConcurrency => 1,
        };
        let policies = rules.policies.iter().filter(|policy| {
            policy.region == target.region && key(&policy.spec.target) == key(&target.name)
        });
        let wishes: Vec<_> = policies
            .filter_map(|policy| {
                self.wish(&policy.spec, (&endpoint.name, &id.variant), &target, (&seen, least))
            })
            .collect();
        match plan::plan(&seen, &wishes) {
            Step::Stay => Ok(()),
            Step::NotScaled { reason, cause } => {
                self.tell_not_scaled(&target, reason, cause, (bounds, capacity)).await
            }
            Step::Scale(change) => {
                self.memory.not_scaled.remove(&(target.region.clone(), target.name.clone()));
                self.scale(target, &endpoint, &id, (capacity, change)).await
            }
        }
    }

    /// Carries out the scheduled actions that have become due, in the order of their times.
    async fn run_due(
        &mut self,
        mut target: Target,
        actions: &[Stored<ScheduledAction>],
    ) -> Result<Target, StoreError> {
        let is_of_target = |action: &&Stored<ScheduledAction>| {
            action.region == target.region && key(&action.spec.target) == key(&target.name)
        };
        let due = actions.iter().filter(is_of_target).filter_map(|action| {
            self.memory.calendar.due(action, self.now).map(|due| (due, action))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(due, _)| *due);
        for (due, action) in due {
            if !target.spec.suspended.scheduled {
                target = self.set_bounds(target, &action.spec).await?;
            }
            let mut action = action.clone();
            action.status.seen = Some(due);
            self.control.autoscaling.actions.update(action).await?;
        }
        Ok(target)
    }

    async fn set_bounds(
        &self,
        mut target: Target,
        action: &ActionSpec,
    ) -> Result<Target, StoreError> {
        let before = target.spec.bounds(&target.status);
        let bounds =
            Bounds { min: action.min.unwrap_or(before.min), max: action.max.unwrap_or(before.max) };
        let parts = [("min", action.min), ("max", action.max)];
        let parts = parts.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let parts: Vec<_> = parts.map(|(name, to)| format!("{name} capacity to {to}")).collect();
        let what = parts.join(" and ");
        let outcome = if bounds.min > bounds.max {
            let why = "the minimum capacity would be above the maximum capacity";
            (Code::Failed, format!("Failed to set {what}. Reason: {why}."))
        } else {
            target.status.scheduled = Some(bounds);
            target.status.kept = None;
            target = self.control.autoscaling.targets.update(target).await?;
            (Code::Successful, format!("Successfully set {what}"))
        };
        let cause = format!("scheduled action name {} was triggered", action.action_name);
        tracing::info!(target = %target.name, %cause, outcome = %outcome.1, "scheduled action run");
        let note = note(&target, format!("Setting {what}."), cause);
        history::tell(&self.control.autoscaling.activities, note, outcome).await?;
        Ok(target)
    }

    /// Finds out how a change ended that was under way.
    async fn find_out(
        &self,
        mut target: Target,
        capacity: Option<u32>,
        what: &str,
    ) -> Result<Target, StoreError> {
        let Some(under_way) = target.status.under_way.take() else { return Ok(target) };
        let to = under_way.to;
        let is_done = capacity == Some(to);
        let outcome = if is_done {
            let done = "Change successfully fulfilled by sagemaker.";
            (Code::Successful, format!("Successfully set {what} to {to}. {done}"))
        } else {
            let reason = "the endpoint did not reach it; DescribeEndpoint has the FailureReason";
            (Code::Failed, format!("Failed to set {what} to {to}. Reason: {reason}."))
        };
        self.end(&target, &under_way.activity, outcome).await?;
        target.status.end(under_way.why, is_done, self.now);
        self.control.autoscaling.targets.update(target).await
    }

    /// Notes that the bounds have been kept once: from then on they may be left by hand while
    /// policies are suspended.
    async fn note_inside(
        &self,
        mut target: Target,
        bounds: Bounds,
        capacity: u32,
    ) -> Result<Target, StoreError> {
        if target.status.kept == Some(bounds) || bounds.inside(capacity) != capacity {
            return Ok(target);
        }
        target.status.kept = Some(bounds);
        self.control.autoscaling.targets.update(target).await
    }

    async fn scale(
        &self,
        mut target: Target,
        endpoint: &Stored<Endpoint>,
        id: &TargetId,
        (from, change): (u32, Change),
    ) -> Result<(), StoreError> {
        let Change { to, why, cause } = change;
        let (tables, what) = (&self.control.autoscaling, id.dimension.what());
        tracing::info!(target = %target.name, from, to, %cause, "scaling");
        let note = note(&target, format!("Setting {what} to {to}."), cause);
        let activity = history::begin(&tables.activities, note).await?;
        target.status.begin(UnderWay { activity: activity.name.clone(), to, why }, from, self.now);
        let mut target = match tables.targets.update(target).await {
            Ok(target) => target,
            Err(error) => {
                let why = "The scalable target was changed meanwhile.".to_owned();
                history::set(&tables.activities, activity, Code::Failed, why, Some(self.now))
                    .await?;
                return Err(error);
            }
        };
        let changes = [id.dimension.change(&id.variant, to)];
        let (endpoints, region) = (&self.control.endpoints, &target.region);
        match capacity::change(endpoints, region, &endpoint.name, &changes).await {
            Ok(()) => {
                self.control.wake_reconciler();
                let message = format!(
                    "Successfully set {what} to {to}. Waiting for change to be fulfilled by \
                     sagemaker."
                );
                history::set(&tables.activities, activity, Code::InProgress, message, None).await
            }
            Err(error) => {
                target.status.under_way = None;
                target.status.end(why, false, self.now);
                let target = tables.targets.update(target).await?;
                let words = format!("Failed to set {what} to {to}. Reason: {error}.");
                let outcome = (Code::Failed, words);
                self.end(&target, &activity.name, outcome).await
            }
        }
    }

    async fn end(
        &self,
        target: &Target,
        activity: &str,
        (code, message): (Code, String),
    ) -> Result<(), StoreError> {
        let activities = &self.control.autoscaling.activities;
        if code == Code::Failed {
            tracing::warn!(target = %target.name, %message, "scaling failed");
        }
        match activities.get(&target.region, activity).await? {
            Some(activity) => {
                history::set(activities, activity, code, message, Some(self.now)).await
            }
            None => Ok(()),
        }
    }

    /// Tells once what a policy asks for in vain.
    async fn tell_not_scaled(
        &mut self,
        target: &Target,
        reason: Reason,
        cause: String,
        (bounds, current): (Bounds, u32),
    ) -> Result<(), StoreError> {
        let (code, policy) = (reason.code(), cause.split(':').next().unwrap_or_default());
        let told = (reason, format!("{policy} {bounds:?}"));
        let place = (target.region.clone(), target.name.clone());
        if self.memory.not_scaled.get(&place) == Some(&told) {
            return Ok(());
        }
        let Bounds { min, max } = bounds;
        let not_scaled = NotScaled { code: code.to_owned(), min, max, current };
        let description = "Attempting to scale due to a policy that was triggered.".to_owned();
        let note = Note { not_scaled: Some(not_scaled), ..note(target, description, cause) };
        let outcome = (Code::Failed, format!("Not scaled. Reason: {code}."));
        history::tell(&self.control.autoscaling.activities, note, outcome).await?;
        self.memory.not_scaled.insert(place, told);
        Ok(())
    }
}

impl TargetStatus {
    /// Cooldowns begin with the change, and again with its end.
    pub(super) fn begin(&mut self, under_way: UnderWay, from: u32, now: Timestamp) {
        match under_way.why {
            Why::Bounds => {}
            Why::ScaleOut => self.scaled_out = Some(ScaledOut { at: now, base: from }),
            Why::ScaleIn => self.scaled_in = Some(now),
        }
        self.changed = Some(now);
        self.under_way = Some(under_way);
    }

    pub(super) fn end(&mut self, why: Why, is_done: bool, now: Timestamp) {
        if !is_done {
            let n = self.failed.map_or(0, |failed| failed.n);
            self.failed = Some(Failures { n: n.saturating_add(1), at: now });
            return;
        }
        self.failed = None;
        self.changed = Some(now);
        match why {
            Why::Bounds => {}
            Why::ScaleOut => {
                self.scaled_out = self.scaled_out.map(|out| ScaledOut { at: now, ..out });
            }
            Why::ScaleIn => self.scaled_in = Some(now),
        }
    }
}

impl Reason {
    fn code(self) -> &'static str {
        match self {
            Self::AlreadyAtMaxCapacity => "AlreadyAtMaxCapacity",
            Self::AlreadyAtMinCapacity => "AlreadyAtMinCapacity",
        }
    }
}

/// Removes a target and all that was put for it.
pub(super) async fn forget(control: &Control, target: Target) -> Result<(), StoreError> {
    let tables = &control.autoscaling;
    let query = Query { region: Some(target.region.clone()), ..Query::default() };
    for policy in tables.policies.list(&query).await?.0 {
        if key(&policy.spec.target) == key(&target.name) {
            tables.policies.remove(&policy).await?;
        }
    }
    for action in tables.actions.list(&query).await?.0 {
        if key(&action.spec.target) == key(&target.name) {
            tables.actions.remove(&action).await?;
        }
    }
    tables.targets.remove(&target).await
}

fn note(target: &Target, description: String, cause: String) -> Note<'_> {
    let (region, target) = (&target.region, target.name.as_str());
    Note { region, target, description, cause, not_scaled: None }
}
