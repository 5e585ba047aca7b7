//! The operations of IAM and STS, by what they are about.

mod keys;
mod managed;
mod policies;
mod role_policies;
mod roles;
mod simulate;
mod sts;
mod user_policies;
mod users;

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sagebrush_aws::{ApiError, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_wire::iam as wire;

use crate::Access;

/// The operations of IAM and STS that are served.
#[must_use]
pub fn operations() -> Dispatch<Access> {
    let all = sts::operations(Dispatch::new());
    let all = keys::operations(users::operations(all));
    let all = managed::operations(roles::operations(all));
    let all = role_policies::operations(user_policies::operations(all));
    simulate::operations(all)
}

/// IAM API: lists have 100 entries unless told otherwise.
const LISTED: usize = 100;

/// One page of a list that is sorted by `key`, and the marker of the next.
fn page<T>(
    all: impl Iterator<Item = T>,
    marker: Option<&str>,
    max_items: Option<i32>,
    key: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = max_items.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LISTED);
    let behind = |item: &T| marker.is_none_or(|marker| key(item).as_str() > marker);
    let mut found: Vec<T> = all.filter(behind).take(limit.saturating_add(1)).collect();
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(key).filter(|_| has_more);
    (found, next)
}

fn to_wire(time: Timestamp) -> sagebrush_wire::Timestamp {
    sagebrush_wire::Timestamp(time.as_seconds())
}

/// IAM shows documents as they stand in a URL.
fn encoded(document: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(document, PLAIN).to_string()
}

fn tag_map(tags: Option<Vec<wire::Tag>>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut map = BTreeMap::new();
    for wire::Tag { key, value } in tags.unwrap_or_default() {
        if map.insert(key, value).is_some() {
            let message =
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(ApiError::new("InvalidInput", http::StatusCode::BAD_REQUEST, message));
        }
    }
    Ok(map)
}

fn tag_list(tags: &BTreeMap<String, String>) -> Option<Vec<wire::Tag>> {
    let tag =
        |(key, value): (&String, &String)| wire::Tag { key: key.clone(), value: value.clone() };
    (!tags.is_empty()).then(|| tags.iter().map(tag).collect())
}

/// `AIDA` and 17 letters and digits.
fn random_id(prefix: &str) -> String {
    let letters = rand::random::<[u8; 17]>();
    prefix.chars().chain(letters.map(letter)).collect()
}

fn letter(byte: u8) -> char {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    char::from(ALPHABET[usize::from(byte % 32)])
}

/// `AROA` and 17 letters or digits that follow from the name.
fn role_id(name: &str) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d; // FNV-1a, 128 bits.
    for byte in name.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let digit = |place: u32| letter((hash >> (5 * place)).to_le_bytes()[0]);
    format!("AROA{}", (0..17).map(digit).collect::<String>())
}
