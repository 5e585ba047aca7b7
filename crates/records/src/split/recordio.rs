//! `RecordIO`: a magic number, a length with a flag, the bytes, and zeros up to the next multiple
//! of four. A record that has the magic number in it is cut there into parts.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Found, u32_at};

pub(super) const FORMAT: &str = "RecordIO";

const MAGIC: u32 = 0xced7_230a;
const HEADER: usize = 8;
/// The bits of the length; those above are the flag.
const LENGTH_BITS: u32 = 29;

/// What a part is of its record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Middle,
    Last,
}

pub(super) fn find(held: &[u8]) -> Result<Found, &'static str> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut end = 0;
    let mut at_least = 0;
    while let Some((part, length)) = header(held, end)? {
        let in_parts = !parts.is_empty();
        if in_parts != matches!(part, Part::Middle | Part::Last) {
            return Err("its parts are not in order");
        }
        at_least += length;
        let Some(bytes) = held.get(end + HEADER..end + HEADER + length) else { break };
        let padded = end + HEADER + length.next_multiple_of(4);
        if padded > held.len() {
            break;
        }
        parts.push(bytes);
        end = padded;
        if matches!(part, Part::Whole | Part::Last) {
            return Ok(Found { record: Some((end, joined(&parts))), at_least });
        }
    }
    Ok(Found { record: None, at_least })
}

fn header(held: &[u8], at: usize) -> Result<Option<(Part, usize)>, &'static str> {
    let Some(magic) = u32_at(held, at) else { return Ok(None) };
    if magic != MAGIC {
        return Err("it does not begin with the magic number");
    }
    let Some(word) = u32_at(held, at + 4) else { return Ok(None) };
    let part = match word >> LENGTH_BITS {
        0 => Part::Whole,
        1 => Part::First,
        2 => Part::Middle,
        3 => Part::Last,
        _ => return Err("its flag is unknown"),
    };
    let length = word & ((1 << LENGTH_BITS) - 1);
    Ok(Some((part, usize::try_from(length).unwrap_or(usize::MAX))))
}

/// The parts with the magic number between them, at which they were cut.
fn joined(parts: &[&[u8]]) -> Bytes {
    let mut body = BytesMut::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            body.put_u32_le(MAGIC);
        }
        body.extend_from_slice(part);
    }
    body.freeze()
}
