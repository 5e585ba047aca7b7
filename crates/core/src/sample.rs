//! The last call that a variant answered well, for whoever tries its successor.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::worker::Call;

/// Payloads of more bytes are not kept.
pub const LONGEST: usize = 64 << 10;
/// How long a call is kept at least before another takes its place.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// One call of a variant, in memory only. Serving puts it there, and control takes it.
pub struct Sample {
    /// All that a call looks at while none is wanted.
    is_wanted: AtomicBool,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    call: Call,
    since: Instant,
}

impl Default for Sample {
    fn default() -> Self {
        Self { is_wanted: AtomicBool::new(true), kept: Mutex::default() }
    }
}

impl Sample {
    /// Whether a call that is answered well is to be kept.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Keeps a call that was answered well, if one is still wanted.
    pub fn keep(&self, call: impl FnOnce() -> Call) {
        if self.is_wanted.swap(false, Ordering::Relaxed) {
            *self.kept() = Some(Kept { call: call(), since: Instant::now() });
        }
    }

    /// Wants another call, if the one that is kept has been for a while.
    pub fn renew(&self, now: Instant) {
        if self.kept().as_ref().is_some_and(|kept| now >= kept.since + KEPT_FOR) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn last(&self) -> Option<Call> {
        self.kept().as_ref().map(|kept| kept.call.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sample {
    /// Without the call: payloads are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("is_wanted", &self.is_wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::{KEPT_FOR, Sample};
    use crate::worker::{Call, Payload};

    fn call(body: &'static str) -> Call {
        let body = Bytes::from_static(body.as_bytes());
        Call {
            payload: Payload { content_type: None, body },
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "id".into(),
            deadline: Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_kept_until_another_is_wanted() {
        let sample = Sample::default();
        let last = || sample.last().map(|call| call.payload.body);
        assert!(sample.is_wanted() && last().is_none());
        sample.renew(Instant::now());
        sample.keep(|| call("first"));
        assert!(!sample.is_wanted());
        sample.keep(|| unreachable!("it is not wanted"));
        tokio::time::advance(KEPT_FOR / 2).await;
        sample.renew(Instant::now());
        assert!(!sample.is_wanted());
        tokio::time::advance(KEPT_FOR).await;
        sample.renew(Instant::now());
        assert!(sample.is_wanted());
        assert_eq!(last().as_deref(), Some(&b"first"[..]), "until there is another");
        sample.keep(|| call("second"));
        assert_eq!(last().as_deref(), Some(&b"second"[..]));
    }
}
