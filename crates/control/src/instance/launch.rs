//! The start of one instance: its files, its runtime, its worker.

use std::sync::Arc;

use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts};
use sagebrush_core::fleet::{ContainerSpec, GroupSpec};
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::route::Instance;
use sagebrush_core::worker::{LaunchError, LaunchSpec};
use uuid::Uuid;

use super::Catalogue;

/// How many calls an instance holds at most, waiting ones included.
const MAX_OUTSTANDING: usize = 256;

/// Launches instances on this machine.
pub struct Launcher {
    pub artifacts: Arc<dyn Artifacts>,
    pub catalogue: Catalogue,
    pub log: Arc<dyn LogSink>,
}

impl Launcher {
    pub(super) async fn launch(&self, group: &GroupSpec) -> Result<Arc<Instance>, Failure> {
        let id = instance_id();
        let log_stream = log_stream(group, &id);
        let outcome = self.launch_logged(group, &id, &log_stream).await;
        match &outcome {
            Ok(_) => self.log.write(&log_stream, "The worker is ready."),
            Err(failure) => self.log.write(&log_stream, &format!("ERROR {failure}")),
        }
        outcome
    }

    async fn launch_logged(
        &self,
        group: &GroupSpec,
        id: &str,
        log_stream: &LogStream,
    ) -> Result<Arc<Instance>, Failure> {
        let container = only_container(group)?;
        let runtime = self.catalogue.runtime(&container.image)?;
        let model = self.model(group, container).await?;
        let spec = LaunchSpec {
            name: format!("{}/{id}", group.key.variant),
            image: container.image.clone(),
            model,
            environment: container.environment.clone(),
            code: None,
            hostname: container.hostname.clone().unwrap_or_else(|| "primary".to_owned()),
            network_isolation: group.network_isolation,
            resources: group.resources,
            startup_timeout: group.startup_timeout,
            log: self.log.clone(),
            log_stream: log_stream.clone(),
        };
        let launch = tokio::time::timeout(group.startup_timeout, runtime.launch(&spec));
        let worker = launch.await.map_err(|_| too_slow("start", group.startup_timeout))??;
        Ok(Instance::new(id.to_owned(), worker, MAX_OUTSTANDING))
    }

    async fn model(
        &self,
        group: &GroupSpec,
        container: &ContainerSpec,
    ) -> Result<Option<Arc<dyn ArtifactLease>>, Failure> {
        let Some(data) = &container.model_data else { return Ok(None) };
        let fetch = tokio::time::timeout(group.download_timeout, self.artifacts.fetch(data));
        let fetched =
            fetch.await.map_err(|_| too_slow("download its model", group.download_timeout))?;
        Ok(Some(fetched?))
    }
}

/// Containers in series are refused before a group is made of them.
fn only_container(group: &GroupSpec) -> Result<&ContainerSpec, LaunchError> {
    match group.containers.as_slice() {
        [container] => Ok(container),
        _ => Err(LaunchError::Permanent {
            reason: "A model must have exactly one container.".to_owned(),
        }),
    }
}

fn log_stream(group: &GroupSpec, id: &str) -> LogStream {
    LogStream {
        region: group.key.region.0.clone(),
        group: format!("/aws/sagemaker/Endpoints/{}", group.key.endpoint).into(),
        stream: format!("{}/{id}", group.key.variant).into(),
    }
}

/// `i-` and 17 hexadecimal digits, as EC2 names instances.
fn instance_id() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("i-{}", random.get(..17).unwrap_or(&random))
}

fn too_slow(what: &str, limit: std::time::Duration) -> LaunchError {
    LaunchError::Permanent {
        reason: format!("The container did not {what} within {} seconds.", limit.as_secs()),
    }
}

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl Failure {
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Artifact(error) => !error.is_transient(),
            Self::Launch(LaunchError::Permanent { .. }) => true,
            Self::Launch(LaunchError::Transient { .. }) => false,
        }
    }
}
