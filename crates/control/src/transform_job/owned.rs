//! Tasks that end with whoever wants them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use sagebrush_core::task;
use tokio::task::{JoinError, JoinHandle};

/// A task that is cut off when this is dropped.
pub(super) struct Owned<T>(JoinHandle<T>);

impl<T: Send + 'static> Owned<T> {
    pub(super) fn spawn(
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self(task::spawn(name, future))
    }
}

impl<T> Future for Owned<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
