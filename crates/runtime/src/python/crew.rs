//! The workers of one model: a fixed number, each replaced when it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::task;
use sagebrush_core::worker::{Call, LaunchError, Reply, WorkerError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::conn::{Conn, Exchange, NotLoaded};
use super::pool::Pool;
use super::template::{Template, error_first};

/// How long a replacement waits that failed: doubled each time, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the end of a killed process may take.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// How the workers of one model are run.
#[derive(Debug, Clone)]
pub(super) struct CrewPlan {
    /// As the template sees it.
    pub(super) model_dir: PathBuf,
    pub(super) n_workers: usize,
    /// How long a call may take, whatever its own deadline says.
    pub(super) call_timeout: Duration,
    /// How long a worker may take to load the model.
    pub(super) load_timeout: Duration,
}

/// The workers of one model. Dropped, they end.
pub(super) struct Crew {
    shared: Arc<Shared>,
}

struct Shared {
    template: Arc<Template>,
    plan: CrewPlan,
    pool: Arc<Pool>,
    /// What became of the newest attempt to load the model.
    loaded: watch::Sender<Loaded>,
    /// The processes that there are: their ids and, of those that have loaded, process ids.
    processes: Mutex<BTreeMap<u32, Option<i32>>>,
    /// How many workers are being kept.
    n_kept: watch::Sender<usize>,
}

#[derive(Debug, Clone)]
enum Loaded {
    NotYet,
    Yes,
    No(LaunchError),
}

impl Crew {
    /// Starts the workers and returns once the first has loaded the model.
    pub(super) async fn start(
        template: Arc<Template>,
        plan: CrewPlan,
    ) -> Result<Self, LaunchError> {
        let n_workers = plan.n_workers;
        let shared = Shared {
            template,
            plan,
            pool: Arc::default(),
            loaded: watch::Sender::new(Loaded::NotYet),
            processes: Mutex::default(),
            n_kept: watch::Sender::new(n_workers),
        };
        let crew = Self { shared: Arc::new(shared) };
        for _ in 0..n_workers {
            task::spawn("python-worker", keep(crew.shared.clone()));
        }
        let mut loaded = crew.shared.loaded.subscribe();
        let settled = loaded.wait_for(|loaded| !matches!(loaded, Loaded::NotYet)).await;
        match settled.map(|loaded| loaded.clone()) {
            Ok(Loaded::No(error)) => Err(error),
            Ok(Loaded::Yes | Loaded::NotYet) | Err(_) => Ok(crew),
        }
    }

    /// Answers one call on an idle worker, or on the first that becomes idle.
    pub(super) async fn ask(&self, call: Call) -> Result<Reply, WorkerError> {
        let shared = &self.shared;
        let deadline = call.deadline.min(Instant::now() + shared.plan.call_timeout);
        loop {
            let Some(conn) = shared.pool.take(shared.patience(deadline)).await else {
                return Err(shared.no_worker());
            };
            let exchange = Exchange::new(shared.pool.clone(), conn, &call, deadline);
            match exchange.run().await {
                Err(WorkerError::Gone { .. }) => {} // The pool has another one, or says why not.
                answer => return answer,
            }
        }
    }

    /// Lets the workers end, and ends them at `deadline`. Returns when none is left.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.shared.pool.close();
        let mut n_kept = self.shared.n_kept.subscribe();
        if timeout_at(deadline, n_kept.wait_for(|n| *n == 0)).await.is_ok() {
            return;
        }
        self.shared.kill();
        let killed = timeout(KILLED_WITHIN, n_kept.wait_for(|n| *n == 0)).await;
        if killed.is_err() {
            tracing::warn!("a worker process does not end; it ends with its instance");
        }
    }

    /// The bytes that the workers have for themselves. Blocks.
    pub(super) fn memory(&self) -> u64 {
        let pids: Vec<i32> = self.shared.processes().values().copied().flatten().collect();
        let template = &self.shared.template;
        pids.into_iter().filter_map(|pid| template.memory_of(pid)).sum()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.pool.close();
        self.shared.kill();
    }
}

