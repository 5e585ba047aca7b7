//! The life of one model: fetched, given room, loaded, used, unloaded. One task for each, which
//! outlives the calls that wait for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::artifact::{ArtifactLease, ModelData};
use sagebrush_core::worker::{LoadError, ModelSpec, Worker};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, Loaded, News, Resident};
use super::failure::Failure;
use super::ledger::Reserved;

/// SageMaker: a model that is not ready after 60 s goes on loading for up to 360 s.
const LOAD_TIMEOUT: Duration = Duration::from_secs(360);

/// How long a model waits for others to leave.
const ROOM_WAIT: Duration = Duration::from_secs(60);

/// How long a model may take to unload. SageMaker kills a container that takes 30 s to stop.
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn live(cache: Arc<Cache>, resident: Arc<Resident>, source: ModelData) {
    let mut stopped = cache.stopped.subscribe();
    let model = Model { cache: &cache, resident: &resident };
    tokio::select! {
        () = model.live(&source) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// A model that is forgotten when this is dropped, however its life ends.
struct Model<'a> {
    cache: &'a Arc<Cache>,
    resident: &'a Resident,
}

impl Model<'_> {
    async fn live(&self, source: &ModelData) {
        let deadline = Instant::now() + LOAD_TIMEOUT;
        let loaded = timeout_at(deadline, self.load(source, deadline)).await;
        match loaded.unwrap_or(Err(Failure::TooSlow(LOAD_TIMEOUT))) {
            Ok(loaded) => {
                self.settle(&loaded);
                self.due(&*loaded.worker).await;
                self.unload(&loaded).await;
            }
            Err(failure) => self.fail(failure),
        }
    }

    async fn load(&self, source: &ModelData, deadline: Instant) -> Result<Arc<Loaded>, Failure> {
        let (cache, began) = (self.cache, Instant::now());
        let files = cache.models.fetch(source).await?;
        cache.meter.downloading.observe(began.elapsed());
        // What was fetched is the newest, which may not be what was claimed.
        if cache.models.version(source).await? != *self.resident.key {
            return Err(Failure::Overwritten);
        }
        let worker = self.load_into_memory(&files, deadline).await?;
        let turns = Arc::new(Semaphore::new(worker.concurrency().max(1)));
        Ok(Arc::new(Loaded { worker, files, turns }))
    }

    async fn load_into_memory(
        &self,
        files: &Arc<dyn ArtifactLease>,
        deadline: Instant,
    ) -> Result<Arc<dyn Worker>, Failure> {
        let patience = Instant::now() + ROOM_WAIT;
        let reserved = timeout_at(patience, self.reserve(files.bytes())).await;
        reserved.map_err(|_| Failure::NoRoom)?;
        let spec = ModelSpec {
            name: self.resident.key.to_string(),
            target: self.resident.target.to_string(),
            files: files.clone(),
            deadline,
        };
        loop {
            let began = Instant::now();
            match self.cache.host.load(&spec).await {
                Ok(worker) => {
                    self.cache.meter.loading.observe(began.elapsed());
                    return Ok(worker);
                }
                Err(LoadError::Launch(error)) => return Err(Failure::Launch(error.to_string())),
                Err(LoadError::NoRoom) => {
                    let freed = timeout_at(patience, self.free_some()).await;
                    freed.map_err(|_| Failure::NoRoom)??;
                }
            }
        }
    }

    /// Waits until its memory is reserved, and has idle models leave for it.
    async fn reserve(&self, file_bytes: u64) {
        loop {
            let changed = self.cache.room.notified();
            let outcome = {
                let mut state = self.cache.state();
                let known = state.size(&self.resident.target);
                state.ledger.measure(|resident| resident.bytes());
                state.ledger.reserve(&self.resident.key, known.max(file_bytes))
            };
            match outcome {
                Reserved::Taken => return,
                Reserved::Wait(retired) => wake(&retired),
            }
            changed.await;
        }
    }

    /// The host has no memory: waits until some model has left.
    async fn free_some(&self) -> Result<(), Failure> {
        let n_removed = self.cache.state().ledger.n_removed();
        loop {
            let changed = self.cache.room.notified();
            let retired = {
                let mut state = self.cache.state();
                if state.ledger.n_removed() != n_removed {
                    return Ok(());
                }
                state.ledger.free_some(&self.resident.key)
            };
            wake(&retired.ok_or(Failure::TooLarge)?);
            changed.await;
        }
    }

    fn settle(&self, loaded: &Arc<Loaded>) {
        let (cache, resident) = (self.cache, self.resident);
        let bytes = loaded.bytes();
        let mut state = cache.state();
        state.note_size(&resident.target, bytes);
        // Under the lock: whom the ledger tells that it is loaded finds it so.
        resident.news.send_replace(News::Ready(loaded.clone()));
        let retired = state.ledger.loaded(&resident.key, resident.id, bytes);
        drop(state);
        cache.meter.loaded.add(1);
        wake(&retired);
        cache.room.notify_waiters();
    }

    fn fail(&self, failure: Failure) {
        let (cache, resident) = (self.cache, self.resident);
        let line = format!("ERROR The model {} was not loaded: {failure}", resident.target);
        cache.spec.log.write(&cache.spec.log_stream, &line);
        let mut state = cache.state();
        state.failures.note(&resident.key, &failure);
        // Before anybody hears of it, so that whoever tries again does not meet it on its way out.
        state.ledger.remove(&resident.key, resident.id);
        resident.news.send_replace(News::Failed(failure));
    }

    /// Waits until the model has to go, or has ended by itself.
    async fn due(&self, worker: &dyn Worker) {
        let resident = self.resident;
        let mut ended = pin!(worker.ended());
        while !self.cache.state().ledger.is_due(&resident.key, resident.id) {
            tokio::select! {
                reason = &mut ended => {
                    let line = format!("ERROR The model {} has ended: {reason}", resident.target);
                    self.cache.spec.log.write(&self.cache.spec.log_stream, &line);
                    self.cache.state().ledger.bury(&resident.key, resident.id);
                }
                () = resident.wake.notified() => {}
            }
        }
    }

    async fn unload(&self, loaded: &Loaded) {
        let began = Instant::now();
        let bytes = loaded.bytes(); // It may have grown.
        self.cache.state().note_size(&self.resident.target, bytes);
        loaded.worker.stop(began + UNLOAD_TIMEOUT).await;
        self.cache.meter.unloading.observe(began.elapsed());
    }
}

impl Drop for Model<'_> {
    fn drop(&mut self) {
        let (cache, resident) = (self.cache, self.resident);
        let mut state = cache.state();
        state.ledger.remove(&resident.key, resident.id);
        resident.news.send_if_modified(|news| {
            let next = match news {
                News::Failed(_) => return false,
                News::Ready(loaded) => {
                    cache.meter.loaded.add(-1);
                    state.note_gone(loaded);
                    News::Gone
                }
                News::Loading => News::Failed(Failure::CutOff),
                News::Gone => News::Gone,
            };
            if let News::Failed(failure) = &next {
                state.failures.note(&resident.key, failure);
            }
            *news = next;
            true
        });
        drop(state);
        cache.room.notify_waiters();
    }
}

fn wake(retired: &[Arc<Resident>]) {
    retired.iter().for_each(|resident| resident.wake.notify_one());
}
