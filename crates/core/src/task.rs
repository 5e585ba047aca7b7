//! The only place that spawns: tasks, blocking work and threads get a name here.

use std::future::Future;
use std::io;

use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

/// Runs `future` as a task of its own.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let span = tracing::debug_span!("task", name);
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    tokio::spawn(future.instrument(span))
}

/// Runs `work` where it may block, and waits for it.
///
/// # Errors
/// When the work panicked or the runtime is shutting down.
pub async fn blocking<T, W>(work: W) -> Result<T, JoinError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    let handle = tokio::task::spawn_blocking(work);
    handle.await
}

/// Runs `work` on a thread of its own.
///
/// # Errors
/// When the system gives no more threads.
pub fn thread<W>(name: &str, work: W) -> io::Result<std::thread::JoinHandle<()>>
where
    W: FnOnce() + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
