//! The models that a multi-model container has in memory: who gets one, who waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchSpec, ModelHost, Usage, Worker, WorkerError};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, Failures};
use super::ledger::{Claim, Id, Ledger};
use super::life;
use super::target::{Found, Models};
use super::{Meter, Settings};

/// How long a call waits for its model. The load goes on when the call gives up.
///
/// SageMaker: a call answers within 60 s, with `ModelNotReadyException` while its model is loaded.
const READY_WAIT: Duration = Duration::from_secs(60);

/// How long before its deadline a call gives up, so that it can still say why.
const MARGIN: Duration = Duration::from_millis(250);

/// How many calls wait for one model at most: those of other models need places, too.
const MAX_WAITING: usize = super::MAX_CALLS / 2;

/// The sizes of so many targets are remembered.
const MOST_SIZES: usize = 10_000;

/// What the calls, the loads and the unloads of one container share.
pub(super) struct Cache {
    pub(super) host: Arc<dyn ModelHost>,
    pub(super) models: Models,
    pub(super) settings: Settings,
    pub(super) meter: Meter,
    /// Of the container, for its log.
    pub(super) spec: LaunchSpec,
    state: Mutex<State>,
    /// Told whenever memory or a model may have become free.
    pub(super) room: Notify,
    /// True once the host has ended its models.
    pub(super) stopped: watch::Sender<bool>,
}

pub(super) struct State {
    pub(super) ledger: Ledger<Arc<Resident>>,
    pub(super) failures: Failures,
    /// What each target took when it was loaded last.
    sizes: HashMap<Arc<str>, u64>,
    /// What models computed that are gone.
    computed: Duration,
    is_stopping: bool,
}

/// A model on its way in, in memory, or on its way out.
pub(super) struct Resident {
    pub(super) key: Arc<str>,
    pub(super) id: Id,
    pub(super) target: Arc<str>,
    pub(super) news: watch::Sender<News>,
    /// Told when it may be due.
    pub(super) wake: Notify,
}

/// How far a model is.
pub(super) enum News {
    Loading,
    Ready(Arc<Loaded>),
    Failed(Failure),
    /// Its memory is free.
    Gone,
}

/// A model in memory.
pub(super) struct Loaded {
    pub(super) worker: Arc<dyn Worker>,
    pub(super) files: Arc<dyn ArtifactLease>,
    /// As many permits as it takes calls at once.
    pub(super) turns: Arc<Semaphore>,
}

impl State {
    pub(super) fn size(&self, target: &str) -> u64 {
        self.sizes.get(target).copied().unwrap_or(0)
    }

    pub(super) fn note_size(&mut self, target: &Arc<str>, bytes: u64) {
        if self.sizes.len() >= MOST_SIZES {
            self.sizes.clear();
        }
        self.sizes.insert(target.clone(), bytes);
    }

    /// Counts what a model has computed on that is forgotten.
    pub(super) fn note_gone(&mut self, loaded: &Loaded) {
        self.computed += loaded.worker.usage().unwrap_or_default().cpu;
    }
}

impl Loaded {
    /// The memory that it takes; its files' size where it does not know.
    pub(super) fn bytes(&self) -> u64 {
        match self.worker.memory() {
            0 => self.files.bytes(),
            known => known,
        }
    }
}

impl Resident {
    pub(super) fn bytes(&self) -> Option<u64> {
        self.loaded().map(|loaded| loaded.bytes())
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        match &*self.news.borrow() {
            News::Ready(loaded) => Some(loaded.clone()),
            News::Loading | News::Failed(_) | News::Gone => None,
        }
    }
}

impl Cache {
    pub(super) fn new(
        host: Arc<dyn ModelHost>,
        models: Models,
        settings: Settings,
        meter: Meter,
        spec: LaunchSpec,
    ) -> Arc<Self> {
        let state = State {
            ledger: Ledger::new(settings.room, settings.keeps_models),
            failures: Failures::default(),
            sizes: HashMap::new(),
            computed: Duration::ZERO,
            is_stopping: false,
        };
        let (state, room, stopped) = (Mutex::new(state), Notify::new(), watch::Sender::new(false));
        Arc::new(Self { host, models, settings, meter, spec, state, room, stopped })
    }

    /// The model that `target` names now, loaded; it stays while the lease is held.
    pub(super) async fn model(
        self: &Arc<Self>,
        target: &str,
        deadline: Instant,
    ) -> Result<Held, WorkerError> {
        let began = Instant::now();
        let limit = deadline.checked_sub(MARGIN).unwrap_or(deadline).min(began + READY_WAIT);
        let mut waited = false;
        let outcome = timeout_at(limit, self.newest(target, &mut waited)).await;
        if waited {
            self.meter.misses.add(1);
            self.meter.loading_wait.observe(began.elapsed());
        } else if matches!(outcome, Ok(Ok(_))) {
            self.meter.hits.add(1);
        }
        outcome.unwrap_or_else(|_| {
            let message = format!(
                "The model {target} is being loaded and not ready yet. Try again in some seconds."
            );
            Err(WorkerError::NotReady { message })
        })
    }

