//! Brings transform jobs from what is seen to what is wanted: reads both, calls `plan`, carries
//! out. While a job is in progress it has a group of instances and a run, and afterwards neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sagebrush_core::events::EventSink;
use sagebrush_core::fleet::{FleetError, FleetView, GroupKey, Owner};
use sagebrush_core::logs::LogSink;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::ObjectStore;
use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::store::{Query, StoreError};
use sagebrush_core::trace::Tracer;
use sagebrush_core::{AccountId, Clock, task};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::done::Done;
use super::events::state_change;
use super::owned::Owned;
use super::plan::{Outcome, Seen, plan};
use super::run::{Means, run};
use super::{State, TransformJob};
use crate::Control;

/// How long the instances of an ended job may take over calls that nobody waits for any more.
const DRAIN: Duration = Duration::from_secs(2);

/// When nothing wakes the reconciler it looks by itself: a failed write is tried again then.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Settles transform jobs. An activation may be killed between any two steps.
pub struct Reconciler {
    jobs: Table<TransformJob>,
    means: Means,
    clock: Arc<dyn Clock>,
    account: AccountId,
    events: Arc<dyn EventSink>,
    wake: Arc<Notify>,
    settled: Arc<watch::Sender<u64>>,
    /// By the group that works for it.
    runs: BTreeMap<GroupKey, Run>,
}

/// The run of a job in progress; it ends when this is dropped.
struct Run {
    outcome: Arc<OnceLock<Outcome>>,
    _task: Owned<()>,
}

impl Reconciler {
    #[must_use]
    pub fn new(
        control: &Control,
        objects: Arc<dyn ObjectStore>,
        log: Arc<dyn LogSink>,
        metrics: Registry,
    ) -> Self {
        let done = Done(control.written_outputs.clone());
        let fleet = control.fleet.clone();
        let (clock, authorizer) = (control.clock.clone(), control.authorizer.clone());
        Self {
            jobs: control.transform_jobs.clone(),
            means: Means {
                objects,
                authorizer,
                fleet,
                log,
                metrics,
                clock,
                done,
                tracer: Tracer::default(),
            },
            clock: control.clock.clone(),
            account: control.account.clone(),
            events: control.watched.events.clone(),
            wake: control.transform_wake.clone(),
            settled: control.transform_settled.clone(),
            runs: BTreeMap::new(),
        }
    }

