//! How slow a client may be: a time that runs while it is waited for, and that bytes win back.
//!
//! Who keeps up [`MIN_RATE`] is never cut off; who sends or takes a byte now and then is.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes a second.
const MIN_RATE: u32 = 16 << 10;

/// The patience with one client.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How long it may do nothing.
    grace: Duration,
    /// Set from the first wait until [`Self::reset`]; most calls need none.
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, wait: None }
    }

    /// The client is waited for. Ready when it has been for too long.
    pub(crate) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let grace = self.grace;
        let wait = self.wait.get_or_insert_with(|| {
            let until = Instant::now() + grace;
            Wait { until, timer: Box::pin(sleep_until(until)) }
        });
        if wait.timer.deadline() != wait.until {
            wait.timer.as_mut().reset(wait.until);
        }
        wait.timer.as_mut().poll(context)
    }

    /// The client sent or took bytes.
    pub(crate) fn moved(&mut self, n_bytes: usize) {
        let Some(wait) = &mut self.wait else { return };
        let n_bytes = u32::try_from(n_bytes).unwrap_or(u32::MAX);
        let won = Duration::from_secs(n_bytes.into()) / MIN_RATE;
        wait.until = (wait.until + won).min(Instant::now() + self.grace);
    }

    /// Nothing is awaited any more.
    pub(crate) fn reset(&mut self) {
        if self.wait.is_some() {
            self.wait = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    /// Moves so many bytes each ten seconds; says after how many seconds it was lost.
    async fn lost_after(n_bytes: usize) -> Option<u64> {
        let (mut pace, began) = (Pace::new(GRACE), Instant::now());
        for _ in 0..100 {
            let lost = poll_fn(|context| pace.poll_lost(context));
            if tokio::time::timeout(Duration::from_secs(10), lost).await.is_ok() {
                return Some(began.elapsed().as_secs());
            }
            pace.moved(n_bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_too_slow() {
        assert_eq!(lost_after(0).await, Some(60));
        assert_eq!(lost_after(1).await, Some(60));
        assert_eq!(lost_after(40 << 10).await, Some(77)); // A quarter of what it must be.
        assert_eq!(lost_after(160 << 10).await, None);
        assert_eq!(lost_after(16 << 20).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_won_is_no_more_than_the_grace() {
        let mut pace = Pace::new(GRACE);
        let soon = Duration::from_secs(1);
        assert!(tokio::time::timeout(soon, poll_fn(|c| pace.poll_lost(c))).await.is_err());
        pace.moved(1 << 30);
        let began = Instant::now();
        poll_fn(|context| pace.poll_lost(context)).await;
        assert_eq!(began.elapsed(), GRACE);
    }
}
