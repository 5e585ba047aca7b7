//! Calls that carry several entries: each has an outcome of its own.

use std::collections::BTreeSet;
use std::future::Future;

use futures::future::join_all;
use sagebrush_wire::sqs as wire;

use super::QueueError;

const MOST: usize = 10;

/// Checks the ids of the entries.
pub(super) fn check<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), QueueError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !is_id(id) {
            return Err(QueueError::InvalidId);
        }
        if !seen.insert(id) {
            return Err(QueueError::RepeatedId(id.to_owned()));
        }
    }
    match seen.len() {
        0 => Err(QueueError::EmptyBatch),
        n if n > MOST => Err(QueueError::TooManyEntries(n)),
        _ => Ok(()),
    }
}

/// Carries out the entries together, so that they share a commit; returns those that succeeded
/// and those that failed.
pub(super) async fn run<T, O>(
    work: impl Iterator<Item = (String, T)>,
) -> (Vec<O>, Vec<wire::BatchResultErrorEntry>)
where
    T: Future<Output = Result<O, QueueError>>,
{
    let (ids, work): (Vec<String>, Vec<T>) = work.unzip();
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, outcome) in ids.into_iter().zip(join_all(work).await) {
        match outcome {
            Ok(output) => successful.push(output),
            Err(error) => failed.push(refused(id, &error)),
        }
    }
    (successful, failed)
}

fn refused(id: String, error: &QueueError) -> wire::BatchResultErrorEntry {
    wire::BatchResultErrorEntry {
        id,
        sender_fault: error.is_senders_fault(),
        code: error.query_code().to_owned(),
        message: Some(error.to_string()),
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=80).contains(&id.len()) && id.bytes().all(is_plain)
}
