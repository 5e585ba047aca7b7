//! The calls of a job: to which instance, how many at once, and how often again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::fleet::{FleetView, GroupKey, InstanceState};
use sagebrush_core::instance::{Admitted, Instance};
use sagebrush_core::trace::{Kind, Open, SpanContext, Tracer};
use sagebrush_core::worker::{
    BatchStrategy, Call, ExecutionParameters, Payload, Reply, WorkerError,
};
use sagebrush_records::{Batch, Strategy};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::Work;
use super::progress::Progress;

/// SageMaker's default of `MaxPayloadInMB`.
const MAX_PAYLOAD_MB: u32 = 6;
/// SageMaker API: `MaxConcurrentTransforms * MaxPayloadInMB`.
pub(super) const MAX_UNDER_WAY_MB: u32 = 100;

/// How long a call waits before it is tried again: each time four times as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How long a call waits for room that nothing tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How a job calls its model: by the request, else by the container, else by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameters {
    /// On each instance.
    pub(super) max_concurrent: u32,
    pub(super) max_payload_mb: u32,
    pub(super) strategy: Strategy,
}

impl Parameters {
    /// Where nobody says how many calls may be made at once, as many as the worker answers at
    /// once: what is written does not depend on it.
    pub(super) fn of(work: &Work, of_container: ExecutionParameters, concurrency: usize) -> Self {
        let of_batch = |strategy| match strategy {
            BatchStrategy::MultiRecord => Strategy::MultiRecord,
            BatchStrategy::SingleRecord => Strategy::SingleRecord,
        };
        let max_payload_mb =
            work.max_payload_mb.or(of_container.max_payload_mb).unwrap_or(MAX_PAYLOAD_MB);
        let most = MAX_UNDER_WAY_MB.checked_div(max_payload_mb).unwrap_or(1).max(1);
        let usual = u32::try_from(concurrency).unwrap_or(u32::MAX).clamp(1, most);
        let given = work.max_concurrent.or(of_container.max_concurrent_transforms);
        Self {
            max_concurrent: given.filter(|given| *given > 0).unwrap_or(usual),
            max_payload_mb,
            strategy: work
                .strategy
                .or_else(|| of_container.batch_strategy.map(of_batch))
                .unwrap_or_default(),
        }
    }

    /// As the API and the environment of a container have it.
    pub(super) fn strategy_word(&self) -> &'static str {
        strategy_word(self.strategy)
    }
}

pub(super) fn strategy_word(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::MultiRecord => "MULTI_RECORD",
        Strategy::SingleRecord => "SINGLE_RECORD",
    }
}

/// Makes the calls of one job.
pub(super) struct Calls {
    pub(super) view: watch::Receiver<Arc<FleetView>>,
    pub(super) group: GroupKey,
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) timeout: Duration,
    pub(super) max_retries: u32,
    /// On each instance.
    pub(super) max_concurrent: usize,
    /// As many as may be under way on all instances.
    pub(super) places: Arc<Semaphore>,
    /// Held while an instance is chosen, so that two calls do not take one place.
    pub(super) choice: Mutex<()>,
    /// Of the job, if it is traced.
    pub(super) trace: Option<(Tracer, SpanContext)>,
}

impl Calls {
    /// Has the model answer a payload of the object `input`.
    pub(super) async fn answer(
        &self,
        input: &str,
        batch: &Batch,
        progress: &Progress,
    ) -> Result<Reply, WorkerError> {
        let _place = self.places.acquire().await; // Never closed.
        let mut trace = self
            .trace
            .as_ref()
            .and_then(|(tracer, job)| tracer.go_on(Kind::Internal, "payload", *job, None));
        if let Some(trace) = &mut trace {
            trace.set("sagebrush.input", input);
            trace.set("sagebrush.records", i64::try_from(batch.n_records).unwrap_or(i64::MAX));
        }
        let mut wait = FIRST_WAIT;
        let mut retries = 0;
        loop {
            let error = match self.answer_once(batch, trace.as_deref()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if retries >= self.max_retries || !may_pass(&error) {
                if let Some(trace) = &mut trace {
                    trace.fail("ModelError");
                }
                return Err(error);
            }
            retries += 1;
            progress.tries_again(input, &error.to_string());
            tokio::time::sleep(wait).await;
            wait *= 4;
        }
    }

    async fn answer_once(&self, batch: &Batch, trace: Option<&Open>) -> Result<Reply, WorkerError> {
        let admitted = self.admitted(batch.payload.len()).await;
        let call = Call {
            payload: Payload {
                content_type: self.content_type.clone(),
                body: batch.payload.clone(),
            },
            accept: self.accept.clone(),
            headers: trace.map(|trace| trace.context().headers(None)).unwrap_or_default(),
            target_model: None,
            target_container: None,
            request_id: Uuid::new_v4().to_string().into(),
            deadline: Instant::now() + self.timeout,
        };
        let answered = admitted.answer(call).await;
        answered.map_err(|_no_turn| WorkerError::TimedOut)?.outcome
    }

    /// A place on the instance with the fewest calls, once there is one. If no instance comes
    /// back, the reconciler ends the job.
    async fn admitted(&self, bytes: usize) -> Admitted {
        let mut view = self.view.clone();
        loop {
            view.mark_unchanged();
            if let Some(admitted) = self.try_admit(&view.borrow(), bytes) {
                return admitted;
            }
            let _changed = tokio::time::timeout(LOOK_AGAIN, view.changed()).await;
        }
    }

    fn try_admit(&self, view: &FleetView, bytes: usize) -> Option<Admitted> {
        let _choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = view.get(&self.group).into_iter().flatten().filter_map(InstanceState::ready);
        let has_room = |instance: &&Arc<Instance>| instance.outstanding() < self.max_concurrent;
        let instance = ready.filter(has_room).min_by_key(|instance| instance.outstanding())?;
        instance.admit(bytes, Instant::now() + self.timeout).ok()
    }
}

/// Whether the same payload may be answered when it is sent again.
fn may_pass(error: &WorkerError) -> bool {
    match error {
        WorkerError::Model { status, .. } => *status >= 500 || *status == 429,
        WorkerError::TimedOut
        | WorkerError::NotReady { .. }
        | WorkerError::Died { .. }
        | WorkerError::Gone { .. } => true,
        WorkerError::Invalid { .. } => false,
        WorkerError::At { error, .. } => may_pass(error),
    }
}
