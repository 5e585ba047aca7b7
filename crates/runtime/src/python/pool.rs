//! The idle workers of one model.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::conn::Conn;

/// Hands out idle workers, the one that was used last first: its caches are warm.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    returned: Notify,
    is_closed: watch::Sender<bool>,
}

struct Idle {
    conn: Conn,
    since: Instant,
}

impl Pool {
    /// An idle worker; `None` if there is none until `deadline`, or the pool is closed.
    pub(super) async fn take(&self, deadline: Instant) -> Option<Conn> {
        loop {
            let returned = self.returned.notified(); // Before the look: no return is missed.
            if let Some(idle) = self.idle().pop() {
                return Some(idle.conn);
            }
            if self.is_closed() {
                return None;
            }
            timeout_at(deadline, returned).await.ok()?;
        }
    }

    /// Gives a worker back, or brings a new one.
    pub(super) fn put(&self, conn: Conn) {
        let mut idle = self.idle(); // Held, so that neither `remove` nor `close` comes between.
        if !conn.forked.has_ended() && !self.is_closed() {
            idle.push(Idle { conn, since: Instant::now() });
            self.returned.notify_one();
        }
    }

    /// Forgets a worker that has ended.
    pub(super) fn remove(&self, id: u32) {
        self.idle().retain(|idle| idle.conn.forked.id != id);
    }

    /// Lets a worker go once it has been idle for so long: its socket closes, so it ends.
    pub(super) async fn let_go_after(&self, id: u32, limit: Duration) {
        loop {
            sleep(limit).await;
            let mut idle = self.idle();
            let is_long = |idle: &Idle| idle.conn.forked.id == id && idle.since.elapsed() >= limit;
            if let Some(at) = idle.iter().position(is_long) {
                drop(idle.remove(at));
                return;
            }
        }
    }

    /// Lets the idle workers go, and takes none back: their sockets close, so they end.
    pub(super) fn close(&self) {
        let mut idle = self.idle();
        self.is_closed.send_replace(true);
        idle.clear();
        self.returned.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.is_closed.borrow()
    }

    /// Returns once it is closed.
    pub(super) async fn closed(&self) {
        let mut is_closed = self.is_closed.subscribe();
        // It cannot fail: the sender is here.
        let _closed = is_closed.wait_for(|is_closed| *is_closed).await.is_ok();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
