//! Several containers behind one endpoint, each called by its name.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use sagebrush_core::worker::{Call, Reply, StreamedReply, Usage, Worker, WorkerError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::parts::{Part, Parts, ask};

pub(super) struct Direct {
    parts: Parts,
    /// As many permits as each container takes calls at once.
    turns: Vec<Arc<Semaphore>>,
}

impl Direct {
    pub(super) fn new(parts: Parts) -> Self {
        let turns = parts.concurrency().map(|n| Arc::new(Semaphore::new(n))).collect();
        Self { parts, turns }
    }

    async fn answer(&self, call: Call) -> Result<Reply, WorkerError> {
        let (part, turns) = self.find(call.target_container.as_deref())?;
        let turn = timeout_at(call.deadline, turns.acquire()).await;
        let _turn = turn.map_err(|_| part.at(WorkerError::TimedOut))?;
        ask(&*part.worker, call).await.map_err(|error| part.at(error))
    }

    fn find(&self, name: Option<&str>) -> Result<(&Part, &Arc<Semaphore>), WorkerError> {
        let invalid = |message| WorkerError::Invalid { message };
        let name = name.ok_or_else(|| {
            invalid(
                "The request names no TargetContainerHostname: this endpoint has several \
                 containers that are called directly."
                    .to_owned(),
            )
        })?;
        let found = self.parts.0.iter().zip(&self.turns).find(|(part, _)| &*part.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.parts.0.iter().map(|part| &*part.name).collect();
            invalid(format!(
                "There is no container with the hostname {name} in this endpoint. Its containers \
                 are: {}.",
                names.join(", ")
            ))
        })
    }
}

#[async_trait]
impl Worker for Direct {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        join_all(calls.into_iter().map(|call| self.answer(call))).await
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let (part, turns) = self.find(call.target_container.as_deref())?;
        let turn = timeout_at(call.deadline, turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| part.at(WorkerError::TimedOut))?;
        Ok(part.stream(call).await?.holding(turn))
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.parts.ping().await
    }

    fn concurrency(&self) -> usize {
        self.parts.concurrency().sum()
    }

    fn memory(&self) -> u64 {
        self.parts.memory()
    }

    fn usage(&self) -> Option<Usage> {
        self.parts.usage()
    }

    async fn ended(&self) -> String {
        self.parts.ended().await
    }

    fn images(&self) -> Vec<Option<String>> {
        self.parts.images()
    }

    async fn stop(&self, deadline: Instant) {
        self.parts.stop(deadline).await;
    }
}
