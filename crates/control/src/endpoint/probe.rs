//! Calls that the instances of a new fleet must answer well before any client's call goes to them.
//!
//! Every instance is pinged. A container whose environment has `SAGEBRUSH_PROBE_PAYLOAD` is asked
//! that as well, in the way of all calls: what its model answers does not count, only that it does.
//! Where none has, the instance is asked what the old fleet answered last ([`super::replay`]).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::fleet::{ContainerSpec, Execution, FleetView, InstanceState};
use sagebrush_core::instance::{Instance, Refused};
use sagebrush_core::resource::Stored;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Payload, WorkerError};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::replay::{REPLAY, Samples};
use super::{DeployedVariant, Endpoint, EndpointState};

const PAYLOAD: &str = "SAGEBRUSH_PROBE_PAYLOAD";
const CONTENT_TYPE: &str = "SAGEBRUSH_PROBE_CONTENT_TYPE";
const TARGET_MODEL: &str = "SAGEBRUSH_PROBE_TARGET_MODEL";

/// So many calls in a row must be answered well.
const N_CALLS: u32 = 3;
/// SageMaker: a container has 60 s to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// SageMaker: a container has 2 s to answer a ping. A machine with much to do may miss one.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const N_PINGS: u32 = 3;

/// What is known of instances that were probed, by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Probed(HashMap<String, Result<(), String>>);

/// What a probe says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Good,
    /// Its probe is not over.
    Unknown,
    Bad(&'a str),
}

impl Probed {
    pub(super) fn verdict(&self, id: &str) -> Verdict<'_> {
        match self.0.get(id) {
            Some(Ok(())) => Verdict::Good,
            Some(Err(reason)) => Verdict::Bad(reason),
            None => Verdict::Unknown,
        }
    }

    pub(super) fn note(&mut self, id: &str, outcome: Result<(), String>) {
        self.0.insert(id.to_owned(), outcome);
    }
}

/// Probes the instances of new fleets. All of it may be lost: they are probed again then.
pub(super) struct Prober {
    begun: HashSet<String>,
    probed: Arc<Mutex<Probed>>,
    /// Told when a probe is over.
    wake: Arc<Notify>,
}

impl Prober {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { begun: HashSet::new(), probed: Arc::default(), wake }
    }

    /// Begins the probes of instances that are new, forgets those that are gone, and says what is
    /// known of the others.
    pub(super) fn look(
        &mut self,
        endpoints: &[Stored<Endpoint>],
        seen: &FleetView,
        samples: &Samples,
    ) -> Probed {
        let mut there = HashSet::new();
        for endpoint in endpoints {
            for (variant, instance) in on_trial(endpoint, seen) {
                there.insert(instance.id.clone());
                if self.begun.insert(instance.id.clone()) {
                    let own = calls(variant);
                    let lent = own.is_empty().then(|| samples.lent(endpoint, variant)).flatten();
                    let (endpoint, variant) = (endpoint.name.clone(), variant.name.clone());
                    self.begin(instance.clone(), Asked { endpoint, variant, own, lent });
                }
            }
        }
        self.begun.retain(|id| there.contains(id));
        let mut probed = lock(&self.probed);
        probed.0.retain(|id, _| there.contains(id));
        probed.clone()
    }

    fn begin(&self, instance: Arc<Instance>, asked: Asked) {
        let (probed, wake) = (self.probed.clone(), self.wake.clone());
        task::spawn("probe", async move {
            let outcome = probe(&instance, &asked).await;
            let outcome = outcome.map_err(|reason| {
                let (name, id) = (&asked.variant, &instance.id);
                format!("The probe of variant {name} on instance {id} failed: {reason}")
            });
            lock(&probed).note(&instance.id, outcome);
            wake.notify_one();
        });
    }
}

fn lock(probed: &Mutex<Probed>) -> MutexGuard<'_, Probed> {
    probed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instances of an endpoint that are to pass probes, with their variants.
fn on_trial<'a>(
    endpoint: &'a Stored<Endpoint>,
    seen: &'a FleetView,
) -> impl Iterator<Item = (&'a DeployedVariant, &'a Arc<Instance>)> {
    unproven(endpoint).iter().flat_map(move |variant| {
        let new = &endpoint.spec.wanted;
        let group = seen.get(&new.key(&endpoint.region, &endpoint.name, &variant.name));
        let ready = group.into_iter().flatten().filter_map(InstanceState::ready);
        ready.map(move |instance| (variant, instance))
    })
}

/// The variants that an update has come up.
fn unproven(endpoint: &Stored<Endpoint>) -> &[DeployedVariant] {
    let wanted = &endpoint.spec.wanted;
    match &endpoint.status {
        EndpointState::Updating { serving, .. } if serving.revision != wanted.revision => {
            &wanted.variants
        }
        EndpointState::Updating { .. }
        | EndpointState::Creating
        | EndpointState::InService { .. }
        | EndpointState::RollingBack { .. }
        | EndpointState::UpdateRollbackFailed { .. }
        | EndpointState::Failed { .. }
        | EndpointState::Deleting => &[],
    }
}