impl Shared {
    /// How long a call waits for a worker: to its deadline while there are any, but not much
    /// longer than the next attempt while none can be had.
    fn patience(&self, deadline: Instant) -> Instant {
        match &*self.loaded.borrow() {
            Loaded::No(_) => deadline.min(Instant::now() + LONGEST_WAIT),
            Loaded::Yes | Loaded::NotYet => deadline,
        }
    }

    /// Why no worker took a call.
    fn no_worker(&self) -> WorkerError {
        if self.pool.is_closed() {
            return WorkerError::Gone { reason: "its workers were stopped".to_owned() };
        }
        match &*self.loaded.borrow() {
            Loaded::No(error) => WorkerError::Model {
                status: 503,
                message: format!("No worker process is there to answer: {error}"),
                content_type: None,
            },
            Loaded::Yes | Loaded::NotYet => WorkerError::TimedOut,
        }
    }

    /// Ends the processes that there are.
    fn kill(&self) {
        for id in self.processes().keys() {
            self.template.kill(*id);
        }
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, Option<i32>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one worker running: forks it, waits until it ends, forks another.
async fn keep(shared: Arc<Shared>) {
    keep_until_closed(&shared).await;
    shared.n_kept.send_modify(|n| *n -= 1);
}

async fn keep_until_closed(shared: &Shared) {
    let mut wait = FIRST_WAIT;
    while !shared.pool.is_closed() {
        match life(shared).await {
            Ok(()) => wait = FIRST_WAIT, // It had loaded: the next one follows at once.
            Err(error) => {
                let is_first = matches!(*shared.loaded.borrow(), Loaded::NotYet);
                tracing::warn!(%error, "a worker process did not load its model");
                shared.loaded.send_replace(Loaded::No(error));
                if is_first || shared.template.is_over() {
                    return shared.pool.close(); // The launch fails, or the instance has ended.
                }
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// One worker, from its fork to its end.
async fn life(shared: &Shared) -> Result<(), LaunchError> {
    let forked = shared.template.fork(&shared.plan.model_dir).await;
    let (forked, line) = forked.map_err(|error| LaunchError::Transient {
        reason: format!("A worker process could not be forked: {error}"),
    })?;
    let id = forked.id;
    shared.processes().insert(id, None);
    let outcome = load_and_serve(shared, Conn::new(forked, line)).await;
    shared.processes().remove(&id);
    outcome
}

async fn load_and_serve(shared: &Shared, mut conn: Conn) -> Result<(), LaunchError> {
    let id = conn.forked.id;
    let mut ending = conn.forked.watcher();
    let deadline = Instant::now() + shared.plan.load_timeout;
    let loaded = timeout_at(deadline, conn.loaded()).await;
    if let Some(error) = not_loaded(shared, &conn, loaded) {
        return Err(error);
    }
    shared.processes().insert(id, conn.forked.pid());
    shared.loaded.send_replace(Loaded::Yes);
    let served_from = Instant::now();
    shared.pool.put(conn);
    ended(&mut ending).await;
    shared.pool.remove(id);
    if served_from.elapsed() < FIRST_WAIT {
        sleep(FIRST_WAIT).await; // It ends as soon as it is asked: do not fork without a pause.
    }
    Ok(())
}

/// Returns once the process has ended.
async fn ended(ending: &mut watch::Receiver<Option<String>>) {
    // An error says the same: who knew is gone.
    let _seen = ending.wait_for(Option::is_some).await.is_ok();
}

/// The error of a worker that did not load its model.
fn not_loaded(
    shared: &Shared,
    conn: &Conn,
    loaded: Result<Result<(), NotLoaded>, tokio::time::error::Elapsed>,
) -> Option<LaunchError> {
    match loaded {
        Ok(Ok(())) => None,
        Ok(Err(NotLoaded::Failed(traceback))) => {
            let reason = error_first("The model cannot be loaded", &traceback);
            Some(LaunchError::Permanent { reason })
        }
        Ok(Err(NotLoaded::Ended(how))) => {
            let tail = shared.template.tail();
            let reason = format!("The worker process {how} while it loaded the model.\n{tail}");
            Some(LaunchError::Transient { reason })
        }
        Err(_) => {
            conn.forked.kill();
            let seconds = shared.plan.load_timeout.as_secs();
            let reason = format!("The model was not loaded within {seconds} seconds.");
            Some(LaunchError::Permanent { reason })
        }
    }
}
