//! How values are distributed, in little room: any percentile to within 1 %.
//!
//! Each bin holds the values of one narrow range, each range 1 % wider than the one below; so a
//! sketch of millions of latencies has some hundred bins, and two sketches add up to the sketch of
//! all their values.

mod bytes;
mod recorder;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use recorder::Recorder;

/// The upper end of a bin's range over its lower end. The middle of a bin is within 0.5 % of all
/// its values.
const GROWTH: f64 = 1.01;

/// What is closer to zero counts as zero.
const SMALLEST: f64 = 1e-9;

/// A distribution of values. Counts may be fractions, as `PutMetricData` allows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    count: f64,
    sum: f64,
    /// Of an empty sketch, zero; so is `max`.
    min: f64,
    max: f64,
    zeros: f64,
    /// Counts by bin, of values above zero and below it.
    positive: BTreeMap<i16, f64>,
    negative: BTreeMap<i16, f64>,
}

impl Sketch {
    /// One value.
    #[must_use]
    pub fn of(value: f64) -> Self {
        let mut sketch = Self::default();
        sketch.add(value, 1.0);
        sketch
    }

    /// Adds `value`, `count` times. What is not a number, or not a count, is left out.
    pub fn add(&mut self, value: f64, count: f64) {
        if !value.is_finite() || !count.is_finite() || count <= 0.0 {
            return;
        }
        self.bound(value, value);
        self.count += count;
        self.sum += value * count;
        let bins = match value {
            _ if value.abs() < SMALLEST => {
                self.zeros += count;
                return;
            }
            _ if value > 0.0 => &mut self.positive,
            _ => &mut self.negative,
        };
        *bins.entry(bin(value.abs())).or_default() += count;
    }

    /// Adds values of which no more is known than this, as with CloudWatch's `StatisticValues`. They
    /// have no percentiles, but where `min` and `max` are the same.
    pub fn add_statistics(&mut self, count: f64, sum: f64, min: f64, max: f64) {
        #[expect(clippy::float_cmp, reason = "the same number, not one that is near")]
        if min == max {
            return self.add(min, count);
        }
        if [count, sum, min, max].iter().all(|it| it.is_finite()) && count > 0.0 {
            self.bound(min, max);
            self.count += count;
            self.sum += sum;
        }
    }

    /// Adds all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        if other.count <= 0.0 {
            return;
        }
        self.bound(other.min, other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.zeros += other.zeros;
        for (bins, others) in
            [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)]
        {
            for (bin, count) in others {
                *bins.entry(*bin).or_default() += count;
            }
        }
    }

    #[must_use]
    pub fn count(&self) -> f64 {
        self.count
    }

    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count <= 0.0
    }

    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.min)
    }

    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.max)
    }

    #[must_use]
    pub fn average(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum / self.count)
    }

    /// The value that a `share` of all values, `0.0..=1.0`, does not exceed; `None` of an empty
    /// sketch, and of one with values of which only statistics are known.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share.clamp(0.0, 1.0) * self.count;
        let mut below = 0.0;
        for (value, count) in self.bins()? {
            below += count;
            // Fractions of counts do not add up exactly.
            if below >= rank - 1e-9 * self.count {
                return Some(value);
            }
        }
        self.max()
    }

    /// Values, each for those of one bin, from the least on, with their counts; `None` as with
    /// [`Self::quantile`].
    #[must_use]
    pub fn bins(&self) -> Option<Vec<(f64, f64)>> {
        let negative = self.negative.iter().rev().map(|(bin, count)| (-middle(*bin), *count));
        let zeros = (self.zeros > 0.0).then_some((0.0, self.zeros));
        let positive = self.positive.iter().map(|(bin, count)| (middle(*bin), *count));
        let bins: Vec<_> = negative
            .chain(zeros)
            .chain(positive)
            .map(|(value, count)| (value.clamp(self.min, self.max), count))
            .collect();
        let known: f64 = bins.iter().map(|(_, count)| count).sum();
        let is_whole = (known - self.count).abs() <= 1e-6 * self.count;
        (is_whole && !self.is_empty()).then_some(bins)
    }

    fn bound(&mut self, min: f64, max: f64) {
        if self.is_empty() {
            (self.min, self.max) = (min, max);
        } else {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
        }
    }
}

/// The bin of a value above zero.
#[expect(clippy::cast_possible_truncation, reason = "the casts saturate; logarithms are small")]
fn bin(value: f64) -> i16 {
    (value.ln() / GROWTH.ln()).ceil().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16
}

fn middle(bin: i16) -> f64 {
    let upper = GROWTH.powi(i32::from(bin));
    upper * 2.0 / (1.0 + GROWTH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sketch;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(*value, 1.0);
        }
        sketch
    }

    #[test]
    fn one_value_is_all_there_is() {
        let one = Sketch::of(42.0);
        assert_eq!(
            (one.count(), one.sum(), one.min(), one.max()),
            (1.0, 42.0, Some(42.0), Some(42.0))
        );
        assert_eq!((one.quantile(0.0), one.quantile(0.99)), (Some(42.0), Some(42.0)));
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    #[test]
    fn statistics_have_no_percentiles_but_of_one_value() {
        let mut some = Sketch::default();
        some.add_statistics(3.0, 9.0, 3.0, 3.0);
        assert_eq!(some.quantile(0.5), Some(3.0));
        some.add_statistics(2.0, 10.0, 4.0, 6.0);
        assert_eq!((some.quantile(0.5), some.average()), (None, Some(3.8)));
        assert_eq!((some.min(), some.max()), (Some(3.0), Some(6.0)));
    }

    proptest! {
        #[test]
        fn percentiles_are_right_to_one_percent(
            values in proptest::collection::vec(-1e6..1e9_f64, 1..400),
            share in 0.0..=1.0_f64,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let near = |rank: usize| sorted[rank.min(sorted.len() - 1)];
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let rank = ((share * sorted.len() as f64).ceil() as usize).saturating_sub(1);
            let found = sketch(&values).quantile(share).expect("has values");
            let fits = |value: f64| (found - value).abs() <= 0.01 * value.abs() + 1e-9;
            prop_assert!((rank.saturating_sub(1)..=rank + 1).any(|rank| fits(near(rank))));
        }

        #[test]
        fn the_sum_of_two_is_the_sketch_of_all(
            one in proptest::collection::vec(-1e3..1e3_f64, 0..50),
            other in proptest::collection::vec(-1e3..1e3_f64, 0..50),
        ) {
            let mut sum = sketch(&one);
            sum.merge(&sketch(&other));
            let all = sketch(&[one, other].concat());
            prop_assert_eq!((sum.count(), sum.min(), sum.max()), (all.count(), all.min(), all.max()));
            prop_assert_eq!(sum.bins(), all.bins());
        }
    }
}
