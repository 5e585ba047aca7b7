//! Workers beside those that are always kept: forked while calls wait, let go when idle.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sagebrush_core::task;
use tokio::time::{Instant, timeout};

use super::super::conn::Conn;
use super::{Shared, Stay, life};

/// How long a call waits before another worker is forked for it, first and at most.
const PATIENCE: Duration = Duration::from_millis(10);
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// How long a worker stays that nobody asks.
const IDLE: Duration = Duration::from_secs(30);

impl Shared {
    /// An idle worker, or the first that becomes idle; more are forked while that takes long, if
    /// there may be more.
    pub(super) async fn take(self: &Arc<Self>, deadline: Instant) -> Option<Conn> {
        let mut taken = pin!(self.pool.take(deadline));
        if self.plan.most_workers <= self.plan.n_workers {
            return taken.await;
        }
        let _waiting = Waiting::count(&self.n_waiting);
        let mut patience = PATIENCE;
        loop {
            match timeout(patience, &mut taken).await {
                Ok(conn) => return conn,
                Err(_) => self.grow(),
            }
            patience = (patience * 2).min(LONGEST_PATIENCE);
        }
    }

    /// Forks another worker, unless as many are on their way as calls wait.
    fn grow(self: &Arc<Self>) {
        let (n_serving, n_waiting) =
            (self.n_serving.load(Ordering::Relaxed), self.n_waiting.load(Ordering::Relaxed));
        let grows = !self.pool.is_closed()
            && self.n_kept.send_if_modified(|n_kept| {
                let n_coming = n_kept.saturating_sub(n_serving);
                let grows = *n_kept < self.plan.most_workers && n_coming < n_waiting;
                *n_kept += usize::from(grows);
                grows
            });
        if grows {
            task::spawn("python-worker", keep(self.clone()));
        }
    }
}

/// Keeps a worker that is not replaced.
async fn keep(shared: Arc<Shared>) {
    if let Err(error) = life(&shared, Stay::UntilIdle(IDLE)).await {
        // Those that are always kept say so to callers, if it is not for want of room.
        tracing::warn!(%error, "another worker process did not load its model");
    }
    shared.n_kept.send_modify(|n| *n -= 1);
}

/// A call that waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(n_waiting: &'a AtomicUsize) -> Self {
        n_waiting.fetch_add(1, Ordering::Relaxed);
        Self(n_waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
