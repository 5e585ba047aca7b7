//! A template process: it has imported the code and its libraries, and forks workers.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchError, Usage};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::control::{Control, Event, Order};
use super::line::Line;
use super::page::Page;
use crate::output::{self, Tail};
use crate::sandbox::{Confinement, Home, Program, Sandbox};
use crate::tree::{Exit, Tree};

/// How long workers may take to end by themselves, once their sockets are closed.
const GRACE: Duration = Duration::from_secs(3);
/// How long it may take until it is known how a template ended that says nothing any more.
const UNTIL_CAUSE: Duration = Duration::from_secs(1);

/// What a socket takes before its writer waits for the reader: more than the system's own choice,
/// so that large bodies change sides less often, but not more than a core's cache.
const IN_FLIGHT: usize = 256 << 10;

/// What a template is started from.
pub(super) struct Plan {
    pub(super) interpreter: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) confinement: Confinement,
    pub(super) framework: String,
    /// As the template sees them.
    pub(super) model_dir: Option<PathBuf>,
    pub(super) submit_dir: Option<PathBuf>,
    /// The folder of our Python package, then those of installed packages.
    pub(super) paths: Vec<PathBuf>,
}

/// A template that has imported its code. Dropped, it and its workers are killed.
pub(super) struct Template {
    link: Arc<Link>,
    tree: Tree,
    tail: Tail,
    next_id: AtomicU32,
}

/// What binds us to a template and its workers.
struct Link {
    control: Control,
    workers: Mutex<HashMap<u32, Entry>>,
    /// True once the template says nothing any more.
    is_over: watch::Sender<bool>,
}

/// What we know of a forked worker.
struct Entry {
    pid: watch::Sender<Option<i32>>,
    ending: watch::Sender<Option<String>>,
}

/// A worker process.
pub(super) struct Forked {
    pub(super) id: u32,
    page: Page,
    link: Arc<Link>,
    pid: watch::Receiver<Option<i32>>,
    ending: watch::Receiver<Option<String>>,
}

impl Template {
    /// Starts a template and returns once it has imported the code; on error nothing is left.
    pub(super) async fn start(
        sandbox: &Sandbox,
        plan: Plan,
        home: Home,
        log: (&Arc<dyn LogSink>, &LogStream),
        deadline: Instant,
    ) -> Result<Arc<Self>, LaunchError> {
        let failed = |error: io::Error| LaunchError::Transient {
            reason: format!(
                "The interpreter {} did not start: {error}",
                plan.interpreter.display()
            ),
        };
        let (control, theirs) = Control::pair().map_err(failed)?;
        let program = program(&plan, theirs);
        let tree = sandbox.start(program, &plan.confinement, home).await.map_err(failed)?;
        let tail = output::follow(&tree, log.0, log.1);
        let is_over = watch::Sender::new(false);
        let link = Arc::new(Link { control, workers: Mutex::default(), is_over });
        let template = Arc::new(Self { link, tree, tail, next_id: AtomicU32::new(1) });
        match timeout_at(deadline, template.import(&plan)).await {
            Ok(Ok(())) => {
                task::spawn("python-template", listen(template.link.clone(), template.tree.end()));
                Ok(template)
            }
            Ok(Err(error)) => {
                template.tree.kill().await;
                Err(error)
            }
            Err(_) => {
                template.tree.kill().await;
                let tail = template.tail.complete().await;
                let reason = format!("The model's code was not imported in time.\n{tail}");
                Err(LaunchError::Permanent { reason })
            }
        }
    }

    async fn import(&self, plan: &Plan) -> Result<(), LaunchError> {
        let paths: Vec<&Path> = plan.paths.iter().map(PathBuf::as_path).collect();
        let order = Order::Start {
            framework: &plan.framework,
            model_dir: plan.model_dir.as_deref(),
            submit_dir: plan.submit_dir.as_deref(),
            paths: &paths,
        };
        let sent = self.link.control.send(&order, &[]).await;
        let event = match sent {
            Ok(()) => self.link.control.receive().await.ok().flatten(),
            Err(_) => None,
        };
        match event {
            Some(Event::Started) => Ok(()),
            Some(Event::Failed { reason }) => {
                let reason = error_first("The model's code cannot be imported", &reason);
                Err(LaunchError::Permanent { reason })
            }
            Some(Event::Forked { .. } | Event::Exited { .. }) | None => {
                let exit = self.tree.kill().await;
                let reason = format!(
                    "The process {exit} while it imported the model's code.\n{}",
                    self.tail.complete().await
                );
                Err(LaunchError::Transient { reason })
            }
        }
    }

