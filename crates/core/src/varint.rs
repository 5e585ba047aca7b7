//! Whole numbers in as few bytes as they need: seven bits a byte, the lowest first.

/// Appends `number`.
pub fn write(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push((number & 0x7f) as u8);
}

/// Takes a number off the front; `None` if there is none.
pub fn read(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Appends a number of either sign: small ones stay small.
pub fn write_signed(number: i64, to: &mut Vec<u8>) {
    write(((number << 1) ^ (number >> 63)).cast_unsigned(), to);
}

/// Takes a number of either sign off the front.
pub fn read_signed(from: &mut &[u8]) -> Option<i64> {
    let number = read(from)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read, read_signed, write, write_signed};

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, signed: i64) {
            let mut bytes = Vec::new();
            write(number, &mut bytes);
            write_signed(signed, &mut bytes);
            let mut left = &*bytes;
            prop_assert_eq!(read(&mut left), Some(number));
            prop_assert_eq!(read_signed(&mut left), Some(signed));
            prop_assert!(left.is_empty());
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = read(&mut &*bytes);
        }
    }

    #[test]
    fn small_numbers_are_short() {
        for (number, length) in [(0, 1), (-64, 1), (64, 2), (i64::MIN, 10)] {
            let mut bytes = Vec::new();
            write_signed(number, &mut bytes);
            assert_eq!(bytes.len(), length, "{number}");
        }
    }
}
