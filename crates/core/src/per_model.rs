//! A host for runtimes whose models share nothing: each model is a launch of its own.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::Instant;

use crate::worker::{LaunchSpec, LoadError, ModelHost, ModelSpec, Runtime, Worker};

/// Loads each model by [`Runtime::launch`], as if it were the only one.
pub struct PerModelHost {
    runtime: Arc<dyn Runtime>,
    spec: LaunchSpec,
    /// What was launched; those that were stopped and dropped fall out of it.
    workers: Mutex<Vec<Weak<dyn Worker>>>,
}

impl PerModelHost {
    /// A host whose models are launched from `spec`, each with its own files.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, spec: LaunchSpec) -> Self {
        Self { runtime, spec, workers: Mutex::default() }
    }

    fn keep(&self, worker: &Arc<dyn Worker>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(worker));
    }
}

#[async_trait]
impl ModelHost for PerModelHost {
    async fn load(&self, model: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
        let spec = LaunchSpec {
            name: format!("{}/{}", self.spec.name, model.target),
            model: Some(model.files.clone()),
            startup_timeout: model.deadline.saturating_duration_since(Instant::now()),
            ..self.spec.clone()
        };
        let worker = self.runtime.launch(&spec).await?;
        self.keep(&worker);
        Ok(worker)
    }

    async fn stop(&self, deadline: Instant) {
        let workers = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *workers)
        };
        let left: Vec<Arc<dyn Worker>> = workers.iter().filter_map(Weak::upgrade).collect();
        join_all(left.iter().map(|worker| worker.stop(deadline))).await;
    }
}
