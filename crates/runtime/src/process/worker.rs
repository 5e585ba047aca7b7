//! A program that answers calls.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sagebrush_core::worker::{
    Call, ExecutionParameters, Reply, StreamedReply, Usage, Worker, WorkerError,
};
use tokio::time::Instant;

use super::running::Running;
use crate::contract::{ContractClient, Contracted, Pulse, each, told, told_in_parts};

pub(super) struct ProcessWorker(pub(super) Running);

#[async_trait]
impl Worker for ProcessWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        each(calls, |call| told(self, self.0.client.invoke(call))).await
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        told_in_parts(self, self.0.client.stream(call)).await
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

    fn usage(&self) -> Option<Usage> {
        Some(self.0.usage())
    }

    async fn execution_parameters(&self) -> Option<ExecutionParameters> {
        self.0.client.execution_parameters().await
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

#[async_trait]
impl Contracted for ProcessWorker {
    fn client(&self) -> &ContractClient {
        &self.0.client
    }

    fn pulse(&self) -> &Arc<Pulse> {
        &self.0.pulse
    }

    fn cause(&self) -> BoxFuture<'static, String> {
        self.0.cause().boxed()
    }
}
