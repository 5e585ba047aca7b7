//! A program that answers calls, watched until it ends.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchSpec, Usage, WorkerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::plan::Plan;
use super::port::PortClaim;
use super::start::{CONCURRENCY, Started};
use crate::contract::{ContractClient, HealthCheck, Pulse, until_sick};
use crate::sandbox::Isolation;
use crate::tree::Tree;

/// The longest `DeployedImages.ResolvedImage`.
const LONGEST_IMAGE: usize = 255;

pub(super) struct Running {
    pub(super) client: Arc<ContractClient>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) image: String,
    pub(super) concurrency: usize,
    tree: Arc<Tree>,
    grace: Duration,
    ended: watch::Receiver<Option<String>>,
    watcher: JoinHandle<()>,
    /// Files and port stay its own as long as it lives.
    _leases: Vec<Arc<dyn ArtifactLease>>,
    _port: Option<PortClaim>,
}

impl Running {
    pub(super) fn new(
        started: Started,
        plan: &Plan,
        spec: &LaunchSpec,
        check: HealthCheck,
    ) -> Self {
        let Started { tree, client, isolation, port, model_dir: _ } = started;
        let pulse = Arc::new(Pulse::default());
        let (sender, ended) = watch::channel(None);
        let watcher =
            Watcher { tree: tree.clone(), client: client.clone(), pulse: pulse.clone(), check };
        // SageMaker brings one call at a time to a serverless container.
        let usual = if spec.resources.concurrency.is_some() { 1 } else { CONCURRENCY };
        Self {
            image: image(plan.name(), &isolation),
            concurrency: plan.recipe.concurrency.unwrap_or(usual),
            grace: plan.recipe.grace,
            watcher: task::spawn("process health", watcher.run(sender)),
            _leases: spec.model.iter().chain(&spec.code).cloned().collect(),
            _port: port,
            client,
            pulse,
            tree,
            ended,
        }
    }

    /// How it ended, once it has: `The process ended with exit code 3`.
    pub(super) fn cause(&self) -> impl Future<Output = String> + Send + use<> {
        let tree = self.tree.clone();
        async move { format!("The process {}", tree.ended().await) }
    }

    pub(super) async fn ping(&self) -> Result<(), WorkerError> {
        match self.client.ping().await {
            Ok(()) => Ok(()),
            Err(failure) => Err(failure.explained(self.cause()).await),
        }
    }

    /// Returns once it ended though nobody stopped it.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        if let Ok(reason) = ended.wait_for(Option::is_some).await
            && let Some(reason) = reason.clone()
        {
            return reason;
        }
        std::future::pending().await
    }

    pub(super) fn memory(&self) -> u64 {
        self.tree.usage().resident_bytes
    }

    pub(super) fn usage(&self) -> Usage {
        self.tree.usage().into()
    }

    /// SIGTERM now; SIGKILL when both its grace and the time for work under way are over.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.watcher.abort();
        self.client.close();
        self.tree.stop(deadline.max(Instant::now() + self.grace)).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watcher.abort(); // It holds the tree, which is killed when nobody does.
    }
}

struct Watcher {
    tree: Arc<Tree>,
    client: Arc<ContractClient>,
    pulse: Arc<Pulse>,
    check: HealthCheck,
}

impl Watcher {
    async fn run(self, ended: watch::Sender<Option<String>>) {
        let reason = tokio::select! {
            exit = self.tree.ended() => format!("The process {exit}."),
            sick = until_sick(&self.client, &self.pulse, self.check) => {
                self.tree.kill().await;
                format!("The process was killed: {sick}.")
            }
        };
        ended.send_replace(Some(reason));
    }
}

/// `process:uvicorn;isolation=group`.
fn image(program: &str, isolation: &Isolation) -> String {
    let isolation = isolation.name();
    let visible = |character: char| if character.is_ascii_graphic() { character } else { '_' };
    let program: String = program.chars().map(visible).take(LONGEST_IMAGE - 40).collect();
    format!("process:{program};isolation={isolation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_has_a_name_without_white_space() {
        let group = Isolation::Group { why: "no bwrap".to_owned() };
        assert_eq!(image("uvicorn", &group), "process:uvicorn;isolation=group");
        assert_eq!(image("a b\u{e4}", &Isolation::Namespaces), "process:a_b_;isolation=namespaces");
        assert!(image(&"x".repeat(4096), &Isolation::Namespaces).len() <= LONGEST_IMAGE);
    }
}
