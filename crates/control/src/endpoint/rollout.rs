//! How an update goes: by which policy, and how far it has come. Pure; `advance` acts on it.

use std::time::Duration;

use sagebrush_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeployedVariant, Deployment};

/// What we act on of a `DeploymentConfig`. The default is SageMaker's: all at once, no bake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub way: Way,
    /// `WaitIntervalInSeconds`: how long alarms are watched after each step.
    pub bake: Duration,
    /// `MaximumExecutionTimeoutInSeconds`.
    pub timeout: Option<Duration>,
    /// `AutoRollbackConfiguration`: the names of its alarms.
    pub alarms: Vec<String>,
}

/// How traffic and instances get from the old fleet to the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// All of the new fleet is there before it takes calls.
    BlueGreen { traffic: Traffic, termination_wait: Duration },
    /// Instances are replaced batch by batch. Without `rollback`, all come back at once.
    Rolling { batch: Size, rollback: Option<Size> },
}

impl Default for Way {
    fn default() -> Self {
        Self::BlueGreen { traffic: Traffic::AllAtOnce, termination_wait: Duration::ZERO }
    }
}

/// SageMaker API: `TrafficRoutingConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Traffic {
    AllAtOnce,
    Canary(Size),
    Linear(Size),
}

/// SageMaker API: `CapacitySize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    Instances(u32),
    Percent(u32),
}

/// How far an update has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    pub policy: Policy,
    pub began: Timestamp,
    pub stage: Stage,
    /// When the stage began.
    pub since: Timestamp,
}

/// What an update is at. Steps count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The instances that `step` needs come up and are probed.
    Launching { step: u32 },
    /// Calls go as `step` says, and alarms are watched.
    Baking { step: u32 },
    /// All calls go to the new fleet; the old one is kept a while.
    Terminating,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Launching { step: 1 }
    }
}

/// The way back from an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    pub policy: Policy,
    /// For `FailureReason`.
    pub reason: String,
    /// When the update began.
    pub began: Timestamp,
    pub since: Timestamp,
    /// The last step forward.
    pub step: u32,
    /// How many steps back were made.
    pub back: u32,
}

/// A part of the calls, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share(u32);

impl Share {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(1_000_000);

    /// `part` of `whole`, but no more than all. Rounded up, so that as much of `whole` again
    /// makes `part`.
    fn of(part: u32, whole: u32) -> Self {
        let millionths = u64::from(part) * u64::from(Self::ALL.0);
        let share = millionths.div_ceil(u64::from(whole.max(1)));
        Self(u32::try_from(share).map_or(Self::ALL.0, |share| share.min(Self::ALL.0)))
    }

    pub(super) fn rest(self) -> Self {
        Self(Self::ALL.0 - self.0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "millionths fit well enough")]
    pub(super) fn as_f32(self) -> f32 {
        (f64::from(self.0) / f64::from(Self::ALL.0)) as f32
    }

    /// This part of a variant's weight, for those who read it.
    #[expect(clippy::cast_possible_truncation, reason = "weights are that wide")]
    pub(super) fn of_weight(self, weight: f32) -> f32 {
        if self == Self::ALL {
            return weight;
        }
        let millionths = (f64::from(weight) * f64::from(self.0)).round();
        (millionths / f64::from(Self::ALL.0)) as f32
    }

    /// How many of `count` instances it takes at least.
    pub(super) fn at_least(self, count: u32) -> u32 {
        count - self.rest().at_most(count)
    }

    /// How many of `count` instances it has in full.
    fn at_most(self, count: u32) -> u32 {
        let n = u64::from(self.0) * u64::from(count) / u64::from(Self::ALL.0);
        u32::try_from(n).map_or(count, |n| n.min(count))
    }
}

impl Size {
    /// What `n` steps of this size are of `count`, where traffic goes in any part.
    fn share(self, n: u32, count: u32) -> Share {
        match self {
            Self::Instances(size) => Share::of(n.saturating_mul(size), count),
            Self::Percent(percent) => Share::of(n.saturating_mul(percent), 100),
        }
    }

    /// How many instances of `count` make a batch: no more than it says, and one at least.
    fn batch(self, count: u32) -> u32 {
        match self {
            Self::Instances(size) => size.clamp(1, count.max(1)),
            Self::Percent(percent) => {
                let size = u64::from(count) * u64::from(percent) / 100;
                u32::try_from(size).map_or(count, |size| size.clamp(1, count.max(1)))
            }
        }
    }

    /// What `n` batches of this size are of `count`.
    fn batches(self, n: u32, count: u32) -> Share {
        Share::of(n.saturating_mul(self.batch(count)), count)
    }
}

