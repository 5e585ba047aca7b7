//! A program that serves one model.

use async_trait::async_trait;
use sagebrush_core::worker::{Call, Reply, Worker, WorkerError};
use tokio::time::Instant;

use super::running::Running;
use crate::contract::each;

pub(super) struct ProcessWorker(pub(super) Running);

#[async_trait]
impl Worker for ProcessWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        each(calls, |call| self.call(call)).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.0.ping().await
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency
    }

    fn memory(&self) -> u64 {
        self.0.memory()
    }

    async fn ended(&self) -> String {
        self.0.ended().await
    }

    fn image(&self) -> Option<String> {
        Some(self.0.image.clone())
    }

    async fn stop(&self, deadline: Instant) {
        self.0.stop(deadline).await;
    }
}

impl ProcessWorker {
    async fn call(&self, call: Call) -> Result<Reply, WorkerError> {
        let beat = self.0.pulse.begin();
        let reply = match self.0.client.invoke(call).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Err(failure.explained(self.0.cause()).await),
        };
        beat.end(&reply);
        reply
    }
}
