//! The containers of an instance that has several.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{join_all, select_all};
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Reply, StreamedReply, Usage, Worker, WorkerError};
use tokio::time::{Duration, Instant};

/// One container under its name.
pub(super) struct Part {
    /// `ContainerHostname`, else `container-1` and so on.
    pub(super) name: Arc<str>,
    pub(super) worker: Arc<dyn Worker>,
}

impl Part {
    /// Says which container an error is of.
    pub(super) fn at(&self, error: WorkerError) -> WorkerError {
        at(&self.name, error)
    }

    /// Has it answer a call in parts.
    pub(super) async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let reply = self.worker.stream(call).await.map_err(|error| self.at(error))?;
        let name = self.name.clone();
        let parts = reply.parts.map(move |part| part.map_err(|error| at(&name, error))).boxed();
        Ok(StreamedReply { parts, ..reply })
    }
}

fn at(container: &Arc<str>, error: WorkerError) -> WorkerError {
    WorkerError::At { container: container.clone(), error: Box::new(error) }
}

/// Two or more containers: what they are together, however calls go through them.
pub(super) struct Parts(pub(super) Vec<Part>);

impl Parts {
    pub(super) async fn ping(&self) -> Result<(), WorkerError> {
        for part in &self.0 {
            part.worker.ping().await.map_err(|error| part.at(error))?;
        }
        Ok(())
    }

    pub(super) fn concurrency(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|part| part.worker.concurrency())
    }

    pub(super) fn memory(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(part.worker.memory()))
    }

    /// Of all of them; `None` if none can tell it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let told = self.0.iter().filter_map(|part| part.worker.usage());
        told.reduce(Usage::plus)
    }

    /// Returns when the first of them has ended: without it, the others are of no use.
    pub(super) async fn ended(&self) -> String {
        let ended = self.0.iter().map(|part| {
            Box::pin(async move { format!("{}: {}", part.name, part.worker.ended().await) })
        });
        select_all(ended).await.0
    }

    pub(super) fn images(&self) -> Vec<Option<String>> {
        self.0.iter().map(|part| part.worker.image()).collect()
    }

    pub(super) async fn stop(&self, deadline: Instant) {
        join_all(self.0.iter().map(|part| part.worker.stop(deadline))).await;
    }
}

/// The reply to the one call of a batch.
pub(super) fn only(mut replies: Vec<Result<Reply, WorkerError>>) -> Result<Reply, WorkerError> {
    match (replies.pop(), replies.is_empty()) {
        (Some(reply), true) => reply,
        (Some(_), false) | (None, _) => Err(unanswered()),
    }
}

/// A worker that breaks its contract. The call may have reached the model's code.
pub(super) fn unanswered() -> WorkerError {
    let message = "the worker did not answer each call once".to_owned();
    WorkerError::Model { status: 500, message, content_type: None }
}

/// Asks for one call.
pub(super) async fn ask(worker: &dyn Worker, call: Call) -> Result<Reply, WorkerError> {
    only(worker.invoke(vec![call]).await)
}

/// A worker that is launched while others of its instance still are. Stopped if dropped before.
pub(super) struct Launched(Option<Arc<dyn Worker>>);

/// How long a worker may take to stop that no call ever reached.
const UNUSED_STOP: Duration = Duration::from_secs(30);

impl Launched {
    pub(super) fn new(worker: Arc<dyn Worker>) -> Self {
        Self(Some(worker))
    }

    pub(super) fn keep(mut self) -> Option<Arc<dyn Worker>> {
        self.0.take()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(worker) = self.0.take() {
            let stop = async move { worker.stop(Instant::now() + UNUSED_STOP).await };
            task::spawn("unused-worker", stop);
        }
    }
}
