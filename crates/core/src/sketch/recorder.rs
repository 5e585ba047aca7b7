//! A sketch that many write to at once: for times on the way of a call.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::{Sketch, bin};

/// The bins of 1/20 of a unit, and of an hour in microseconds.
const FIRST: i16 = -302;
const LAST: i16 = 2212;

/// Times, in units of its own. To add one costs a logarithm and some atomic adds; nothing is
/// allocated.
#[derive(Debug)]
pub struct Recorder {
    unit_nanos: f64,
    /// What is shorter than the first bin's times.
    zeros: AtomicU32,
    bins: Box<[AtomicU32]>,
    sum_nanos: AtomicU64,
    /// In nanoseconds; of no times, the largest number and zero.
    min: AtomicU64,
    max: AtomicU64,
}

impl Recorder {
    /// A recorder of times in `unit`s.
    #[must_use]
    pub fn new(unit: Duration) -> Self {
        Self {
            unit_nanos: nanos(unit) as f64,
            zeros: AtomicU32::new(0),
            bins: (FIRST..=LAST).map(|_| AtomicU32::new(0)).collect(),
            sum_nanos: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    pub fn record(&self, took: Duration) {
        let nanos = nanos(took);
        let bin = bin(nanos as f64 / self.unit_nanos).min(LAST);
        let place = usize::try_from(bin - FIRST).ok().and_then(|at| self.bins.get(at));
        place.unwrap_or(&self.zeros).fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
        // Few are beyond those before: to look is cheaper than to write.
        if nanos < self.min.load(Ordering::Relaxed) {
            self.min.fetch_min(nanos, Ordering::Relaxed);
        }
        if nanos > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// Takes all that was recorded since the last time and adds it to `sketch`. What comes in
    /// meanwhile is in this one or in the next; its sum may be in the one and its count in the
    /// other.
    pub fn drain_into(&self, sketch: &mut Sketch) {
        let units = |nanos: u64| nanos as f64 / self.unit_nanos;
        let (min, max) =
            (self.min.swap(u64::MAX, Ordering::Relaxed), self.max.swap(0, Ordering::Relaxed));
        let zeros = f64::from(self.zeros.swap(0, Ordering::Relaxed));
        let mut count = zeros;
        for (bin, place) in (FIRST..).zip(&self.bins) {
            // Most are empty: to look is cheaper than to swap.
            if place.load(Ordering::Relaxed) > 0 {
                let of_bin = f64::from(place.swap(0, Ordering::Relaxed));
                *sketch.positive.entry(bin).or_default() += of_bin;
                count += of_bin;
            }
        }
        if count > 0.0 {
            sketch.bound(units(min.min(max)), units(max));
        }
        sketch.zeros += zeros;
        sketch.count += count;
        sketch.sum += units(self.sum_nanos.swap(0, Ordering::Relaxed));
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FIRST, LAST, Recorder};
    use crate::sketch::{Sketch, bin};

    fn drained(recorder: &Recorder) -> Sketch {
        let mut sketch = Sketch::default();
        recorder.drain_into(&mut sketch);
        sketch
    }

    #[test]
    fn what_is_recorded_is_drained_once() {
        let recorder = Recorder::new(Duration::from_micros(1));
        let mut wanted = Sketch::default();
        for micros in [1, 10, 10, 999, 1_000_000, 3_600_000_000] {
            recorder.record(Duration::from_micros(micros));
            wanted.add(micros as f64, 1.0);
        }
        assert_eq!(drained(&recorder), wanted);
        assert!(drained(&recorder).is_empty());
        recorder.record(Duration::from_micros(10));
        recorder.drain_into(&mut wanted);
        assert_eq!((wanted.count(), wanted.min()), (7.0, Some(1.0)), "it is added");
    }

    #[test]
    fn what_is_too_short_is_zero_and_what_is_too_long_is_in_the_last_bin() {
        assert_eq!((bin(0.05), bin(3.6e9)), (FIRST + 1, LAST));
        let recorder = Recorder::new(Duration::from_millis(1));
        recorder.record(Duration::ZERO);
        recorder.record(Duration::from_hours(9999));
        let drained = drained(&recorder);
        assert_eq!(
            (drained.count(), drained.min(), drained.max()),
            (2.0, Some(0.0), Some(3.59964e10))
        );
        assert_eq!(drained.quantile(0.5), Some(0.0));
    }
}
