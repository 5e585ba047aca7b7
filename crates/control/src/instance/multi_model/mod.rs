//! One container with any number of models (`Mode: MultiModel`): each is loaded by the first call
//! that names it, and unloaded when its memory is needed.
//!
//! The way of a call:
//! 1. [`target`] checks the name and finds which version of which object it is now;
//! 2. [`cache`] has that version, or lets one task load it while all who want it wait;
//! 3. [`life`] is that task: it fetches, waits for room, loads, and unloads in the end;
//! 4. [`ledger`] knows who uses what, and says who has to go. Pure.
//!
//! A model in use is never unloaded. Memory is free again only when its model's `stop` is done.

mod cache;
mod failure;
mod ledger;
mod life;
mod meter;
mod settings;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::join_all;
use sagebrush_core::task;
use sagebrush_core::worker::{
    Call, LaunchSpec, ModelHost, Reply, StreamedReply, Usage, Worker, WorkerError,
};
use tokio::time::{Instant, timeout_at};

use super::parts::ask;
use cache::{Cache, Held};

pub(super) use meter::Meter;
pub(super) use settings::Settings;
pub(super) use target::Models;

/// How many calls a container has at once, those included that wait for their model.
const MAX_CALLS: usize = 256;

/// How long the load of a pinned model is waited for before the next one's begins.
const PIN_WAIT: Duration = Duration::from_secs(360);

/// Answers the calls of all models of a container.
pub(super) struct MultiModelWorker {
    cache: Arc<Cache>,
}

impl MultiModelWorker {
    /// Begins to load the pinned models, and does not wait for them.
    pub(super) fn start(
        host: Arc<dyn ModelHost>,
        models: Models,
        settings: Settings,
        meter: Meter,
        spec: LaunchSpec,
    ) -> Self {
        let cache = Cache::new(host, models, settings, meter, spec);
        if !cache.settings.pinned.is_empty() {
            task::spawn("pinned-models", load_pinned(cache.clone()));
        }
        Self { cache }
    }

    async fn answer(&self, call: Call) -> Result<Reply, WorkerError> {
        let target = named(&call)?;
        let held = self.cache.model(&target, call.deadline).await?;
        match ask_held(&held, call.clone()).await {
            Err(WorkerError::Gone { .. }) => held.bury(),
            outcome => return outcome,
        }
        let held = self.cache.model(&target, call.deadline).await?;
        match ask_held(&held, call).await {
            Err(WorkerError::Gone { reason }) => Err(self.gone_again(held, reason)),
            outcome => outcome,
        }
    }

    async fn answer_in_parts(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let target = named(&call)?;
        let held = self.cache.model(&target, call.deadline).await?;
        match stream_held(held, call.clone()).await {
            Err((held, WorkerError::Gone { .. })) => held.bury(),
            outcome => return outcome.map_err(|(_, error)| error),
        }
        let held = self.cache.model(&target, call.deadline).await?;
        match stream_held(held, call).await {
            Err((held, WorkerError::Gone { reason })) => Err(self.gone_again(held, reason)),
            outcome => outcome.map_err(|(_, error)| error),
        }
    }

    /// What a call is told whose model was gone twice in a row.
    fn gone_again(&self, held: Held, reason: String) -> WorkerError {
        if self.has_ended() {
            return WorkerError::Gone { reason };
        }
        // It is the model that ends, and another instance would not help.
        held.bury();
        WorkerError::Model { status: 500, message: reason, content_type: None }
    }

    fn has_ended(&self) -> bool {
        self.cache.host.ended().now_or_never().is_some()
    }
}

#[async_trait]
impl Worker for MultiModelWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        join_all(calls.into_iter().map(|call| self.answer(call))).await
    }

    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        self.answer_in_parts(call).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        let ended = self.cache.host.ended().now_or_never();
        ended.map_or(Ok(()), |reason| Err(WorkerError::Gone { reason }))
    }

    /// Calls that wait for a load must not keep out those of other models: each model has a limit
    /// of its own.
    fn concurrency(&self) -> usize {
        MAX_CALLS
    }

    fn memory(&self) -> u64 {
        self.cache.bytes()
    }

    fn usage(&self) -> Option<Usage> {
        self.cache.host.usage().or_else(|| self.cache.usage())
    }

    async fn ended(&self) -> String {
        self.cache.host.ended().await
    }

    fn image(&self) -> Option<String> {
        self.cache.host.image()
    }

    async fn stop(&self, deadline: Instant) {
        self.cache.set_stopping();
        self.cache.host.stop(deadline).await;
        self.cache.stopped.send_replace(true);
        if timeout_at(deadline, self.cache.emptied()).await.is_err() {
            tracing::warn!(worker = self.cache.spec.name, "some models were cut off");
        }
    }
}

/// Waits for its turn on the model.
async fn ask_held(held: &Held, call: Call) -> Result<Reply, WorkerError> {
    let turn = timeout_at(call.deadline, held.loaded.turns.acquire()).await;
    let _turn = turn.map_err(|_| WorkerError::TimedOut)?;
    ask(&*held.loaded.worker, call).await
}

/// As [`ask_held`], in parts: the model and the turn are held until the last of them.
async fn stream_held(held: Held, call: Call) -> Result<StreamedReply, (Held, WorkerError)> {
    let turn = timeout_at(call.deadline, held.loaded.turns.clone().acquire_owned()).await;
    let Ok(turn) = turn else { return Err((held, WorkerError::TimedOut)) };
    match held.loaded.worker.stream(call).await {
        Ok(reply) => Ok(reply.holding((turn, held))),
        Err(error) => Err((held, error)),
    }
}

/// The model that a call names.
fn named(call: &Call) -> Result<String, WorkerError> {
    let Some(target) = call.target_model.clone() else {
        let message = "The request names no TargetModel: this endpoint has several models.";
        return Err(WorkerError::Invalid { message: message.to_owned() });
    };
    target::check(&target)?;
    Ok(target)
}

async fn load_pinned(cache: Arc<Cache>) {
    for target in &cache.settings.pinned {
        let outcome = cache.model(target, Instant::now() + PIN_WAIT).await;
        let is_coming = matches!(outcome, Err(WorkerError::NotReady { .. }));
        if let Err(error) = outcome
            && !is_coming
        {
            let line = format!("ERROR The pinned model {target} is not loaded: {error}");
            cache.spec.log.write(&cache.spec.log_stream, &line);
        }
    }
}