/// What an instance must answer beside a ping.
struct Asked {
    /// Whose it is.
    endpoint: String,
    variant: String,
    /// By its containers' environment.
    own: Vec<Call>,
    /// What the old fleet answered well.
    lent: Option<Call>,
}

/// Why a call of a probe was not answered well.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("the instance has no room")]
    Full,
    #[error("the instance is on its way out")]
    Closed,
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// The calls that containers ask for by their environment. Of a series, the first gets them.
fn calls(variant: &DeployedVariant) -> Vec<Call> {
    let is_direct = variant.execution == Execution::Direct;
    let n_asked = if is_direct { variant.containers.len() } else { 1 };
    let asked = variant.containers.iter().take(n_asked);
    asked.filter_map(|container| call(container, is_direct)).collect()
}

fn call(container: &ContainerSpec, is_direct: bool) -> Option<Call> {
    let given = |name: &str| container.environment.get(name).cloned();
    let payload = Payload {
        content_type: Some(given(CONTENT_TYPE).unwrap_or_else(|| "application/json".to_owned())),
        body: Bytes::from(given(PAYLOAD)?),
    };
    Some(Call {
        payload,
        accept: None,
        headers: Vec::new(),
        target_model: given(TARGET_MODEL),
        target_container: container.hostname.clone().filter(|_| is_direct),
        request_id: "probe".into(),
        deadline: Instant::now(), // Set when it is asked.
    })
}

async fn probe(instance: &Arc<Instance>, asked: &Asked) -> Result<(), String> {
    ping(instance).await?;
    for call in &asked.own {
        ask(instance, call).await.map_err(|error| error.to_string())?;
    }
    let Some(lent) = &asked.lent else { return Ok(()) };
    match ask(instance, lent).await {
        Ok(()) => Ok(()),
        // It takes another input than the old one, as it may.
        Err(ProbeError::Worker(error)) if is_refusal(&error) => {
            let Asked { endpoint, variant, .. } = asked;
            tracing::warn!(endpoint, variant, %error, "a new model refuses what the old one took");
            Ok(())
        }
        Err(error) => Err(format!(
            "{error} (It was asked what the old instances answered last. {REPLAY}=false in the \
             Environment of the model turns that off.)"
        )),
    }
}

/// Whether the model says that the call is at fault, and not itself.
fn is_refusal(error: &WorkerError) -> bool {
    match error {
        WorkerError::Model { status, .. } => (400..500).contains(status),
        WorkerError::Invalid { .. } => true,
        WorkerError::At { error, .. } => is_refusal(error),
        WorkerError::Died { .. }
        | WorkerError::TimedOut
        | WorkerError::NotReady { .. }
        | WorkerError::Gone { .. } => false,
    }
}

async fn ping(instance: &Instance) -> Result<(), String> {
    let mut outcome = Err("it was not pinged".to_owned());
    for _ in 0..N_PINGS {
        outcome = match tokio::time::timeout(PING_TIMEOUT, instance.worker.ping()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Err(format!("the ping was not answered well: {error}")),
            Err(_) => Err("the ping was not answered in time".to_owned()),
        };
    }
    outcome
}

/// Asks as often as an instance must answer in a row.
async fn ask(instance: &Arc<Instance>, call: &Call) -> Result<(), ProbeError> {
    for _ in 0..N_CALLS {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let admitted = instance.admit(call.payload.body.len(), deadline);
        let admitted = admitted.map_err(|refused| match refused {
            Refused::Full { .. } => ProbeError::Full,
            Refused::Closed => ProbeError::Closed,
        })?;
        let answer = admitted.answer(Call { deadline, ..call.clone() });
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answered)) => drop(answered.outcome?),
            Ok(Err(_)) | Err(_) => return Err(WorkerError::TimedOut.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sagebrush_core::fleet::Execution;

    use super::calls;
    use crate::endpoint::tests::{container, deployment};

    #[test]
    fn containers_say_how_they_are_asked() {
        let mut variant = deployment("new", 1).variants.remove(0);
        variant.containers = vec![container("a", &[("OTHER", "x")])];
        assert!(calls(&variant).is_empty());
        let asked =
            [("SAGEBRUSH_PROBE_PAYLOAD", "1,2"), ("SAGEBRUSH_PROBE_CONTENT_TYPE", "text/csv")];
        let many =
            [("SAGEBRUSH_PROBE_PAYLOAD", "{}"), ("SAGEBRUSH_PROBE_TARGET_MODEL", "m.tar.gz")];
        variant.containers = vec![container("a", &asked), container("b", &many)];
        let in_series = calls(&variant);
        assert_eq!(in_series.len(), 1);
        assert_eq!(in_series[0].payload.content_type.as_deref(), Some("text/csv"));
        assert_eq!(
            (&in_series[0].payload.body[..], &in_series[0].target_container),
            (&b"1,2"[..], &None)
        );
        variant.execution = Execution::Direct;
        let direct = calls(&variant);
        let targets: Vec<_> = direct.iter().map(|call| call.target_container.as_deref()).collect();
        assert_eq!(targets, [Some("a"), Some("b")]);
        assert_eq!(direct[1].target_model.as_deref(), Some("m.tar.gz"));
        assert_eq!(direct[1].payload.content_type.as_deref(), Some("application/json"));
    }
}
