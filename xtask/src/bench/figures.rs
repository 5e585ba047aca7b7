//! Medians over rounds.

use std::time::Duration;

/// What one round showed of one side at saturation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saturated {
    pub(super) per_second: f64,
    /// CPU seconds of the side's processes a thousand calls.
    pub(super) cpu_per_thousand: f64,
    /// Those of the load generator.
    pub(super) own_cpu_per_thousand: f64,
    pub(super) errors: u64,
    pub(super) wrong: u64,
}

/// What one round showed of one side at a fixed rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steady {
    pub(super) per_second: f64,
    pub(super) p50_millis: f64,
    pub(super) p99_millis: f64,
    pub(super) errors: u64,
    pub(super) wrong: u64,
}

/// One side in one workload.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) side: &'static str,
    pub(super) saturated: Saturated,
    pub(super) steady: Steady,
    /// Bytes after the load.
    pub(super) memory: u64,
    /// From the process's start to its first answer.
    pub(super) cold_start: Duration,
}

impl Saturated {
    /// Medians; errors are summed up. `None` of no rounds.
    pub(super) fn median(rounds: &[Self]) -> Option<Self> {
        let of = |field: fn(&Self) -> f64| median(rounds.iter().map(field).collect());
        Some(Self {
            per_second: of(|round| round.per_second)?,
            cpu_per_thousand: of(|round| round.cpu_per_thousand)?,
            own_cpu_per_thousand: of(|round| round.own_cpu_per_thousand)?,
            errors: rounds.iter().map(|round| round.errors).sum(),
            wrong: rounds.iter().map(|round| round.wrong).sum(),
        })
    }
}

impl Steady {
    /// Medians; errors are summed up. `None` of no rounds.
    pub(super) fn median(rounds: &[Self]) -> Option<Self> {
        let of = |field: fn(&Self) -> f64| median(rounds.iter().map(field).collect());
        Some(Self {
            per_second: of(|round| round.per_second)?,
            p50_millis: of(|round| round.p50_millis)?,
            p99_millis: of(|round| round.p99_millis)?,
            errors: rounds.iter().map(|round| round.errors).sum(),
            wrong: rounds.iter().map(|round| round.wrong).sum(),
        })
    }
}

/// The value in the middle; of an even number the mean of the two.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

/// Milliseconds at a quantile of a histogram of microseconds; not a number if it is empty.
pub(super) fn millis_at(histogram: &hdrhistogram::Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() {
        return f64::NAN;
    }
    float(histogram.value_at_quantile(quantile)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{Steady, median};

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn rounds_are_put_together_field_by_field() {
        let round = |per_second, p50_millis, p99_millis, errors| Steady {
            per_second,
            p50_millis,
            p99_millis,
            errors,
            wrong: 0,
        };
        let rounds = [round(9.0, 3.0, 5.0, 1), round(8.0, 1.0, 9.0, 0), round(7.0, 2.0, 7.0, 2)];
        assert_eq!(Steady::median(&rounds), Some(round(8.0, 2.0, 7.0, 3)));
    }
}
