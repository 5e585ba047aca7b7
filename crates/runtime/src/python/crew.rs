//! The workers of one model: a fixed number, each replaced when it ends, and more while calls wait
//! where there may be more.

mod ask;
mod extra;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::task;
use sagebrush_core::worker::LaunchError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::conn::{Conn, NotLoaded};
use super::frame::Ready;
use super::pace::Pace;
use super::plan::CallTimeout;
use super::pool::Pool;
use super::template::{Template, error_first};

/// How long a replacement waits that failed: doubled each time, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a worker may take to end by itself that did not load its model.
const GRACE: Duration = Duration::from_secs(3);
/// How long the end of a killed process may take.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// How the workers of one model are run.
#[derive(Debug, Clone)]
pub(super) struct CrewPlan {
    /// As the template sees it.
    pub(super) model_dir: PathBuf,
    pub(super) n_workers: usize,
    /// How many there may be while calls wait.
    pub(super) most_workers: usize,
    pub(super) call_timeout: CallTimeout,
    /// How long a worker may take to load the model, one that replaces another.
    pub(super) load_timeout: Duration,
    /// How many calls may go to a worker together, if that is given.
    pub(super) max_batch: Option<usize>,
    pub(super) max_batch_delay: Duration,
    /// Whether the code may get a call twice.
    pub(super) retries_after_death: bool,
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
    /// The processes that there are: their ids, and their process ids once they are known.
    processes: Mutex<BTreeMap<u32, Process>>,
    /// How many workers are being kept.
    n_kept: watch::Sender<usize>,
    /// How many of them have loaded the model, and take calls.
    n_serving: AtomicUsize,
    /// How many calls wait for a worker, where there may be more.
    n_waiting: AtomicUsize,
    /// The code has `predict_batch_fn`.
    together: AtomicBool,
    pace: Pace,
}

/// The process id, once it is known.
type Process = watch::Receiver<Option<i32>>;

#[derive(Debug, Clone)]
enum Loaded {
    NotYet,
    Yes,
    /// There will be another attempt.
    No(LaunchError),
    /// The first attempt failed: there is no other.
    Never(LaunchError),
}

impl Crew {
    /// Starts the workers and returns once the first has loaded the model; on error none is left.
    pub(super) async fn start(
        template: Arc<Template>,
        plan: CrewPlan,
        deadline: Instant,
    ) -> Result<Self, LaunchError> {
        let (n_workers, began) = (plan.n_workers, Instant::now());
        let shared = Shared {
            template,
            plan,
            pool: Arc::default(),
            loaded: watch::Sender::new(Loaded::NotYet),
            processes: Mutex::default(),
            n_kept: watch::Sender::new(n_workers),
            n_serving: AtomicUsize::new(0),
            n_waiting: AtomicUsize::new(0),
            together: AtomicBool::new(false),
            pace: Pace::default(),
        };
        let crew = Self { shared: Arc::new(shared) };
        for _ in 0..n_workers {
            task::spawn("python-worker", keep(crew.shared.clone()));
        }
        let mut loaded = crew.shared.loaded.subscribe();
        let settled = loaded.wait_for(|loaded| !matches!(loaded, Loaded::NotYet));
        let settled = timeout_at(deadline, settled).await;
        let error = match settled.map(|loaded| loaded.map(|loaded| loaded.clone())) {
            Ok(Ok(Loaded::Yes | Loaded::NotYet) | Err(_)) => return Ok(crew),
            Ok(Ok(Loaded::No(error) | Loaded::Never(error))) => error,
            Err(_late) => too_slow(began.elapsed()),
        };
        crew.stop(Instant::now()).await;
        Err(error)
    }

