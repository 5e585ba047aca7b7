//! The idle workers of one model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::conn::Conn;

/// Hands out idle workers, the one that was used last first: its caches are warm.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Conn>>,
    returned: Notify,
    closed: AtomicBool,
}

impl Pool {
    /// An idle worker; `None` if there is none until `deadline`, or the pool is closed.
    pub(super) async fn take(&self, deadline: Instant) -> Option<Conn> {
        loop {
            let returned = self.returned.notified(); // Before the look: no return is missed.
            if let Some(conn) = self.idle().pop() {
                return Some(conn);
            }
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            timeout_at(deadline, returned).await.ok()?;
        }
    }

    /// Gives a worker back, or brings a new one.
    pub(super) fn put(&self, conn: Conn) {
        if conn.forked.has_ended() || self.closed.load(Ordering::Acquire) {
            return;
        }
        self.idle().push(conn);
        self.returned.notify_one();
    }

    /// Forgets a worker that has ended.
    pub(super) fn remove(&self, id: u32) {
        self.idle().retain(|conn| conn.forked.id != id);
    }

    /// Lets the idle workers go, and takes none back: their sockets close, so they end.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle().clear();
        self.returned.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
