//! Step scaling: how far an alarm's metric is beyond its threshold says what to do. Pure.

use serde::{Deserialize, Serialize};

use super::plan::{Capacity, Want};
use super::target_tracking::whole;

/// `StepScalingPolicyConfiguration`, as far as we act on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepScaling {
    pub(super) adjustment: Adjustment,
    pub(super) steps: Vec<Step>,
    pub(super) min_magnitude: u32,
    pub(super) cooldown_s: u32,
}

/// `AdjustmentType`: what the number of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Adjustment {
    /// `ChangeInCapacity`
    Change,
    /// `PercentChangeInCapacity`
    Percent,
    /// `ExactCapacity`
    Exact,
}

/// `StepAdjustment`. Its bounds are counted from the threshold; one that is missing is infinite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
    pub(super) adjustment: i32,
}

impl Step {
    /// A bound that is nearer to the threshold belongs to the step, the other does not. At the
    /// threshold both do.
    fn covers(&self, beyond: f64) -> bool {
        let lower = self.lower.unwrap_or(f64::NEG_INFINITY);
        let upper = self.upper.unwrap_or(f64::INFINITY);
        if beyond > 0.0 {
            lower <= beyond && beyond < upper
        } else if beyond < 0.0 {
            lower < beyond && beyond <= upper
        } else {
            lower <= 0.0 && 0.0 <= upper
        }
    }
}

impl StepScaling {
    /// What an alarm asks for whose metric is `beyond` its threshold, which is negative below it.
    pub(super) fn want(&self, beyond: f64, capacity: Capacity) -> Want {
        let Some(step) = self.steps.iter().find(|step| step.covers(beyond)) else {
            return Want::Hold;
        };
        // A scale-out during its own cooldown counts from where that began.
        let out = self.adjusted(capacity.base, step.adjustment);
        if out > capacity.current {
            return Want::Out(out);
        }
        match self.adjusted(capacity.current, step.adjustment) {
            less if less < capacity.current => Want::In(less),
            _ => Want::Hold,
        }
    }

    fn adjusted(&self, capacity: u32, by: i32) -> u32 {
        let change = match self.adjustment {
            Adjustment::Exact => return by.max(0).cast_unsigned(),
            Adjustment::Change => by,
            Adjustment::Percent => self.share(capacity, by),
        };
        capacity.saturating_add_signed(change)
    }

    /// AWS: part of an instance is dropped, but for the first one.
    fn share(&self, capacity: u32, percent: i32) -> i32 {
        if percent == 0 {
            return 0;
        }
        let share = f64::from(capacity) * f64::from(percent.unsigned_abs()) / 100.0;
        let size = whole(share.floor()).max(1).max(self.min_magnitude);
        i32::try_from(size).unwrap_or(i32::MAX) * percent.signum()
    }
}

/// Says why `steps` do not make up a policy.
pub(super) fn check(steps: &[Step], adjustment: Adjustment) -> Result<(), String> {
    if steps.is_empty() {
        return Err("At least one StepAdjustment must be specified.".to_owned());
    }
    for step in steps {
        check_step(step, adjustment)?;
    }
    let mut sorted: Vec<_> = steps.iter().collect();
    let lower = |step: &Step| step.lower.unwrap_or(f64::NEG_INFINITY);
    sorted.sort_by(|a, b| lower(a).total_cmp(&lower(b)));
    for pair in sorted.windows(2) {
        if let [before, after] = pair {
            check_neighbours(before, after)?;
        }
    }
    Ok(())
}

fn check_step(step: &Step, adjustment: Adjustment) -> Result<(), String> {
    let are_finite = step.lower.is_none_or(f64::is_finite) && step.upper.is_none_or(f64::is_finite);
    let is_empty = matches!((step.lower, step.upper), (Some(lower), Some(upper)) if lower >= upper);
    if is_empty || !are_finite {
        return Err(
            "MetricIntervalUpperBound must be greater than MetricIntervalLowerBound.".to_owned()
        );
    }
    if adjustment == Adjustment::Exact && step.adjustment < 0 {
        return Err("ScalingAdjustment must not be negative for ExactCapacity.".to_owned());
    }
    Ok(())
}

