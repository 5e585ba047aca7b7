//! Replies of a busy thread go out together.
//!
//! A reply wakes its client, and on a machine that has both, or a proxy, the client then takes the
//! core from the calls that wait. So a thread that answers one client after the other computes what
//! is there first and writes then: one wake-up for many replies. A lone client's are written at
//! once, and so is what comes now and then.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// A thread that wrote a reply so long ago is not busy.
const RECENT: Duration = Duration::from_micros(250);

thread_local! {
    /// Whose reply was the thread's last, and when.
    static LAST: Cell<Option<(usize, Instant)>> = const { Cell::new(None) };
}

/// Whether a reply of the connection `id` lets others of its thread go first.
pub(super) fn lets_others_go(id: usize) -> bool {
    let now = Instant::now();
    let last = LAST.replace(Some((id, now)));
    last.is_some_and(|(other, at)| other != id && now.saturating_duration_since(at) < RECENT)
}
