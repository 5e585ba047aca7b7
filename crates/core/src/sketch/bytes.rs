//! A sketch in few bytes: one value takes about ten, a bin about three.

use std::collections::BTreeMap;

use super::Sketch;
use crate::varint;

/// All values are the same one; its count and the value say it all.
const ONE_VALUE: u8 = 0;
const MANY_VALUES: u8 = 1;

impl Sketch {
    /// Appends the sketch.
    pub fn write_to(&self, to: &mut Vec<u8>) {
        if *self == Self::repeated(self.min, self.count) {
            to.push(ONE_VALUE);
            write_count(self.count, to);
            return to.extend(self.min.to_le_bytes());
        }
        to.push(MANY_VALUES);
        write_count(self.count, to);
        for number in [self.sum, self.min, self.max] {
            to.extend(number.to_le_bytes());
        }
        write_count(self.zeros, to);
        for bins in [&self.positive, &self.negative] {
            varint::write(bins.len() as u64, to);
            let mut last = 0;
            for (bin, count) in bins {
                varint::write_signed(i64::from(*bin) - last, to);
                write_count(*count, to);
                last = i64::from(*bin);
            }
        }
    }

    /// Takes a sketch off the front; `None` if there is none.
    #[must_use]
    pub fn read_from(from: &mut &[u8]) -> Option<Self> {
        let (form, rest) = from.split_first()?;
        *from = rest;
        let count = read_count(from)?;
        match *form {
            ONE_VALUE => Some(Self::repeated(read_float(from)?, count)),
            MANY_VALUES => Some(Self {
                count,
                sum: read_float(from)?,
                min: read_float(from)?,
                max: read_float(from)?,
                zeros: read_count(from)?,
                positive: read_bins(from)?,
                negative: read_bins(from)?,
            }),
            _ => None,
        }
    }

    /// How many bins there are, which is what a sketch takes in memory.
    #[must_use]
    pub fn n_bins(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn repeated(value: f64, count: f64) -> Self {
        let mut sketch = Self::default();
        sketch.add(value, count);
        sketch
    }
}

fn read_bins(from: &mut &[u8]) -> Option<BTreeMap<i16, f64>> {
    let n_bins = varint::read(from)?;
    let mut bins = BTreeMap::new();
    let mut bin = 0_i64;
    for _ in 0..n_bins {
        bin = bin.checked_add(varint::read_signed(from)?)?;
        bins.insert(i16::try_from(bin).ok()?, read_count(from)?);
    }
    Some(bins)
}

/// Counts are whole numbers but for a client's own fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "whole numbers below 2^52 are exact"
)]
fn write_count(count: f64, to: &mut Vec<u8>) {
    if count.trunc() == count && (0.0..4e15).contains(&count) {
        return varint::write((count as u64) << 1, to);
    }
    varint::write(1, to);
    to.extend(count.to_le_bytes());
}

#[expect(clippy::cast_precision_loss, reason = "whole numbers below 2^52 are exact")]
fn read_count(from: &mut &[u8]) -> Option<f64> {
    let word = varint::read(from)?;
    if word == 1 { read_float(from) } else { Some((word >> 1) as f64) }
}

fn read_float(from: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(f64::from_le_bytes(*bytes)).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sketch;

    fn written(sketch: &Sketch) -> Vec<u8> {
        let mut bytes = Vec::new();
        sketch.write_to(&mut bytes);
        bytes
    }

    #[test]
    fn one_value_is_short() {
        assert_eq!(written(&Sketch::of(42.0)).len(), 10);
        assert_eq!(written(&Sketch::default()).len(), 10);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values in proptest::collection::vec((-1e6..1e9_f64, 0.1..3.0_f64), 0..40),
            whole in proptest::collection::vec(0..5_i32, 0..40),
            statistics: bool,
        ) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|(value, count)| sketch.add(*value, *count));
            whole.iter().for_each(|value| sketch.add(f64::from(*value), 1.0));
            if statistics {
                sketch.add_statistics(3.0, 6.0, 1.0, 4.0);
            }
            let bytes = written(&sketch);
            let mut left = &*bytes;
            prop_assert_eq!(Sketch::read_from(&mut left), Some(sketch));
            prop_assert!(left.is_empty());
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            drop(Sketch::read_from(&mut &*bytes));
        }
    }
}
