//! Which of so many elements a segment of a filter means.

use std::ops::Range;

use crate::Unfit;

/// Where `index` is among `len`; from the end, if it is negative.
pub(crate) fn element(index: i64, len: usize) -> Result<usize, Unfit> {
    from_start(index, len).filter(|at| *at < len).ok_or(Unfit::NoElement { index, len })
}

/// The elements of a slice. One that is longer than what is there ends with it.
pub(crate) fn slice(start: Option<i64>, end: Option<i64>, len: usize) -> Range<usize> {
    let bound = |index: i64| from_start(index, len).unwrap_or(0).min(len);
    let start = start.map_or(0, bound);
    start..end.map_or(len, bound).max(start)
}

fn from_start(index: i64, len: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::{element, slice};

    #[test]
    fn indices_count_from_both_ends() {
        for (index, wanted) in
            [(0, Some(0)), (2, Some(2)), (3, None), (-1, Some(2)), (-3, Some(0)), (-4, None)]
        {
            assert_eq!(element(index, 3).ok(), wanted, "{index}");
        }
        assert!(element(i64::MIN, 3).is_err() && element(i64::MAX, 3).is_err());
    }

    #[test]
    fn slices_end_with_what_is_there() {
        for (start, end, wanted) in [
            (None, None, 0..3),
            (Some(1), None, 1..3),
            (None, Some(-1), 0..2),
            (Some(-2), None, 1..3),
            (Some(1), Some(2), 1..2),
            (Some(2), Some(1), 2..2),
            (Some(9), None, 3..3),
            (Some(-9), Some(9), 0..3),
        ] {
            assert_eq!(slice(start, end, 3), wanted, "{start:?}:{end:?}");
        }
    }
}