    /// Has jobs traced.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.means.tracer = tracer;
        self
    }

    /// Reconciles until the task is dropped, and all runs with it.
    pub async fn run(mut self) {
        let mut fleet = self.means.fleet.watch();
        if let Err(error) = self.forget_ended().await {
            tracing::warn!(%error, "reading transform jobs failed");
        }
        loop {
            let seen = fleet.borrow_and_update().clone();
            if let Err(error) = self.activate(&seen).await {
                tracing::warn!(%error, "settling transform jobs failed"); // Tried again below.
            }
            tokio::select! {
                () = self.wake.notified() => {}
                changed = fleet.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AFTER) => {}
            }
        }
    }

    /// Looks at every job that has not ended and takes its next step.
    async fn activate(&mut self, seen: &FleetView) -> Result<(), SettleError> {
        let mut in_progress = BTreeSet::new();
        for job in self.unsettled().await? {
            let key = job.spec.group(&job.region, &job.name).key;
            if let Some(job) = self.take_step(job, seen).await? {
                self.means.fleet.apply_group(&job.spec.group(&job.region, &job.name)).await?;
                self.begin(job, &key);
                in_progress.insert(key);
            }
        }
        self.runs.retain(|key, _| in_progress.contains(key));
        let is_over =
            |key: &&GroupKey| key.owner == Owner::TransformJob && !in_progress.contains(*key);
        for key in seen.keys().filter(is_over) {
            self.means.fleet.delete_group(key, DRAIN).await?;
        }
        Ok(())
    }

    /// The jobs that have not ended.
    async fn unsettled(&self) -> Result<Vec<Stored<TransformJob>>, StoreError> {
        let mut jobs = Vec::new();
        for state in [State::InProgress, State::Stopping] {
            let query = Query { status: Some(state.word().to_owned()), ..Query::default() };
            jobs.extend(self.jobs.list(&query).await?.0);
        }
        Ok(jobs)
    }

    /// Writes the job's next status, if it changes. Returns the job if it is in progress then.
    async fn take_step(
        &self,
        before: Stored<TransformJob>,
        seen: &FleetView,
    ) -> Result<Option<Stored<TransformJob>>, StoreError> {
        let key = before.spec.group(&before.region, &before.name).key;
        let run = self.runs.get(&key);
        let step = plan(&Seen {
            status: &before.status,
            instance_count: before.spec.instance_count,
            instances: seen.get(&key).map_or(&[][..], Vec::as_slice),
            outcome: run.and_then(|run| run.outcome.get()),
            now: self.clock.now(),
        });
        let Some(status) = step else { return Ok(Some(before)) };
        let after = match self.jobs.update(Stored { status, ..before.clone() }).await {
            Ok(after) => after,
            Err(StoreError::Conflict { .. }) => {
                self.wake.notify_one(); // The client was quicker: look again.
                return Ok(Some(before));
            }
            Err(error) => return Err(error),
        };
        log_change(&before, &after);
        self.events.emit(state_change(&self.account, &after, self.clock.now()));
        self.settled.send_modify(|n_changes| *n_changes += 1);
        if !after.status.state.is_final() {
            return Ok(Some(after));
        }
        let done = self.means.done.clone();
        forget(async move { done.forget(&after.spec.revision).await });
        Ok(None)
    }

    /// Begins the run of a job that has none: a new one, or one of before a restart.
    fn begin(&mut self, job: Stored<TransformJob>, key: &GroupKey) {
        if self.runs.contains_key(key) {
            return;
        }
        let outcome = Arc::new(OnceLock::new());
        let (means, wake, told) = (self.means.clone(), self.wake.clone(), outcome.clone());
        let task = Owned::spawn("transform-job", async move {
            // Boxed, so that the task is small while it waits for its instances.
            let outcome = Owned::spawn("transform-run", Box::pin(run(means, job))).await;
            let crashed = |error| Err(format!("The transform job crashed: {error}"));
            let _only_once = told.set(outcome.unwrap_or_else(crashed));
            wake.notify_one();
        });
        self.forget_series();
        self.runs.insert(key.clone(), Run { outcome, _task: task });
    }

    /// Drops the metrics of jobs that have ended: they stay until the next one begins.
    fn forget_series(&self) {
        self.means.metrics.retain(|labels| match labels.as_slice() {
            [("region", region), ("transform_job", job), ..] => self
                .runs
                .keys()
                .any(|key| key.region.as_str() == region.as_str() && key.name == *job),
            _ => true,
        });
    }

    async fn forget_ended(&self) -> Result<(), StoreError> {
        let jobs = self.unsettled().await?;
        let in_progress = jobs.into_iter().map(|job| job.spec.revision).collect();
        // What begins after this has revisions that sort behind it.
        let (done, before) = (self.means.done.clone(), Uuid::now_v7().simple().to_string());
        forget(async move { done.forget_all_but(&in_progress, &before).await });
        Ok(())
    }
}

/// Removes rows in a task of its own, for there may be many. What is cut off is done at the next
/// start.
fn forget(forgetting: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
    task::spawn("transform-forget", async move {
        if let Err(error) = forgetting.await {
            tracing::warn!(%error, "what ended transform jobs wrote was not forgotten");
        }
    });
}

fn log_change(before: &Stored<TransformJob>, after: &Stored<TransformJob>) {
    let (job, from) = (&before.name, before.status.state.word());
    match &after.status.state {
        State::Failed { reason } => tracing::error!(%job, from, %reason, "transform job failed"),
        State::InProgress => tracing::info!(%job, "transform job started"),
        state @ (State::Completed | State::Stopping | State::Stopped) => {
            tracing::info!(%job, from, to = state.word(), "transform job changed");
        }
    }
}

/// Why an activation ended early; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
}