    /// Forks a worker, which begins to load `model_dir`, and returns our end of its socket.
    pub(super) async fn fork(&self, model_dir: &Path) -> io::Result<(Forked, Line)> {
        let (ours, theirs) = UnixStream::pair()?; // The worker's end blocks: it waits there.
        for end in [&ours, &theirs] {
            set_socket_send_buffer_size(end, IN_FLIGHT)?;
        }
        let page = Page::new()?;
        ours.set_nonblocking(true)?;
        let last = ours.try_clone()?;
        let line = Line::new(ours)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (pid_told, pid) = watch::channel(None);
        let (ending_told, ending) = watch::channel(None);
        self.link.workers().insert(id, Entry { pid: pid_told, ending: ending_told });
        let page_too = page.share()?;
        let forked = Forked { id, link: self.link.clone(), pid, ending, page };
        let mut ended = forked.watcher();
        task::spawn("python-line", async move {
            // What the process started may hold its end: that must not keep a call waiting. What
            // has come can still be read. An error says the same: who knew is gone.
            let _seen = ended.wait_for(Option::is_some).await.is_ok();
            let _closed = last.shutdown(Shutdown::Both);
        });
        let order = Order::Fork { id, model_dir };
        let sent = self.link.control.send(&order, &[theirs.as_fd(), page_too.as_fd()]).await;
        sent.inspect_err(|_| drop(self.link.workers().remove(&id)))?;
        Ok((forked, line))
    }

    /// Returns once the template has ended, and why.
    pub(super) async fn ended(&self) -> String {
        let mut is_over = self.link.is_over.subscribe();
        let exit = tokio::select! {
            exit = self.tree.ended() => exit,
            () = over(&mut is_over) => self.tree.stop(Instant::now() + GRACE).await,
        };
        format!("The Python process {exit}.")
    }

    /// The bytes that a process has for itself which the template knows as `pid`. Blocks.
    pub(super) fn usage(&self) -> Usage {
        self.tree.usage().into()
    }

    pub(super) fn memory_of(&self, pid: i32) -> Option<u64> {
        self.tree.memory_of(pid)
    }

    /// Ends a worker; returns before it has ended.
    pub(super) fn kill(&self, id: u32) {
        kill(self.link.clone(), id);
    }

    /// Whether nothing is asked of it for a while.
    pub(super) fn set_rests(&self, rests: bool) {
        self.tree.set_rests(rests);
    }

    /// True once it says nothing any more.
    pub(super) fn is_over(&self) -> bool {
        *self.link.is_over.borrow()
    }

    /// The last lines that it and its workers printed.
    pub(super) fn tail(&self) -> String {
        self.tail.text()
    }

    /// Ends the template and its workers; they may take a moment to end by themselves.
    pub(super) async fn stop(&self, deadline: Instant) {
        let until = deadline.min(Instant::now() + GRACE);
        self.link.control.close();
        if timeout_at(until, self.tree.ended()).await.is_err() {
            self.tree.kill().await;
        }
    }
}

impl Link {
    fn workers(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        match event {
            Event::Forked { id, pid } => {
                if let Some(entry) = self.workers().get(&id) {
                    entry.pid.send_replace(Some(pid));
                }
            }
            Event::Exited { id, code, signal, reason } => {
                if let Some(entry) = self.workers().remove(&id) {
                    entry.ending.send_replace(Some(ending(code, signal, reason)));
                }
            }
            Event::Started | Event::Failed { .. } => {}
        }
    }
}

/// Returns once the template has nothing to say any more: then it must end, for its workers
/// cannot be replaced.
async fn over(is_over: &mut watch::Receiver<bool>) {
    // An error says the same: who knew is gone.
    let _seen = is_over.wait_for(|is_over| *is_over).await.is_ok();
}