    /// Lets the workers end, and ends them at `deadline`. Returns when none is left.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.shared.pool.close();
        let mut n_kept = self.shared.n_kept.subscribe();
        let is_over = timeout_at(deadline, n_kept.wait_for(|n| *n == 0)).await.is_ok();
        if is_over {
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
        let pids: Vec<i32> =
            self.shared.processes().values().filter_map(|pid| *pid.borrow()).collect();
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
    /// Notes that a worker did not load the model; true if no other is to try.
    fn note_failure(&self, error: LaunchError) -> bool {
        let mut is_last = true;
        self.loaded.send_if_modified(|loaded| {
            match loaded {
                Loaded::Never(_) => return false,
                Loaded::NotYet => *loaded = Loaded::Never(error),
                Loaded::Yes | Loaded::No(_) => {
                    is_last = false;
                    *loaded = Loaded::No(error);
                }
            }
            true
        });
        is_last || self.template.is_over()
    }

    /// Notes that a worker has loaded the model, unless the crew was given up.
    fn note_loaded(&self) {
        self.loaded.send_if_modified(|loaded| match loaded {
            Loaded::NotYet | Loaded::No(_) => {
                *loaded = Loaded::Yes;
                true
            }
            Loaded::Yes | Loaded::Never(_) => false,
        });
    }

    /// Ends the processes that there are.
    fn kill(&self) {
        for id in self.processes().keys() {
            self.template.kill(*id);
        }
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, Process>> {
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
        match life(shared, Stay::Always).await {
            Ok(()) => wait = FIRST_WAIT, // It had loaded: the next one follows at once.
            Err(error) => {
                tracing::warn!(%error, "a worker process did not load its model");
                if shared.note_failure(error) {
                    return shared.pool.close(); // The launch fails, or the instance has ended.
                }
                // A closed pool ends the pause.
                let _closed = timeout(wait, shared.pool.closed()).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// How long a worker is kept.
#[derive(Debug, Clone, Copy)]
enum Stay {
    Always,
    /// Until nobody asked it for so long.
    UntilIdle(Duration),
}

/// One worker, from its fork to its end.
async fn life(shared: &Shared, stay: Stay) -> Result<(), LaunchError> {
    let forked = shared.template.fork(&shared.plan.model_dir).await;
    let (forked, line) = forked.map_err(|error| LaunchError::Transient {
        reason: format!("A worker process could not be forked: {error}"),
    })?;
    let (id, mut ending) = (forked.id, forked.watcher());
    shared.processes().insert(id, forked.pid());
    let outcome = load_and_serve(shared, Conn::new(forked, line), stay).await;
    // Its socket is closed. Code may keep it from ending all the same.
    if timeout(GRACE, ended(&mut ending)).await.is_err() {
        shared.template.kill(id);
        let _stays = timeout(KILLED_WITHIN, ended(&mut ending)).await;
    }
    shared.processes().remove(&id);
    outcome
}

async fn load_and_serve(shared: &Shared, mut conn: Conn, stay: Stay) -> Result<(), LaunchError> {
    let id = conn.forked.id;
    let mut ending = conn.forked.watcher();
    let deadline = Instant::now() + shared.plan.load_timeout;
    let loaded = tokio::select! {
        biased;
        () = shared.pool.closed() => {
            conn.forked.kill(); // It would load for nobody.
            return Ok(());
        }
        loaded = timeout_at(deadline, conn.loaded()) => loaded,
    };
    let ready = loaded_or_error(shared, &conn, loaded)?;
    shared.together.store(ready.together, Ordering::Relaxed);
    shared.note_loaded();
    let served_from = Instant::now();
    shared.n_serving.fetch_add(1, Ordering::Relaxed);
    shared.pool.put(conn);
    match stay {
        Stay::Always => ended(&mut ending).await,
        Stay::UntilIdle(limit) => tokio::select! {
            () = ended(&mut ending) => {}
            () = shared.pool.let_go_after(id, limit) => {}
        },
    }
    shared.n_serving.fetch_sub(1, Ordering::Relaxed);
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

/// What a worker says that has loaded the model, or why it has not.
fn loaded_or_error(
    shared: &Shared,
    conn: &Conn,
    loaded: Result<Result<Ready, NotLoaded>, tokio::time::error::Elapsed>,
) -> Result<Ready, LaunchError> {
    match loaded {
        Ok(Ok(ready)) => Ok(ready),
        Ok(Err(NotLoaded::Failed(traceback))) => {
            let reason = error_first("The model cannot be loaded", &traceback);
            Err(LaunchError::Permanent { reason })
        }
        Ok(Err(NotLoaded::Ended(how))) => {
            let tail = shared.template.tail();
            let reason = format!("The worker process {how} while it loaded the model.\n{tail}");
            Err(LaunchError::Transient { reason })
        }
        Err(_) => {
            conn.forked.kill();
            Err(too_slow(shared.plan.load_timeout))
        }
    }
}

fn too_slow(limit: Duration) -> LaunchError {
    let reason = format!("The model was not loaded within {} seconds.", limit.as_secs());
    LaunchError::Permanent { reason }
}
