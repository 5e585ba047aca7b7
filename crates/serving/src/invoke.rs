//! One call: route, variant, instance, reply.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::route::{Admitted, EndpointRoute, Instance, Refused, Routes};
use sagebrush_core::worker::{Call, Reply, WorkerError};
use sagebrush_core::{AccountId, Region, ResourceName};
use tokio::time::Instant;

use crate::choose::{check_targets, choose_instance, choose_variant};
use crate::error::InvokeError;

/// How long a call is held while its endpoint has no instance, before it is refused.
const HOLD: Duration = Duration::from_secs(30);

/// A call may find its worker gone this often before it is given up.
const MAX_WORKERS_GONE: u32 = 3;

/// How long a call whose worker was gone waits for a newer table before it tries the same again.
const GONE_WAIT: Duration = Duration::from_millis(100);

/// SageMaker's name for the only container.
const PRIMARY: &str = "primary";

/// What names the target of a call.
#[derive(Debug, Clone)]
pub struct Target {
    pub region: Region,
    pub endpoint: ResourceName,
    /// `X-Amzn-SageMaker-Target-Variant`.
    pub variant: Option<String>,
}

/// A reply with where it came from and what it took.
#[derive(Debug)]
pub struct Invoked {
    pub variant: String,
    pub outcome: Result<Reply, InvokeError>,
    /// From the admission to the worker's free slot.
    pub queued: Duration,
    /// How long the worker took; SageMaker's `ModelLatency`.
    pub model_latency: Duration,
}

/// Brings calls to workers.
#[derive(Clone)]
pub struct Invoker {
    pub routes: Routes,
    pub account: AccountId,
    /// A number in `0.0..1.0` for the choice of a variant.
    pub chance: fn() -> f32,
}

impl Invoker {
    /// Answers one call; `call.deadline` bounds all of it.
    ///
    /// # Errors
    /// When the call reached no worker; what a worker says is in `Invoked::outcome`.
    pub async fn invoke(&self, target: &Target, call: Call) -> Result<Invoked, InvokeError> {
        let mut routes = self.routes.clone();
        let mut n_gone = 0;
        loop {
            let (place, variant) = self.place(&mut routes, target, &call).await?;
            let admitted_at = Instant::now();
            let _slot = slot(&place, target, call.deadline).await?;
            let queued = admitted_at.elapsed();
            let started_at = Instant::now();
            let outcome = ask(place.instance(), call.clone()).await;
            if outcome.as_ref().is_err_and(is_gone) && n_gone < MAX_WORKERS_GONE {
                n_gone += 1; // The newest route names another one, or will.
                let look_after = call.deadline.min(Instant::now() + GONE_WAIT);
                drop(tokio::time::timeout_at(look_after, routes.changed()).await);
                continue;
            }
            let model_latency = started_at.elapsed();
            let outcome = outcome.map_err(|error| self.explain(target, PRIMARY, error));
            return Ok(Invoked { variant, outcome, queued, model_latency });
        }
    }

    /// A place on an instance of the newest route; held until there is one.
    async fn place(
        &self,
        routes: &mut Routes,
        target: &Target,
        call: &Call,
    ) -> Result<(Admitted, String), InvokeError> {
        let held_until = call.deadline.min(Instant::now() + HOLD);
        loop {
            let table = routes.borrow_and_update().clone();
            let route = self.route(&table, target)?;
            let variant = choose_variant(route, target.variant.as_deref(), (self.chance)())?;
            check_targets(variant, &target.endpoint, call)?;
            let instance = choose_instance(variant, call.target_model.as_deref());
            match instance.map(Instance::admit) {
                Some(Ok(admitted)) => return Ok((admitted, variant.name.clone())),
                Some(Err(Refused::Full)) => {
                    return Err(InvokeError::Overloaded { endpoint: target.endpoint.to_string() });
                }
                // The route is stale or has no instance yet: a newer one comes.
                Some(Err(Refused::Closed)) | None => {}
            }
            let newer = tokio::time::timeout_at(held_until, routes.changed()).await;
            if !matches!(newer, Ok(Ok(()))) {
                return Err(InvokeError::NoCapacity { endpoint: target.endpoint.to_string() });
            }
        }
    }

