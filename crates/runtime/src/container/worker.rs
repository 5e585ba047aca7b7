//! A container that answers calls, watched until it ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{
    Call, ExecutionParameters, LaunchSpec, Reply, Resources, StreamedReply, Usage, Worker,
    WorkerError,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ContainerSettings;
use super::cgroup::Cgroup;
use super::running::Container;
use crate::contract::{
    ContractClient, Contracted, HealthCheck, Pulse, each, told, told_in_parts, until_sick,
};

/// Says how something ended, once it has.
pub(super) type Ended = watch::Receiver<Option<String>>;

pub(super) struct ContainerWorker {
    container: Arc<Container>,
    client: Arc<ContractClient>,
    pulse: Arc<Pulse>,
    /// `ended with exit code 1`.
    exit: Exit,
    /// `None` where the engine's machine is another one.
    cgroup: Option<Cgroup>,
    /// The same as `exit`, or why it was killed.
    ended: Ended,
    watcher: JoinHandle<()>,
    image: String,
    concurrency: usize,
    grace: Duration,
    _leases: Vec<Arc<dyn ArtifactLease>>,
}

/// What is known of a container that has answered its first ping.
pub(super) struct Answering {
    pub(super) client: ContractClient,
    pub(super) exit: Exit,
    pub(super) cgroup: Option<Cgroup>,
}

/// Waits for a container's end from its start on.
pub(super) struct Exit {
    ended: Ended,
    waiter: JoinHandle<()>,
}

impl Exit {
    pub(super) fn of(container: &Arc<Container>, resources: Resources) -> Self {
        let (sender, ended) = watch::channel(None);
        let container = container.clone();
        let waiter = task::spawn("container wait", async move {
            sender.send_replace(Some(container.ended(resources).await));
        });
        Self { ended, waiter }
    }

    /// `The container ended with exit code 1`.
    pub(super) fn cause(&self) -> impl Future<Output = String> + Send + use<> {
        let ended = self.ended.clone();
        async move { format!("The container {}", known(&ended).await) }
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        self.waiter.abort();
    }
}

impl ContainerWorker {
    pub(super) fn new(
        container: Arc<Container>,
        answering: Answering,
        image: String,
        settings: &ContainerSettings,
        spec: &LaunchSpec,
    ) -> Self {
        let Answering { client, exit, cgroup } = answering;
        let (client, pulse) = (Arc::new(client), Arc::new(Pulse::default()));
        let (sender, ended) = watch::channel(None);
        let watch = watch(container.clone(), client.clone(), pulse.clone(), exit.ended.clone());
        let watcher = task::spawn("container health", async move {
            sender.send_replace(Some(watch.await));
        });
        Self {
            _leases: spec.model.iter().chain(&spec.code).cloned().collect(),
            // SageMaker brings one call at a time to a serverless container.
            concurrency: spec.resources.concurrency.map_or(settings.concurrency, |_| 1),
            grace: settings.grace,
            container,
            client,
            pulse,
            exit,
            cgroup,
            ended,
            watcher,
            image,
        }
    }
}

impl Drop for ContainerWorker {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[async_trait]
impl Worker for ContainerWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        each(calls, |call| told(self, self.client.invoke(call))).await
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        told_in_parts(self, self.client.stream(call)).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        match self.client.ping().await {
            Ok(()) => Ok(()),
            Err(failure) => Err(failure.explained(self.exit.cause()).await),
        }
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn usage(&self) -> Option<Usage> {
        self.cgroup.as_ref()?.usage()
    }

    async fn execution_parameters(&self) -> Option<ExecutionParameters> {
        self.client.execution_parameters().await
    }

    async fn ended(&self) -> String {
        known(&self.ended).await
    }

    fn image(&self) -> Option<String> {
        Some(self.image.clone()).filter(|image| image.len() <= 255)
    }

    /// SIGTERM now; SIGKILL when both its grace and the time for work under way are over.
    async fn stop(&self, deadline: Instant) {
        self.watcher.abort();
        self.client.close();
        let left = deadline.saturating_duration_since(Instant::now());
        self.container.stop(self.grace.max(left)).await;
        self.container.remove().await;
    }
}

#[async_trait]
impl Contracted for ContainerWorker {
    fn client(&self) -> &ContractClient {
        &self.client
    }

    fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    fn cause(&self) -> BoxFuture<'static, String> {
        self.exit.cause().boxed()
    }
}

/// Says why the container can answer no call any more.
async fn watch(
    container: Arc<Container>,
    client: Arc<ContractClient>,
    pulse: Arc<Pulse>,
    exit: Ended,
) -> String {
    tokio::select! {
        how = known(&exit) => format!("The container {how}."),
        sick = until_sick(&client, &pulse, HealthCheck::default()) => {
            container.remove().await;
            format!("The container was killed: {sick}.")
        }
    }
}

/// Waits until it is known; for ever, if it never will be.
async fn known(ended: &Ended) -> String {
    let mut ended = ended.clone();
    if let Ok(how) = ended.wait_for(Option::is_some).await
        && let Some(how) = how.clone()
    {
        return how;
    }
    std::future::pending().await
}
