//! Calls that are tried again, for their worker has ended.
//!
//! A call that did not reach the model's code goes on to another worker, a few times. One that a
//! worker had when it died is tried once more: on another instance if one is well, else on the same
//! when its worker is back. It may be what killed the worker, so when second tries end in death
//! too, those of the variant stop for a while (`budget.rs`).

mod budget;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{RouteTable, Routes, VariantId};
use sagebrush_core::worker::{Call, WorkerError};
use sagebrush_core::{Region, ResourceName};
use tokio::time::{Instant, timeout_at};

use crate::invoke::Target;
use crate::meter;
use budget::{Budget, PAUSE};

/// How long a call whose worker was gone waits for a table without it before it tries again; one
/// for each time that it may find a worker gone.
const GONE_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// What the second tries of a variant are counted by.
type Name = (Region, ResourceName, VariantId);

/// Decides which calls are tried again, and counts those that a worker died with.
#[derive(Clone, Default)]
pub struct Retries {
    registry: Registry,
    /// Of the variants whose second tries ended in death of late.
    budgets: Arc<Mutex<HashMap<Name, Budget>>>,
}

/// What became of one call so far.
#[derive(Default)]
pub(crate) struct Tries {
    n_gone: usize,
    is_second: bool,
    /// Where it was tried last: another instance is better.
    left: Option<Arc<Instance>>,
}

/// A try whose worker has ended.
pub(crate) struct Ended<'a> {
    pub(crate) target: &'a Target,
    pub(crate) call: &'a Call,
    pub(crate) variant: &'a VariantId,
    pub(crate) instance: &'a Arc<Instance>,
    /// Whether the model's code may get the call twice.
    pub(crate) may_repeat: bool,
    pub(crate) error: &'a WorkerError,
}

impl Tries {
    /// The model's code may have had the call already.
    pub(crate) fn is_second(&self) -> bool {
        self.is_second
    }

    pub(crate) fn left(&self) -> Option<&Arc<Instance>> {
        self.left.as_ref()
    }
}

impl Retries {
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, budgets: Arc::default() }
    }

    /// Whether the call is to be tried again; returns when that may help.
    pub(crate) async fn again(
        &self,
        tries: &mut Tries,
        routes: &mut Routes,
        ended: Ended<'_>,
    ) -> bool {
        let is_again = match End::of(ended.error) {
            None => false,
            Some(End::Gone) => gone(tries, routes, &ended).await,
            Some(End::Died { once_more }) if tries.is_second => {
                if once_more {
                    self.note_second_death(&ended); // Else its process is there still.
                }
                false
            }
            Some(End::Died { once_more }) => {
                tries.is_second = once_more && ended.may_repeat && self.may_try_again(&ended);
                tries.is_second
            }
        };
        tries.left = is_again.then(|| ended.instance.clone());
        is_again
    }

    fn may_try_again(&self, ended: &Ended<'_>) -> bool {
        let now = Instant::now();
        let is_paused =
            self.budgets().get(&ended.name()).is_some_and(|budget| budget.is_paused(now));
        if is_paused || ended.call.deadline <= now {
            return false;
        }
        let Target { region, endpoint, .. } = ended.target;
        let labels = meter::labels(region, endpoint, ended.variant);
        let help = "Calls that were tried once more, for their worker died.";
        self.registry.counter("sagebrush_retried_calls_total", help, labels).add(1);
        tracing::warn!(
            %endpoint, variant = &*ended.variant.name, instance = ended.instance.id,
            request = &*ended.call.request_id, reason = %ended.error,
            "a call is tried once more, for its worker died"
        );
        true
    }

    fn note_second_death(&self, ended: &Ended<'_>) {
        let now = Instant::now();
        let mut budgets = self.budgets();
        budgets.retain(|_, budget| budget.is_of_use(now));
        if budgets.entry(ended.name()).or_default().note_death(now) {
            tracing::warn!(
                endpoint = %ended.target.endpoint, variant = &*ended.variant.name,
                "workers die with calls that are tried once more: none is for {} s",
                PAUSE.as_secs()
            );
        }
    }

    fn budgets(&self) -> MutexGuard<'_, HashMap<Name, Budget>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended<'_> {
    fn name(&self) -> Name {
        (self.target.region.clone(), self.target.endpoint.clone(), self.variant.clone())
    }
}

/// Whether a call whose worker was gone goes on; returns when the routes name the worker no more,
/// or at the end of its wait.
async fn gone(tries: &mut Tries, routes: &mut Routes, ended: &Ended<'_>) -> bool {
    let Some(wait) = GONE_WAITS.get(tries.n_gone) else { return false };
    tries.n_gone += 1;
    let until = ended.call.deadline.min(Instant::now() + *wait);
    let is_out = |table: &RouteTable| !has(table, ended.target, ended.instance);
    drop(timeout_at(until, routes.wait_for(is_out)).await);
    true
}

/// Whether the endpoint's calls go to the instance.
fn has(table: &RouteTable, target: &Target, instance: &Arc<Instance>) -> bool {
    let route = table.find(&target.region, &target.endpoint);
    let variants = route.into_iter().flat_map(|route| &route.variants);
    variants.flat_map(|variant| &variant.instances).any(|one| Arc::ptr_eq(one, instance))
}

/// How a worker ended that was to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Before the call reached the model's code.
    Gone,
    /// With the call.
    Died { once_more: bool },
}

impl End {
    fn of(error: &WorkerError) -> Option<Self> {
        match error {
            WorkerError::Gone { .. } => Some(Self::Gone),
            WorkerError::Died { once_more, .. } => Some(Self::Died { once_more: *once_more }),
            WorkerError::At { error, .. } => Self::of(error),
            WorkerError::Model { .. }
            | WorkerError::TimedOut
            | WorkerError::Invalid { .. }
            | WorkerError::NotReady { .. } => None,
        }
    }
}

/// Whether the worker ended before it answered.
pub(crate) fn has_ended(error: &WorkerError) -> bool {
    End::of(error).is_some()
}
