//! Brings endpoints from what is seen to what is wanted: reads both, calls `plan`, carries out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::alarms::Alarms;
use sagebrush_core::fleet::{Fleet, FleetError, FleetView, GroupKey, Owner};
use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::route::RoutesSender;
use sagebrush_core::store::StoreError;
use sagebrush_core::trace::Tracer;
use sagebrush_core::{Clock, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Endpoint;
use super::events::{Herald, log_change};
use super::plan::{Sight, Step, Wanted, plan};
use super::probe::Prober;
use super::replay::Samples;
use super::routes::{Ground, route_table};
use super::scaler::{IdleAfter, Scaled, Scaler};
use super::trace::Deployments;
use crate::Control;

/// How long the instances of an old fleet may take over the calls that they have.
const DRAIN: Duration = Duration::from_secs(60);

/// When nothing wakes the reconciler it looks by itself: a failed write is tried again then.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Settles endpoints. An activation takes no input and may be killed between any two steps.
pub struct Reconciler {
    endpoints: Table<Endpoint>,
    fleet: Arc<dyn Fleet>,
    routes: RoutesSender,
    wake: Arc<Notify>,
    /// Counts the states written; `DescribeEndpoint` waits on it.
    settled: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    alarms: Arc<dyn Alarms>,
    /// When this reconciler was made.
    since: Timestamp,
    scaler: Scaler,
    prober: Prober,
    samples: Samples,
    herald: Herald,
    deployments: Deployments,
}

impl Reconciler {
    pub(crate) fn new(
        control: &Control,
        routes: RoutesSender,
        settled: watch::Sender<u64>,
    ) -> Self {
        let (wake, clock) = (control.wake.clone(), control.clock.clone());
        let events = control.watched.events.clone();
        Self {
            endpoints: control.endpoints.clone(),
            fleet: control.fleet.clone(),
            routes,
            settled,
            alarms: control.watched.alarms.clone(),
            since: clock.now(),
            scaler: Scaler::new(wake.clone()),
            prober: Prober::new(wake.clone()),
            samples: Samples::default(),
            herald: Herald::new(events, control.account.clone(), clock.clone()),
            deployments: Deployments::default(),
            wake,
            clock,
        }
    }

    /// With other times after which instances go that no call needs.
    #[must_use]
    pub fn with_idle_after(mut self, idle_after: IdleAfter) -> Self {
        self.scaler.idle_after = idle_after;
        self
    }

    /// Has deployments traced.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.deployments.tracer = tracer;
        self
    }

    /// Reconciles until the task is dropped.
    pub async fn run(mut self) {
        let mut fleet = self.fleet.watch();
        let mut alarms = self.alarms.changes();
        loop {
            let seen = fleet.borrow_and_update().clone();
            alarms.borrow_and_update();
            let look_at = match self.activate(&seen).await {
                Ok(look_at) => look_at,
                Err(error) => {
                    tracing::warn!(%error, "settling endpoints failed"); // Tried again below.
                    None
                }
            };
            let latest = Instant::now() + LOOK_AFTER;
            let look_at = look_at.map_or(latest, |look_at| look_at.min(latest));
            tokio::select! {
                () = self.wake.notified() => {}
                changed = fleet.changed() => if changed.is_err() { return },
                () = changed(&mut alarms) => {}
                () = tokio::time::sleep_until(look_at) => {}
            }
        }
    }

    /// Looks at every endpoint once and takes the next step of each. Returns when the next look is
    /// due, if one is.
    async fn activate(&mut self, seen: &FleetView) -> Result<Option<Instant>, SettleError> {
        let all = self.endpoints.all().await?;
        self.herald.look(&all, seen);
        let probed = self.prober.look(&all, seen, &self.samples);
        let now = self.clock.now();
        let (mut endpoints, mut look_at) = (Vec::new(), None::<Timestamp>);
        for endpoint in all {
            let alarms = &*self.alarms;
            let sight =
                Sight { fleet: seen, probed: &probed, alarms, now, watched_since: self.since };
            let step = plan(&Wanted::of(&endpoint), &sight);
            if let Step::StayUntil(until) = step {
                look_at = look_at.into_iter().chain([until]).min();
            }
            endpoints.extend(self.take_step(endpoint, step, seen).await?);
        }
        self.deployments.look(&endpoints);
        let scaled = self.scaler.look(&endpoints, seen, Instant::now());
        // The routes name the new fleet before the old one is drained: no call is lost.
        self.samples.look(&endpoints, Instant::now());
        let (scaler, samples) = (&self.scaler, &self.samples);
        let ground = Ground { seen, probed: &probed, scaler, samples };
        self.routes.publish(route_table(&endpoints, &ground));
        self.settle_fleet(&endpoints, seen, &scaled).await?;
        let look_at = look_at.map(|at| Instant::now() + at.since(self.clock.now()));
        Ok(look_at.into_iter().chain(scaled.look_at).min())
    }

    /// Writes the endpoint's next state. Returns it as it is now, or `None` if it is gone.
    async fn take_step(
        &mut self,
        before: Stored<Endpoint>,
        step: Step,
        seen: &FleetView,
    ) -> Result<Option<Stored<Endpoint>>, StoreError> {
        let outcome = match step {
            Step::Stay | Step::StayUntil(_) => return Ok(Some(before)),
            Step::Remove => self.endpoints.remove(&before).await.map(|()| None),
            Step::Become(status) => {
                let after = Stored { status, ..before.clone() };
                self.endpoints.update(after).await.map(Some)
            }
        };
        match outcome {
            Err(StoreError::Conflict { .. }) => {
                self.wake.notify_one(); // The client was quicker: look again.
                Ok(Some(before))
            }
            Err(error) => Err(error),
            Ok(after) => {
                log_change(&before, after.as_ref());
                match &after {
                    Some(after) => self.herald.tell(after, seen),
                    None => self.herald.tell_gone(&before, seen),
                }
                self.settled.send_modify(|n_changes| *n_changes += 1);
                self.wake.notify_one(); // The new state may have a next step.
                Ok(after)
            }
        }
    }

    /// Applies the groups that some endpoint needs, and drains the others.
    async fn settle_fleet(
        &self,
        endpoints: &[Stored<Endpoint>],
        seen: &FleetView,
        scaled: &Scaled,
    ) -> Result<(), SettleError> {
        let groups = endpoints.iter().flat_map(|endpoint| Wanted::of(endpoint).groups());
        let mut groups: Vec<_> = groups.collect();
        for group in &mut groups {
            group.instance_count =
                scaled.counts.get(&group.key).copied().unwrap_or(group.instance_count);
            self.fleet.apply_group(group).await?;
        }
        let needed: BTreeSet<_> = groups.iter().map(|group| &group.key).collect();
        let is_ours = |key: &&GroupKey| key.owner == Owner::Endpoint;
        let unneeded = seen.keys().filter(is_ours).filter(|key| !needed.contains(key));
        for key in unneeded.chain(&scaled.gone) {
            self.fleet.delete_group(key, DRAIN).await?;
        }
        Ok(())
    }
}

impl<'a> Wanted<'a> {
    pub(super) fn of(endpoint: &'a Stored<Endpoint>) -> Self {
        Self {
            region: &endpoint.region,
            name: &endpoint.name,
            deployment: &endpoint.spec.wanted,
            state: &endpoint.status,
        }
    }
}

/// Returns with the next change of an alarm; never, when there will be none.
async fn changed(alarms: &mut watch::Receiver<u64>) {
    if alarms.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why an activation ended early; the next one tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
}
