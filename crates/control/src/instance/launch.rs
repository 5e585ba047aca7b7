//! The start of one instance: its containers, each with its files and its runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use sagebrush_core::access::{RoleArtifacts, Roles};
use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use sagebrush_core::fleet::{
    ContainerSpec, Execution, GroupKey, GroupSpec, MultiModel, Owner, retries_after_death,
};
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::metrics::Registry;
use sagebrush_core::worker::{LaunchError, LaunchSpec, Runtime, Worker};
use tokio::time::Instant;
use uuid::Uuid;

use super::Catalogue;
use super::direct::Direct;
use super::multi_model::{self, MultiModelWorker};
use super::parts::{Launched, Part, Parts};
use super::series::Series;

/// How late a runtime may be to give up by itself, which it can explain better.
const GRACE: Duration = Duration::from_secs(5);

/// Where the client's code is: an archive in the object store, if it begins with `s3://`.
const SUBMIT_DIRECTORY: &str = "SAGEMAKER_SUBMIT_DIRECTORY";

/// What AWS's SDKs look for keys in.
const KEYS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
];

/// Launches instances on this machine.
pub struct Launcher {
    pub artifacts: Arc<dyn Artifacts>,
    pub catalogue: Catalogue,
    pub log: Arc<dyn LogSink>,
    /// For the caches of multi-model containers.
    pub metrics: Registry,
    /// What each instance holds at most.
    pub limits: Limits,
    /// Whose roles its containers act in.
    pub roles: Arc<dyn Roles>,
}

/// A container with the name and the log of its own.
struct Named<'a> {
    container: &'a ContainerSpec,
    name: Arc<str>,
    log_stream: LogStream,
}

impl Launcher {
    pub(super) async fn launch(&self, group: &GroupSpec) -> Result<Arc<Instance>, Failure> {
        let (id, began) = (instance_id(), Instant::now());
        let worker = match named(group, &id).as_slice() {
            [only] => self.launched(group, &id, only).await?.keep(),
            several => self.together(group, &id, several).await?,
        };
        let worker = worker.ok_or_else(no_container)?;
        if group.key.owner == Owner::Endpoint {
            self.note_start(group, began.elapsed());
        }
        Ok(Instance::new(id, worker, self.limits))
    }

    /// SageMaker tells `ModelSetupTime` of serverless variants only, so theirs alone is recorded.
    fn note_start(&self, group: &GroupSpec, took: Duration) {
        let (name, help) = (
            "sagebrush_instance_start_seconds",
            "How long an instance took to start (SageMaker's ModelSetupTime).",
        );
        let (key, is_serverless) = (&group.key, group.resources.concurrency.is_some());
        let labels = vec![
            ("region", key.region.to_string()),
            ("endpoint", key.name.clone()),
            ("variant", key.variant.clone()),
            ("serverless", is_serverless.to_string()),
        ];
        let started = if is_serverless {
            self.metrics.recorded((name, help), labels, Duration::from_micros(1))
        } else {
            self.metrics.histogram(name, help, labels)
        };
        started.observe(took);
    }

    /// Lets go what was kept for instances of the group's owner.
    pub(super) async fn forget(&self, group: &GroupKey) {
        for runtime in self.catalogue.all() {
            runtime.forget(&group.region.0, &group.log_group()).await;
        }
    }

    /// Writes a line to the log of an instance, or of its first container.
    pub(super) fn say(&self, group: &GroupSpec, id: &str, line: &str) {
        if let Some(named) = named(group, id).first() {
            self.log.write(&named.log_stream, line);
        }
    }