/// Brings what the template says to those whom it concerns, until it ends.
async fn listen(link: Arc<Link>, end: impl Future<Output = Exit>) {
    while let Ok(Some(event)) = link.control.receive().await {
        link.note(event);
    }
    link.is_over.send_replace(true);
    let ending = match timeout(UNTIL_CAUSE, end).await {
        Ok(exit) => format!("ended with its template, which {exit},"),
        Err(_late) => "ended with its template".to_owned(),
    };
    let workers = std::mem::take(&mut *link.workers());
    for entry in workers.into_values() {
        entry.ending.send_replace(Some(ending.clone()));
    }
}

/// Nothing of ours is on the path but the package: not the folder that we run in.
const MAIN: &str = "import sys; sys.path[0] = sys.argv.pop(); \
    from sagebrush.template import main; main()";

fn program(plan: &Plan, control: OwnedFd) -> Program {
    let package = plan.paths.first().cloned().unwrap_or_default();
    Program {
        path: plan.interpreter.clone(),
        arguments: vec!["-c".into(), MAIN.into(), package.into_os_string()],
        environment: plan.environment.clone(),
        directory: None,
        input: Some(control),
    }
}

fn ending(code: Option<i32>, signal: Option<i32>, reason: Option<String>) -> String {
    match (reason, signal, code) {
        (Some(reason), _, _) => reason,
        (None, Some(9), _) => "was killed by signal 9, as for want of memory".to_owned(),
        (None, Some(signal), _) => format!("was killed by signal {signal}"),
        (None, None, Some(137)) => "ended with exit code 137, as for want of memory".to_owned(),
        (None, None, Some(code)) => format!("ended with exit code {code}"),
        (None, None, None) => "is gone".to_owned(),
    }
}

/// The error itself stands at a traceback's end, but a reader should see it first.
pub(super) fn error_first(what: &str, traceback: &str) -> String {
    let traceback = traceback.trim_end();
    let last = traceback.lines().last().unwrap_or_default();
    let error = traceback.lines().rev().find(|line| names_an_error(line)).unwrap_or(last);
    format!("{what}: {error}\n{traceback}")
}

/// True for `package.SomeError: why`. The message may have more lines, which look otherwise.
fn names_an_error(line: &str) -> bool {
    let name = line.split_once(':').map_or(line, |(name, _)| name);
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    !name.is_empty() && name.split('.').all(is_part)
}

fn kill(link: Arc<Link>, id: u32) {
    if Handle::try_current().is_err() {
        return; // The server itself ends, and the template with it.
    }
    task::spawn("python-kill", async move {
        if let Err(error) = link.control.send(&Order::Kill { id }, &[]).await {
            tracing::debug!(%error, id, "the template of a worker is gone");
        }
    });
}

impl Forked {
    /// Returns once the process has ended, and how: `ended with exit code 3`.
    pub(super) async fn ended(&mut self) -> String {
        let seen = self.ending.wait_for(Option::is_some).await;
        let ending = seen.ok().and_then(|ending| ending.clone());
        ending.unwrap_or_else(|| "is gone".to_owned())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// Another look at how it ends, for whoever replaces it.
    pub(super) fn watcher(&self) -> watch::Receiver<Option<String>> {
        self.ending.clone()
    }

    /// Ends the process; returns before it has ended.
    pub(super) fn kill(&self) {
        kill(self.link.clone(), self.id);
    }

    /// The number that it noted last: of several calls, the one that it began.
    pub(super) fn mark(&self) -> Option<usize> {
        self.page.mark()
    }

    /// Its process id, as the template sees it, once that is known.
    pub(super) fn pid(&self) -> watch::Receiver<Option<i32>> {
        self.pid.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::error_first;

    #[test]
    fn the_error_of_a_traceback() {
        let check = |traceback: &str, wanted: &str| {
            let told = error_first("It failed", traceback);
            assert_eq!(told.lines().next(), Some(wanted), "{traceback}");
        };
        check("Traceback:\n  File \"x\"\nKeyError: 'a'\n", "It failed: KeyError: 'a'");
        check(
            "Traceback (most recent call last):\nxgboost.core.XGBoostError: [1] no\nStack trace:\n\
             \u{20} [bt] (0) lib\n",
            "It failed: xgboost.core.XGBoostError: [1] no",
        );
        check("  indented only", "It failed:   indented only");
        check("", "It failed: ");
    }
}
