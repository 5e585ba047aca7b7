//! Connections that wait for the next call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// How long a connection may wait. Servers close idle ones themselves (gunicorn after 2 s, uvicorn
/// after 5 s), and a call must not meet that moment.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) struct Pool {
    /// The one used last stands last and is used next: in quiet times the others go.
    idle: Mutex<Vec<(Connection, Instant)>>,
    most: usize,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), most }
    }

    pub(crate) async fn take(&self) -> Option<Connection> {
        while let Some(mut connection) = self.pop() {
            if connection.is_usable().await {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last response was read to its end.
    pub(crate) fn give(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.lock();
        idle.retain(|(_, since)| now.duration_since(*since) < IDLE);
        if idle.len() < self.most {
            idle.push((connection, now));
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn pop(&self) -> Option<Connection> {
        let (connection, since) = self.lock().pop()?;
        if since.elapsed() < IDLE {
            return Some(connection);
        }
        self.clear(); // The others have waited longer.
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