    async fn newest(
        self: &Arc<Self>,
        target: &str,
        waited: &mut bool,
    ) -> Result<Held, WorkerError> {
        loop {
            let found = self.models.find(target).await;
            let found = found.map_err(|error| Failure::from(error).answer(target))?;
            match self.claim(target, found)? {
                Claimed::Ready(held) => return Ok(held),
                Claimed::Coming(lease) => {
                    *waited = true;
                    match lease.arrived().await {
                        Ok(held) => return Ok(held),
                        Err(Failure::Overwritten) => {}
                        Err(failure) => return Err(failure.answer(target)),
                    }
                }
                Claimed::Leaving(resident) => {
                    *waited = true;
                    left(&resident).await;
                }
            }
        }
    }

    fn claim(self: &Arc<Self>, target: &str, found: Found) -> Result<Claimed, WorkerError> {
        let key: Arc<str> = found.version.into();
        let is_pinned = self.settings.pinned.iter().any(|pinned| pinned == target);
        let mut state = self.state();
        if state.is_stopping {
            return Err(Failure::Stopping.answer(target));
        }
        if let Some(failure) = state.failures.of(&key) {
            return Err(failure.answer(target));
        }
        let new = |id| Arc::new(Resident::new(key.clone(), id, target));
        let (claim, older) = state.ledger.claim(&key, target, is_pinned, MAX_WAITING, new);
        drop(state);
        older.iter().for_each(|resident| resident.wake.notify_one());
        let lease = |resident| Lease { cache: self.clone(), resident };
        match claim {
            Claim::Hit(resident) => Ok(Lease::ready(lease(resident))),
            Claim::Loading(resident) => Ok(Claimed::Coming(lease(resident))),
            Claim::New(resident) => {
                let lease = lease(resident.clone());
                task::spawn("model", life::live(self.clone(), resident, found.source));
                Ok(Claimed::Coming(lease))
            }
            Claim::Leaving(resident) => Ok(Claimed::Leaving(resident)),
            Claim::Crowded => Err(WorkerError::NotReady {
                message: format!("Too many calls wait for the model {target}, which is loaded."),
            }),
        }
    }

    /// The bytes of all models in memory.
    pub(super) fn bytes(&self) -> u64 {
        let mut state = self.state();
        state.ledger.measure(|resident| resident.bytes());
        state.ledger.bytes()
    }

    /// What all models take that are in memory, and what those computed that are gone; `None` if
    /// no model ever told it.
    pub(super) fn usage(&self) -> Option<Usage> {
        let state = self.state();
        let loaded = state.ledger.models().filter_map(|resident| resident.loaded());
        let gone = Usage { cpu: state.computed, memory_bytes: 0 };
        let gone = (!gone.cpu.is_zero()).then_some(gone);
        loaded.filter_map(|loaded| loaded.worker.usage()).chain(gone).reduce(Usage::plus)
    }

    /// From now on nothing is loaded.
    pub(super) fn set_stopping(&self) {
        self.state().is_stopping = true;
    }

    /// Returns when the last model is gone.
    pub(super) async fn emptied(&self) {
        loop {
            let changed = self.room.notified();
            if self.state().ledger.is_empty() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resident {
    fn new(key: Arc<str>, id: Id, target: &str) -> Self {
        let news = watch::Sender::new(News::Loading);
        Self { key, id, target: target.into(), news, wake: Notify::new() }
    }
}

/// Waits until a model's memory is free.
async fn left(resident: &Resident) {
    let mut news = resident.news.subscribe();
    let is_gone = |news: &News| matches!(news, News::Failed(_) | News::Gone);
    drop(news.wait_for(is_gone).await);
}

enum Claimed {
    Ready(Held),
    Coming(Lease),
    Leaving(Arc<Resident>),
}

/// The right to a model that may still be on its way.
struct Lease {
    cache: Arc<Cache>,
    resident: Arc<Resident>,
}

/// A model in memory, which stays there while this is held.
pub(super) struct Held {
    pub(super) loaded: Arc<Loaded>,
    lease: Lease,
}

impl Lease {
    /// For a model that the ledger says is loaded.
    fn ready(lease: Self) -> Claimed {
        match lease.resident.loaded() {
            Some(loaded) => Claimed::Ready(Held { loaded, lease }),
            None => Claimed::Coming(lease),
        }
    }

    async fn arrived(self) -> Result<Held, Failure> {
        let mut news = self.resident.news.subscribe();
        let has_news = |news: &News| !matches!(news, News::Loading);
        let outcome = match news.wait_for(has_news).await.as_deref() {
            Ok(News::Ready(loaded)) => Ok(loaded.clone()),
            Ok(News::Failed(failure)) => Err(failure.clone()),
            Ok(News::Loading | News::Gone) | Err(_) => Err(Failure::Overwritten), // Look again.
        };
        outcome.map(|loaded| Held { loaded, lease: self })
    }
}

impl Held {
    /// Gives up a model that answers nothing any more: the next claim loads it again.
    pub(super) fn bury(self) {
        let Lease { cache, resident } = &self.lease;
        cache.state().ledger.bury(&resident.key, resident.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let is_idle = self.cache.state().ledger.release(&self.resident.key, self.resident.id);
        self.resident.wake.notify_one();
        if is_idle {
            self.cache.room.notify_waiters();
        }
    }
}