/// AWS: neither an overlap nor a gap between two steps.
fn check_neighbours(before: &Step, after: &Step) -> Result<(), String> {
    let words = match (before.upper, after.lower) {
        (None, None) => {
            "At most one StepAdjustment may have an unspecified MetricIntervalUpperBound, and one \
             an unspecified MetricIntervalLowerBound."
        }
        (None, Some(_)) | (Some(_), None) => "StepAdjustment intervals can't overlap.",
        (Some(upper), Some(lower)) if upper > lower => "StepAdjustment intervals can't overlap.",
        (Some(upper), Some(lower)) if upper < lower => {
            "There is a gap between two StepAdjustment intervals."
        }
        (Some(_), Some(_)) => return Ok(()),
    };
    Err(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Adjustment = Adjustment::Change;
    const PERCENT: Adjustment = Adjustment::Percent;
    const EXACT: Adjustment = Adjustment::Exact;

    fn step(lower: Option<f64>, upper: Option<f64>, adjustment: i32) -> Step {
        Step { lower, upper, adjustment }
    }

    fn policy(adjustment: Adjustment, steps: Vec<Step>) -> StepScaling {
        StepScaling { adjustment, steps, min_magnitude: 0, cooldown_s: 300 }
    }

    fn by(adjustment: Adjustment, number: i32, current: u32, base: u32) -> Want {
        policy(adjustment, vec![step(None, None, number)]).want(0.0, Capacity { current, base })
    }

    #[test]
    fn adjustments_of_all_types() {
        for (adjustment, number, current, wanted) in [
            (CHANGE, 2, 3, Want::Out(5)),
            (CHANGE, -2, 3, Want::In(1)),
            (CHANGE, -5, 3, Want::In(0)),
            (CHANGE, 0, 3, Want::Hold),
            (CHANGE, i32::MAX, u32::MAX, Want::Hold),
            (EXACT, 7, 3, Want::Out(7)),
            (EXACT, 0, 3, Want::In(0)),
            (EXACT, 3, 3, Want::Hold),
            (PERCENT, 10, 3, Want::Out(4)),
            (PERCENT, 127, 10, Want::Out(22)),
            (PERCENT, -10, 3, Want::In(2)),
            (PERCENT, -66, 10, Want::In(4)),
            (PERCENT, 100, 0, Want::Out(1)),
            (PERCENT, -200, 3, Want::In(0)),
        ] {
            let seen = by(adjustment, number, current, current);
            assert_eq!(seen, wanted, "{adjustment:?} {number} of {current}");
        }
    }

    #[test]
    fn a_change_during_the_cooldown_contains_the_one_before() {
        assert_eq!(by(CHANGE, 2, 4, 2), Want::Hold);
        assert_eq!(by(CHANGE, 3, 4, 2), Want::Out(5));
        assert_eq!(by(CHANGE, -1, 4, 2), Want::In(3));
    }

    #[test]
    fn percentages_have_a_least_magnitude() {
        let mut policy =
            policy(PERCENT, vec![step(Some(0.0), None, 25), step(None, Some(0.0), -25)]);
        policy.min_magnitude = 2;
        let capacity = Capacity { current: 4, base: 4 };
        assert_eq!(policy.want(1.0, capacity), Want::Out(6));
        assert_eq!(policy.want(-1.0, capacity), Want::In(2));
    }

    #[test]
    fn bounds_nearer_to_the_threshold_belong_to_a_step() {
        let out = [step(Some(0.0), Some(10.0), 1), step(Some(10.0), None, 2)];
        let less = [step(Some(-10.0), Some(0.0), -1), step(None, Some(-10.0), -2)];
        let capacity = Capacity { current: 5, base: 5 };
        let (out, less) = (policy(CHANGE, out.to_vec()), policy(CHANGE, less.to_vec()));
        for (policy, beyond, wanted) in [
            (&out, 0.0, Want::Out(6)),
            (&out, 9.9, Want::Out(6)),
            (&out, 10.0, Want::Out(7)),
            (&out, -1.0, Want::Hold),
            (&less, 0.0, Want::In(4)),
            (&less, -9.9, Want::In(4)),
            (&less, -10.0, Want::In(3)),
            (&less, 1.0, Want::Hold),
        ] {
            assert_eq!(policy.want(beyond, capacity), wanted, "{beyond}");
        }
    }

    #[test]
    fn steps_that_do_not_make_up_a_policy() {
        let fine: [&[Step]; 3] = [
            &[step(None, None, 1)],
            &[step(Some(10.0), None, 2), step(Some(0.0), Some(10.0), 1)],
            &[step(None, Some(-5.0), 1), step(Some(-5.0), Some(0.0), 1), step(Some(0.0), None, 1)],
        ];
        for steps in fine {
            assert_eq!(check(steps, CHANGE), Ok(()));
        }
        let bad: [(&[Step], &str); 6] = [
            (&[], "At least one"),
            (&[step(Some(1.0), Some(1.0), 1)], "must be greater"),
            (&[step(None, Some(f64::NAN), 1)], "must be greater"),
            (&[step(Some(0.0), Some(10.0), 1), step(Some(5.0), None, 2)], "overlap"),
            (&[step(Some(0.0), Some(5.0), 1), step(Some(10.0), None, 2)], "gap"),
            (&[step(None, None, 1), step(None, None, 2)], "At most one"),
        ];
        for (steps, reason) in bad {
            let error = check(steps, CHANGE).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(check(&[step(None, None, -1)], EXACT).is_err());
    }
}
