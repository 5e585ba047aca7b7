//! `TensorFlow`'s `TFRecord`: a length and its checksum, the bytes and theirs.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};

use super::{Found, u32_at};

pub(super) const FORMAT: &str = "TFRecord";

const HEADER: usize = 12;
const FOOTER: usize = 4;

pub(super) fn find(held: &[u8]) -> Result<Found, &'static str> {
    let unknown = Found { record: None, at_least: 0 };
    let Some(length_bytes) = held.first_chunk::<8>() else { return Ok(unknown) };
    let Some(crc) = u32_at(held, 8) else { return Ok(unknown) };
    if masked_crc(length_bytes) != crc {
        return Err("the checksum of its length is another");
    }
    let length = usize::try_from(u64::from_le_bytes(*length_bytes)).unwrap_or(usize::MAX);
    let incomplete = Found { record: None, at_least: length };
    let end = HEADER.saturating_add(length);
    let Some(body) = held.get(HEADER..end) else { return Ok(incomplete) };
    let Some(crc) = u32_at(held, end) else { return Ok(incomplete) };
    if masked_crc(body) != crc {
        return Err("the checksum of its bytes is another");
    }
    Ok(Found { record: Some((end + FOOTER, Bytes::copy_from_slice(body))), at_least: length })
}

/// CRC-32C, masked as TensorFlow does: a checksum of bytes that have checksums in them is poor.
pub(super) fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    let crc = u32::try_from(crc).unwrap_or_default();
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
