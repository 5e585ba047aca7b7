//! What to do next with a target. Pure: the time, the metrics and the capacity come in.

use std::time::Duration;

use sagebrush_core::Timestamp;

use super::{Bounds, Cooldowns, Suspended, TargetStatus, Why};

/// After a change that failed nothing is tried for so long; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// How many instances a policy starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) current: u32,
    /// What a scale-out counts from: the capacity before the last scale-out, while its cooldown
    /// lasts.
    pub(super) base: u32,
}

/// What a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Out(u32),
    /// Not more than there are.
    In(u32),
    /// As many as there are.
    Hold,
    /// It does not mind.
    Nothing,
    /// Its metric is missing.
    Unknown,
}

/// What a policy asks for, and why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    pub(super) want: Want,
    pub(super) cause: String,
    pub(super) cooldowns: Cooldowns,
    /// An alarm asks, which knows itself what missing data mean.
    pub(super) is_alarmed: bool,
}

/// A target at a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) now: Timestamp,
    pub(super) capacity: u32,
    pub(super) bounds: Bounds,
    pub(super) suspended: Suspended,
    pub(super) status: &'a TargetStatus,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Stay,
    /// A policy asks, and gets nothing.
    NotScaled {
        reason: Reason,
        cause: String,
    },
    Scale(Change),
}

/// The capacity to set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) to: u32,
    pub(super) why: Why,
    pub(super) cause: String,
}

/// `NotScaledReason`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    AlreadyAtMaxCapacity,
    AlreadyAtMinCapacity,
}

pub(super) fn plan(seen: &Seen<'_>, wishes: &[Wish]) -> Step {
    if seen.is_pausing() {
        return Step::Stay;
    }
    if let Some(change) = seen.out_of_bounds() {
        return Step::Scale(change);
    }
    let outs = wishes.iter().filter_map(|wish| match wish.want {
        Want::Out(to) if to > seen.capacity => Some((to, wish)),
        Want::Out(_) | Want::In(_) | Want::Hold | Want::Nothing | Want::Unknown => None,
    });
    match outs.max_by_key(|(to, _)| *to) {
        Some((to, wish)) => seen.scale_out(to, wish),
        None => seen.scale_in(wishes),
    }
}

/// The capacity that a policy of these cooldowns starts from.
pub(super) fn capacity(seen: &Seen<'_>, cooldowns: Cooldowns) -> Capacity {
    let cooling = seen.status.scaled_out.filter(|out| seen.now.since(out.at) < cooldowns.scale_out);
    let base = cooling.map_or(seen.capacity, |out| out.base.min(seen.capacity));
    Capacity { current: seen.capacity, base }
}

impl Seen<'_> {
    fn is_pausing(&self) -> bool {
        let Some(failed) = self.status.failed else { return false };
        let doublings = failed.n.saturating_sub(1).min(16);
        let pause = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        self.now.since(failed.at) < pause
    }

    /// Bounds that were set since the capacity was last inside are not a policy's doing: they hold
    /// while policies are suspended also.
    fn out_of_bounds(&self) -> Option<Change> {
        let Bounds { min, max } = self.bounds;
        let are_new = self.status.kept != Some(self.bounds);
        let to = self.bounds.inside(self.capacity);
        let (is_suspended, cause) = if to > self.capacity {
            (self.suspended.scale_out, format!("minimum capacity was set to {min}"))
        } else {
            (self.suspended.scale_in, format!("maximum capacity was set to {max}"))
        };
        let is_due = to != self.capacity && (are_new || !is_suspended);
        is_due.then_some(Change { to, why: Why::Bounds, cause })
    }

    fn scale_out(&self, to: u32, wish: &Wish) -> Step {
        let to = self.bounds.inside(to);
        if self.suspended.scale_out {
            Step::Stay
        } else if to > self.capacity {
            Step::Scale(Change { to, why: Why::ScaleOut, cause: wish.cause.clone() })
        } else {
            let reason = Reason::AlreadyAtMaxCapacity;
            Step::NotScaled { reason, cause: wish.cause.clone() }
        }
    }

    /// All who know anything must agree; the one that wants most decides.
    fn scale_in(&self, wishes: &[Wish]) -> Step {
        let is_unsure = wishes.iter().any(|wish| wish.want == Want::Unknown);
        let mut most: Option<(u32, &Wish)> = None;
        for wish in wishes {
            let to = match wish.want {
                Want::In(to) if !self.is_cooling(wish.cooldowns) => to,
                Want::In(_) | Want::Out(_) | Want::Hold => return Step::Stay,
                Want::Nothing | Want::Unknown => continue,
            };
            // Metrics that are missing hold a capacity that only metrics speak of.
            let counts = wish.is_alarmed || !is_unsure;
            if counts && most.is_none_or(|(most, _)| to > most) {
                most = Some((to, wish));
            }
        }
        let Some((to, wish)) = most.filter(|_| !self.suspended.scale_in) else { return Step::Stay };
        let to = self.bounds.inside(to);
        if to < self.capacity {
            Step::Scale(Change { to, why: Why::ScaleIn, cause: wish.cause.clone() })
        } else if self.capacity == self.bounds.min {
            let reason = Reason::AlreadyAtMinCapacity;
            Step::NotScaled { reason, cause: wish.cause.clone() }
        } else {
            Step::Stay
        }
    }

    /// A scale-in waits for the end of both cooldowns.
    fn is_cooling(&self, cooldowns: Cooldowns) -> bool {
        let out = self.status.scaled_out.map(|out| self.now.since(out.at) < cooldowns.scale_out);
        let less = self.status.scaled_in.map(|at| self.now.since(at) < cooldowns.scale_in);
        out.unwrap_or_default() || less.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