impl Policy {
    /// True if there is nothing to watch and nothing to wait for.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.way == Way::default() && self.bake.is_zero() && self.alarms.is_empty()
    }

    #[must_use]
    pub fn is_rolling(&self) -> bool {
        matches!(self.way, Way::Rolling { .. })
    }

    /// `TerminationWaitInSeconds`.
    #[must_use]
    pub fn termination_wait(&self) -> Duration {
        match self.way {
            Way::BlueGreen { termination_wait, .. } => termination_wait,
            Way::Rolling { .. } => Duration::ZERO,
        }
    }

    /// The part of the calls that the fleet of `new` takes after `step`.
    pub(super) fn share(&self, step: u32, new: &Deployment) -> Share {
        if step == 0 {
            return Share::NONE;
        }
        match self.way {
            Way::BlueGreen { traffic: Traffic::AllAtOnce, .. } => Share::ALL,
            Way::BlueGreen { traffic: Traffic::Canary(_), .. } if step > 1 => Share::ALL,
            Way::BlueGreen { traffic: Traffic::Canary(size), .. } => {
                least(new, |count| size.share(1, count))
            }
            Way::BlueGreen { traffic: Traffic::Linear(size), .. } => {
                least(new, |count| size.share(step, count))
            }
            Way::Rolling { batch, .. } => least(new, |count| batch.batches(step, count)),
        }
    }

    /// How many steps it takes until all calls go to the new fleet.
    #[must_use]
    pub fn n_steps(&self, new: &Deployment) -> u32 {
        (1..=u32::MAX).find(|step| self.share(*step, new) == Share::ALL).unwrap_or(u32::MAX)
    }

    /// The part of the calls that the new fleet keeps after so many steps back from `step`.
    pub(super) fn left(&self, step: u32, back: u32, old: &Deployment, new: &Deployment) -> Share {
        let Way::Rolling { rollback, .. } = self.way else { return Share::NONE };
        // For these there is no old instance any more.
        let gone = self.share(step.saturating_sub(1), new);
        match (back, rollback) {
            (0, _) => gone,
            (_, None) => Share::NONE,
            (_, Some(size)) => {
                let returned = least(old, |count| size.batches(back, count));
                Share(gone.0.saturating_sub(returned.0))
            }
        }
    }

    /// How many of its instances an old variant has while `step` is under way.
    pub(super) fn old_count(&self, step: u32, new: &Deployment, old: &DeployedVariant) -> u32 {
        if !self.is_rolling() {
            return old.first_count();
        }
        self.share(step.saturating_sub(1), new).rest().at_least(old.first_count())
    }

    /// How many instances a new variant needs for `step`.
    pub(super) fn new_count(&self, step: u32, new: &DeployedVariant) -> u32 {
        match self.way {
            Way::BlueGreen { .. } => new.first_count(),
            Way::Rolling { batch, .. } => {
                let count = new.first_count();
                step.saturating_mul(batch.batch(count)).min(count)
            }
        }
    }
}

/// The slowest variant says how far all are. Variants without instances do not count.
fn least(deployment: &Deployment, share: impl Fn(u32) -> Share) -> Share {
    let counts = deployment.variants.iter().map(DeployedVariant::first_count);
    counts.filter(|count| *count > 0).map(share).min().unwrap_or(Share::ALL)
}

impl Rollout {
    #[must_use]
    pub fn begin(policy: Policy, now: Timestamp) -> Self {
        Self { policy, began: now, stage: Stage::default(), since: now }
    }

    /// The part of the calls that the fleet of `new` takes now.
    pub(super) fn share(&self, new: &Deployment) -> Share {
        match self.stage {
            Stage::Launching { step } => self.policy.share(step.saturating_sub(1), new),
            Stage::Baking { step } => self.policy.share(step, new),
            Stage::Terminating => Share::ALL,
        }
    }

    /// The step that is under way, or that was the last.
    pub(super) fn step(&self, new: &Deployment) -> u32 {
        match self.stage {
            Stage::Launching { step } | Stage::Baking { step } => step,
            Stage::Terminating => self.policy.n_steps(new),
        }
    }

    /// How long the stage is to last, where it waits for time to go by.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match self.stage {
            Stage::Launching { .. } => None,
            Stage::Baking { .. } => Some(self.policy.bake),
            Stage::Terminating => Some(self.policy.termination_wait()),
        }
    }

    pub(super) fn at(&self, stage: Stage, now: Timestamp) -> Self {
        Self { stage, since: now, ..self.clone() }
    }
}

/// The time that is `by` after `at`.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}