    /// Launches all containers at once. If one fails the others are stopped.
    async fn together(
        &self,
        group: &GroupSpec,
        id: &str,
        containers: &[Named<'_>],
    ) -> Result<Option<Arc<dyn Worker>>, Failure> {
        let launch = async |named: &Named<'_>| {
            let launched = self.launched(group, id, named).await;
            launched.map(|worker| (named.name.clone(), worker)).map_err(|failure| Failure::At {
                container: named.name.clone(),
                failure: Box::new(failure),
            })
        };
        let launched = try_join_all(containers.iter().map(launch)).await?;
        let part =
            |(name, worker): (_, Launched)| worker.keep().map(|worker| Part { name, worker });
        let parts = Parts(launched.into_iter().filter_map(part).collect());
        if parts.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(match group.execution {
            Execution::Serial => Arc::new(Series(parts)),
            Execution::Direct => Arc::new(Direct::new(parts)),
        }))
    }

    /// Launches a container, and says in its log what came of it.
    async fn launched(
        &self,
        group: &GroupSpec,
        id: &str,
        named: &Named<'_>,
    ) -> Result<Launched, Failure> {
        let outcome = self.launch_container(group, id, named).await;
        match &outcome {
            Ok(_) => self.log.write(&named.log_stream, "The worker is ready."),
            Err(failure) => self.log.write(&named.log_stream, &format!("ERROR {failure}")),
        }
        outcome.map(Launched::new)
    }

    async fn launch_container(
        &self,
        group: &GroupSpec,
        id: &str,
        named: &Named<'_>,
    ) -> Result<Arc<dyn Worker>, Failure> {
        let container = named.container;
        let runtime = self.catalogue.runtime(&container.image)?;
        retries_after_death(&container.environment)
            .map_err(|reason| LaunchError::Permanent { reason })?;
        let model = match container.multi_model {
            Some(_) => None, // Its models come one by one.
            None => self.fetch(group, container, container.model_data.as_ref()).await?,
        };
        let spec = LaunchSpec {
            name: format!("{}/{id}", group.key.variant),
            image: container.image.clone(),
            model,
            code: self.fetch(group, container, code(container).as_ref()).await?,
            environment: self.environment(group, container),
            hostname: named.name.to_string(),
            network_isolation: group.network_isolation,
            resources: group.resources,
            startup_timeout: group.startup_timeout,
            log: self.log.clone(),
            log_stream: named.log_stream.clone(),
        };
        let limit = group.startup_timeout;
        match container.multi_model {
            None => in_time("start", limit, runtime.launch(&spec)).await,
            Some(how) => self.launch_multi_model(group, container, how, &*runtime, spec).await,
        }
    }

    async fn launch_multi_model(
        &self,
        group: &GroupSpec,
        container: &ContainerSpec,
        how: MultiModel,
        runtime: &dyn Runtime,
        spec: LaunchSpec,
    ) -> Result<Arc<dyn Worker>, Failure> {
        let settings = multi_model::Settings::read(&spec, how)?;
        let prefix = container.model_data.as_ref().ok_or_else(|| LaunchError::Permanent {
            reason: "A container with Mode MultiModel needs a ModelDataUrl.".to_owned(),
        })?;
        let limit = group.startup_timeout;
        let host = in_time("start", limit, runtime.host(&spec)).await?;
        let meter = multi_model::Meter::new(&self.metrics, &group.key);
        let models = multi_model::Models::new(self.artifacts(container), prefix.uri());
        Ok(Arc::new(MultiModelWorker::start(host, models, settings, meter, spec)))
    }

    async fn fetch(
        &self,
        group: &GroupSpec,
        container: &ContainerSpec,
        source: Option<&ModelData>,
    ) -> Result<Option<Arc<dyn ArtifactLease>>, Failure> {
        let Some(source) = source else { return Ok(None) };
        let limit = group.download_timeout;
        let artifacts = self.artifacts(container);
        in_time("download its model", limit, artifacts.fetch(source)).await.map(Some)
    }

    /// Model data as the container's role may read it.
    fn artifacts(&self, container: &ContainerSpec) -> Arc<dyn Artifacts> {
        let Some(role_arn) = container.role_arn.clone() else { return self.artifacts.clone() };
        let (artifacts, authorizer) = (self.artifacts.clone(), self.roles.clone());
        Arc::new(RoleArtifacts { artifacts, authorizer, role_arn })
    }

    /// What the container's code finds: the keys of its role, unless it may not reach anybody with
    /// them or has others. What the client set says the last word.
    fn environment(
        &self,
        group: &GroupSpec,
        container: &ContainerSpec,
    ) -> BTreeMap<String, String> {
        let own = &container.environment;
        let has_keys = KEYS.iter().any(|name| own.contains_key(*name));
        let role = container.role_arn.as_deref().filter(|_| !group.network_isolation && !has_keys);
        let keys = role.map(|role| self.roles.environment(role, group.key.region.as_str()));
        let mut environment = keys.unwrap_or_default();
        environment.extend(own.clone());
        environment
    }
}

/// The archive of the client's code that the environment names.
fn code(container: &ContainerSpec) -> Option<ModelData> {
    let uri = container.environment.get(SUBMIT_DIRECTORY)?;
    uri.starts_with("s3://").then(|| ModelData::Archive { uri: uri.clone() })
}

/// SageMaker: one container is `primary`, several are `container-1` and so on; each of several
/// logs to a stream of its own.
fn named<'a>(group: &'a GroupSpec, id: &str) -> Vec<Named<'a>> {
    let is_only = group.containers.len() == 1;
    let named = |(at, container): (usize, &'a ContainerSpec)| {
        let unnamed =
            || if is_only { "primary".to_owned() } else { format!("container-{}", at + 1) };
        let name: Arc<str> = container.hostname.clone().unwrap_or_else(unnamed).into();
        let of_instance = group.key.log_stream(id);
        let stream = if is_only { of_instance } else { format!("{of_instance}/{name}") };
        let log_stream = LogStream {
            region: group.key.region.0.clone(),
            group: group.key.log_group().into(),
            stream: stream.into(),
        };
        Named { container, name, log_stream }
    };
    group.containers.iter().enumerate().map(named).collect()
}

/// `i-` and 17 hexadecimal digits, as EC2 names instances.
fn instance_id() -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("i-{}", random.get(..17).unwrap_or(&random))
}

async fn in_time<T, E>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let outcome = tokio::time::timeout(limit + GRACE, work).await;
    let too_slow = |_| LaunchError::Permanent {
        reason: format!("The container did not {what} within {} seconds.", limit.as_secs()),
    };
    Ok(outcome.map_err(too_slow)??)
}

fn no_container() -> LaunchError {
    LaunchError::Permanent { reason: "A model must have a container.".to_owned() }
}

/// Why an instance did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{container}: {failure}")]
    At { container: Arc<str>, failure: Box<Self> },
}

impl Failure {
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Artifact(error) => !error.is_transient(),
            Self::Launch(LaunchError::Permanent { .. }) => true,
            Self::Launch(LaunchError::Transient { .. }) => false,
            Self::At { failure, .. } => failure.is_permanent(),
        }
    }
}