    fn route<'a>(
        &self,
        table: &'a sagebrush_core::route::RouteTable,
        target: &Target,
    ) -> Result<&'a Arc<EndpointRoute>, InvokeError> {
        let endpoint = || target.endpoint.to_string();
        let found = table.find(&target.region, &target.endpoint);
        let route = found.ok_or_else(|| InvokeError::NoEndpoint {
            endpoint: endpoint(),
            account: self.account.to_string(),
        })?;
        match route.closed {
            None => Ok(route),
            Some(status) => Err(InvokeError::NotInService { endpoint: endpoint(), status }),
        }
    }

    /// A worker's error in the words that SageMaker's users look for.
    fn explain(&self, target: &Target, container: &str, error: WorkerError) -> InvokeError {
        match error {
            WorkerError::Invalid { message } => InvokeError::Invalid(message),
            WorkerError::NotReady { message } => InvokeError::NotReady(message),
            WorkerError::At { container, error } => self.explain(target, &container, *error),
            WorkerError::Model { status, message, .. } => {
                self.model_error(target, container, status, message)
            }
            WorkerError::TimedOut => self.model_error(target, container, 0, timed_out(container)),
            WorkerError::Gone { reason } => self.model_error(target, container, 500, reason),
        }
    }

    fn model_error(
        &self,
        target: &Target,
        container: &str,
        original_status: u16,
        original_message: String,
    ) -> InvokeError {
        let log_group = format!("/aws/sagemaker/Endpoints/{}", target.endpoint);
        let kind = if (400..500).contains(&original_status) { "client" } else { "server" };
        let message = format!(
            "Received {kind} error ({original_status}) from {container} with message \
             \"{original_message}\". See the log group {log_group} (`sagebrush logs {}`) in account \
             {} for more information.",
            target.endpoint, self.account,
        );
        InvokeError::Model { message, original_status, original_message, log_group }
    }
}

fn timed_out(container: &str) -> String {
    format!(
        "Your invocation timed out while waiting for a response from container {container}. Review \
         the latency metrics for each container in Amazon CloudWatch, resolve the issue, and try \
         again."
    )
}

/// Whether another worker may answer the call.
fn is_gone(error: &WorkerError) -> bool {
    match error {
        WorkerError::Gone { .. } => true,
        WorkerError::At { error, .. } => is_gone(error),
        WorkerError::Model { .. }
        | WorkerError::TimedOut
        | WorkerError::Invalid { .. }
        | WorkerError::NotReady { .. } => false,
    }
}

/// Waits for its turn on the worker.
async fn slot<'a>(
    place: &'a Admitted,
    target: &Target,
    deadline: Instant,
) -> Result<tokio::sync::SemaphorePermit<'a>, InvokeError> {
    let turn = tokio::time::timeout_at(deadline, place.instance().slots.acquire()).await;
    match turn {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => {
            Err(InvokeError::Overloaded { endpoint: target.endpoint.to_string() })
        }
    }
}

/// Asks the worker, until the call's deadline.
async fn ask(instance: &Instance, call: Call) -> Result<Reply, WorkerError> {
    let deadline = call.deadline;
    let answer = tokio::time::timeout_at(deadline, instance.worker.invoke(vec![call])).await;
    let mut replies = answer.map_err(|_| WorkerError::TimedOut)?;
    match (replies.pop(), replies.is_empty()) {
        (Some(reply), true) => reply,
        (Some(_), false) | (None, _) => {
            Err(WorkerError::Gone { reason: "the worker did not answer each call once".to_owned() })
        }
    }
}
