//! The workers of one model: a fixed number, each replaced when it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, LaunchError, Reply, WorkerError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::conn::{Conn, Exchange, NotLoaded, Outcome};
use super::frame::Ready;
use super::pace::Pace;
use super::pool::Pool;
use super::template::{Template, error_first};

/// How long a replacement waits that failed: doubled each time, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long a worker may take to end by itself that did not load its model.
const GRACE: Duration = Duration::from_secs(3);
/// How long the end of a killed process may take.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// Calls with more to carry together than this go apart: two workers copy at the same time.
const JOINED: usize = 256 << 10;
/// How many calls `predict_batch_fn` gets at most where nobody says.
const DEFAULT_BATCH: usize = 32;

/// How the workers of one model are run.
#[derive(Debug, Clone)]
pub(super) struct CrewPlan {
    /// As the template sees it.
    pub(super) model_dir: PathBuf,
    pub(super) n_workers: usize,
    /// How long a call may take, whatever its own deadline says.
    pub(super) call_timeout: Duration,
    /// How long a worker may take to load the model, one that replaces another.
    pub(super) load_timeout: Duration,
    /// How many calls may go to a worker together, if that is given.
    pub(super) max_batch: Option<usize>,
    pub(super) max_batch_delay: Duration,
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

    /// Answers each call, on idle workers or on the first that become idle.
    pub(super) async fn ask_all(&self, mut calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        match (calls.pop(), calls.is_empty()) {
            (None, _) => Vec::new(),
            (Some(call), true) => vec![self.ask(call).await],
            (Some(last), false) => {
                calls.push(last);
                let groups = trips(calls).into_iter().map(|calls| self.ask_trip(calls));
                join_all(groups).await.into_iter().flatten().collect()
            }
        }
    }

    async fn ask(&self, call: Call) -> Result<Reply, WorkerError> {
        match self.shared.trip(&[call]).await.pop() {
            Some(Outcome::Answered(answer)) => answer,
            Some(Outcome::Lost) | None => {
                Err(WorkerError::Gone { reason: "its process has ended".to_owned() })
            }
        }
    }

    /// Answers calls that go together; each that was lost with its worker is tried once alone.
    async fn ask_trip(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let outcomes = self.shared.trip(&calls).await;
        let answers = calls.into_iter().zip(outcomes).map(async |(call, outcome)| match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Lost => self.ask(call).await,
        });
        join_all(answers).await
    }

    /// How many calls one [`Crew::ask_all`] may bring to a worker.
    pub(super) fn max_batch(&self) -> usize {
        let shared = &self.shared;
        let given = shared.plan.max_batch;
        if shared.together.load(Ordering::Relaxed) {
            return given.unwrap_or(DEFAULT_BATCH);
        }
        shared.pace.n_together().min(given.unwrap_or(usize::MAX))
    }

    /// How long a batch may wait for more calls.
    pub(super) fn max_batch_delay(&self) -> Duration {
        let together = self.shared.together.load(Ordering::Relaxed);
        if together { self.shared.plan.max_batch_delay } else { Duration::ZERO }
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
    /// Brings calls to a worker, and their replies back: an outcome for each.
    async fn trip(&self, calls: &[Call]) -> Vec<Outcome> {
        let call_timeout = self.plan.call_timeout;
        let by = Instant::now() + call_timeout;
        let deadline = calls.iter().map(|call| call.deadline.min(by)).max().unwrap_or(by);
        let all = |error: WorkerError| {
            calls.iter().map(|_| Outcome::Answered(Err(error.clone()))).collect()
        };
        loop {
            let Some(conn) = self.pool.take(self.patience(deadline)).await else {
                return all(self.no_worker());
            };
            // Who waited long has little time left: that is not the worker's fault.
            let exchange = Exchange::new(self.pool.clone(), conn, calls, call_timeout);
            match timeout_at(deadline, exchange.run()).await {
                Ok(None) => {} // The pool has another one, or says why not.
                Ok(Some(outcomes)) => {
                    self.note_pace(&outcomes);
                    return outcomes;
                }
                Err(_late) => return all(WorkerError::TimedOut),
            }
        }
    }

    fn note_pace(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Outcome::Answered(Ok(reply)) = outcome {
                self.pace.note(reply.timings);
            }
        }
    }

    /// How long a call waits for a worker: to its deadline while there are any, but not much
    /// longer than the next attempt while none can be had.
    fn patience(&self, deadline: Instant) -> Instant {
        match &*self.loaded.borrow() {
            Loaded::No(_) | Loaded::Never(_) if self.n_serving.load(Ordering::Relaxed) == 0 => {
                deadline.min(Instant::now() + LONGEST_WAIT)
            }
            Loaded::No(_) | Loaded::Never(_) | Loaded::Yes | Loaded::NotYet => deadline,
        }
    }

    /// Why no worker took a call.
    fn no_worker(&self) -> WorkerError {
        if self.pool.is_closed() {
            return WorkerError::Gone { reason: "its workers were stopped".to_owned() };
        }
        match &*self.loaded.borrow() {
            Loaded::No(error) | Loaded::Never(error) => WorkerError::Model {
                status: 503,
                message: format!("No worker process is there to answer: {error}"),
                content_type: None,
            },
            Loaded::Yes | Loaded::NotYet => WorkerError::TimedOut,
        }
    }

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
        match life(shared).await {
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

/// One worker, from its fork to its end.
async fn life(shared: &Shared) -> Result<(), LaunchError> {
    let forked = shared.template.fork(&shared.plan.model_dir).await;
    let (forked, line) = forked.map_err(|error| LaunchError::Transient {
        reason: format!("A worker process could not be forked: {error}"),
    })?;
    let (id, mut ending) = (forked.id, forked.watcher());
    shared.processes().insert(id, forked.pid());
    let outcome = load_and_serve(shared, Conn::new(forked, line)).await;
    // Its socket is closed. Code may keep it from ending all the same.
    if timeout(GRACE, ended(&mut ending)).await.is_err() {
        shared.template.kill(id);
        let _stays = timeout(KILLED_WITHIN, ended(&mut ending)).await;
    }
    shared.processes().remove(&id);
    outcome
}

async fn load_and_serve(shared: &Shared, mut conn: Conn) -> Result<(), LaunchError> {
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
    ended(&mut ending).await;
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

/// Calls as they go to workers: together, as long as they have little to carry.
fn trips(calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut trips: Vec<Vec<Call>> = Vec::new();
    let mut carried = 0;
    for call in calls {
        carried += call.payload.body.len();
        match trips.last_mut() {
            Some(trip) if carried <= JOINED => trip.push(call),
            Some(_) | None => {
                carried = call.payload.body.len();
                trips.push(vec![call]);
            }
        }
    }
    trips
}

fn too_slow(limit: Duration) -> LaunchError {
    let reason = format!("The model was not loaded within {} seconds.", limit.as_secs());
    LaunchError::Permanent { reason }
}
