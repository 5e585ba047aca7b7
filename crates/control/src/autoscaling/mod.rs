//! Application Auto Scaling: a variant's number of instances, or its provisioned concurrency,
//! changed by rules and by the clock.
//!
//! ```text
//! metrics --> target_tracking --+
//! alarms  --> step -------------+--> plan --> endpoint::capacity::change
//! clock   --> schedule --> bounds
//! ```
//!
//! A target is a variant whose capacity may be changed, and the bounds that it stays in. Policies say what number they want; the largest wins. Scheduled actions change the bounds.
//! Each change is an activity, which says why.
//!
//! Invariants: what is set is never outside the bounds; no data, no action; what is under way is
//! written down before it begins, so that a restart finds out how it ended.

pub(crate) mod api;
mod calendar;
mod dimension;
mod history;
mod plan;
mod reconcile;
mod schedule;
mod settle;
mod step;
mod target_id;
mod target_tracking;
mod wishes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::resource::{Resource, Table};
use sagebrush_core::store::MetaStore;
use sagebrush_core::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use history::ScalingActivity;
pub use reconcile::Autoscaler;
use step::StepScaling;
use target_id::key;
use target_tracking::TargetTracking;

/// What the room keeps.
#[derive(Clone)]
pub(crate) struct Tables {
    targets: Table<ScalableTarget>,
    policies: Table<ScalingPolicy>,
    actions: Table<ScheduledAction>,
    activities: Table<ScalingActivity>,
    wake: Arc<Notify>,
}

impl Tables {
    pub(crate) fn new(store: &Arc<dyn MetaStore>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            targets: Table::new(store.clone(), clock.clone()),
            policies: Table::new(store.clone(), clock.clone()),
            actions: Table::new(store.clone(), clock.clone()),
            activities: Table::new(store.clone(), clock.clone()),
            wake: Arc::default(),
        }
    }
}

/// Application Auto Scaling API: `RegisterScalableTarget`. Its name is that of a
/// [`target_id::TargetId`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScalableTarget;

impl Resource for ScalableTarget {
    const KIND: &'static str = "scalable-target";
    type Spec = TargetSpec;
    type Status = TargetStatus;

    fn key(name: &str) -> String {
        key(name)
    }

    fn status_word(_: &TargetStatus) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetSpec {
    /// The last part of its ARN.
    id: String,
    bounds: Bounds,
    role_arn: Option<String>,
    suspended: Suspended,
}

/// `MinCapacity` and `MaxCapacity`; the first is not above the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    fn inside(self, capacity: u32) -> u32 {
        capacity.max(self.min).min(self.max)
    }

    /// Neither is above `most`.
    fn up_to(self, most: u32) -> Self {
        Self { min: self.min.min(most), max: self.max.min(most) }
    }
}

/// `SuspendedState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspended {
    scale_in: bool,
    scale_out: bool,
    scheduled: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetStatus {
    /// The bounds that a scheduled action has set since they were registered.
    scheduled: Option<Bounds>,
    /// The bounds that the capacity was last seen inside of.
    kept: Option<Bounds>,
    /// The last scale-out by a policy, and the capacity that its cooldown began with.
    scaled_out: Option<ScaledOut>,
    /// The last scale-in by a policy.
    scaled_in: Option<Timestamp>,
    /// When the capacity was last changed by us, whyever.
    changed: Option<Timestamp>,
    under_way: Option<UnderWay>,
    failed: Option<Failures>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ScaledOut {
    at: Timestamp,
    base: u32,
}

/// A change of capacity whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UnderWay {
    /// The name of its activity.
    activity: String,
    to: u32,
    why: Why,
}

/// What brought a change about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    Bounds,
    ScaleOut,
    ScaleIn,
}

/// Changes that failed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Failures {
    n: u32,
    at: Timestamp,
}

impl TargetSpec {
    /// The bounds that hold now.
    fn bounds(&self, status: &TargetStatus) -> Bounds {
        status.scheduled.unwrap_or(self.bounds)
    }
}

/// Application Auto Scaling API: `PutScalingPolicy`. Its name is that of its target, a colon and
/// the name of the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScalingPolicy;

impl Resource for ScalingPolicy {
    const KIND: &'static str = "scaling-policy";
    type Spec = PolicySpec;
    type Status = ();

    fn key(name: &str) -> String {
        key(name)
    }

    fn status_word((): &()) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicySpec {
    arn: String,
    policy_name: String,
    target: String,
    rule: Rule,
    /// Its configuration as it came, for `DescribeScalingPolicies`.
    request: serde_json::Value,
}

/// What a policy goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Rule {
    TargetTracking(TargetTracking),
    Step(StepScaling),
}

/// How long a policy waits between two changes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cooldowns {
    scale_out: Duration,
    scale_in: Duration,
}

/// Application Auto Scaling API: `PutScheduledAction`. Its name is that of its target, a colon and
/// the name of the action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScheduledAction;

impl Resource for ScheduledAction {
    const KIND: &'static str = "scheduled-action";
    type Spec = ActionSpec;
    type Status = ActionStatus;

    fn key(name: &str) -> String {
        key(name)
    }

    fn status_word(_: &ActionStatus) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActionSpec {
    arn: String,
    action_name: String,
    target: String,
    /// As it came; it can be read.
    schedule: String,
    timezone: Option<String>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    min: Option<u32>,
    max: Option<u32>,
    /// Nothing before this is made up for.
    put_at: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActionStatus {
    /// The time that it was last due, and was seen to be.
    seen: Option<Timestamp>,
}
