//! A started program with all processes that it starts: held until none is left.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::task;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::sync::watch as channel;
use tokio::time::{Instant, timeout_at};

use crate::sandbox::Home;

pub(crate) mod family;
pub(crate) mod proc;
mod watch;

use family::{Family, Kind, Limits};
use proc::Process;

/// A running program. Dropped, all of it is killed.
pub struct Tree {
    family: Arc<Family>,
    output: Mutex<Option<(ChildStdout, ChildStderr)>>,
    exit: channel::Receiver<Option<Exit>>,
}

/// How a program ended. Display fits after "The process": `ended with exit code 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It had so many processes and threads at once, and was killed for it.
    TooManyProcesses(usize),
    /// It is gone, and nobody knows how.
    Unknown,
}

/// What a program takes; as it was seen last, a quarter of a second ago at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub processes: usize,
    /// The threads of all processes; each has one at least.
    pub threads: usize,
    /// Their resident sets together. What they share is counted for each of them.
    pub resident_bytes: u64,
    /// What they have computed so far, with those of theirs that have ended.
    pub cpu: Duration,
}

impl From<Usage> for sagebrush_core::worker::Usage {
    fn from(usage: Usage) -> Self {
        Self { cpu: usage.cpu, memory_bytes: usage.resident_bytes }
    }
}

impl Tree {
    /// Holds `child`, which was started in `home`.
    pub(crate) fn hold(
        mut child: Child,
        kind: Kind,
        limits: Limits,
        home: Home,
    ) -> io::Result<Self> {
        let gone = || io::Error::other("it ended at once");
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let root = id.and_then(Process::of).ok_or_else(gone)?;
        home.note(&root)?;
        let output = Mutex::new(child.stdout.take().zip(child.stderr.take()));
        let family = Arc::new(Family::new(root, kind, home.path().to_owned(), limits));
        watch::join(family.clone());
        let (sender, exit) = channel::channel(None);
        let held = Held { family: family.clone(), home: Some(home) };
        task::spawn("process", hold(child, held, sender));
        Ok(Self { family, output, exit })
    }

    /// What it prints; once only.
    #[must_use]
    pub fn output(&self) -> Option<(ChildStdout, ChildStderr)> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns once the program has ended and nothing of it is left.
    pub async fn ended(&self) -> Exit {
        self.end().await
    }

    /// As [`Self::ended`], for who must not keep it running.
    pub(crate) fn end(&self) -> impl Future<Output = Exit> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            let seen = exit.wait_for(Option::is_some).await;
            seen.ok().and_then(|exit| *exit).unwrap_or(Exit::Unknown)
        }
    }

    /// Asks the program to end, and ends all of it at `deadline`. Returns when nothing is left.
    pub async fn stop(&self, deadline: Instant) -> Exit {
        if self.exit.borrow().is_none() {
            self.family.terminate();
        }
        if let Ok(exit) = timeout_at(deadline, self.ended()).await {
            return exit;
        }
        self.kill().await
    }

    /// Ends all of it now. Returns when nothing is left.
    pub async fn kill(&self) -> Exit {
        if self.exit.borrow().is_none() {
            self.family.kill();
        }
        self.ended().await
    }

    /// Whether it only waits, and is not looked at: then it is not held to what limits of the
    /// kernel do not hold it to.
    pub(crate) fn set_rests(&self, rests: bool) {
        self.family.set_rests(rests);
    }

    /// The process that was started; of a confined program, the one that confines it.
    #[must_use]
    pub(crate) fn root(&self) -> i32 {
        self.family.root().id
    }

    /// What it takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.family.usage()
    }

    /// The memory of the process that knows itself by the id `pid_inside`, without what it shares
    /// with others; `None` if there is none. Takes some milliseconds.
    #[must_use]
    pub fn memory_of(&self, pid_inside: i32) -> Option<u64> {
        self.family.memory_of(pid_inside)
    }

    /// Where lines about it go, beside those that it prints.
    pub(crate) fn set_log(&self, log: &Arc<dyn LogSink>, at: &LogStream) {
        self.family.set_log(log.clone(), at.clone());
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            self.family.kill();
        }
    }
}

/// Waits for the program, ends what it left behind, removes its home.
async fn hold(mut child: Child, held: Held, exit: channel::Sender<Option<Exit>>) {
    let status = child.wait().await;
    let family = held.family.clone();
    // Without a place to block in, the server is going down: dropping it did the same.
    let _shutting_down = task::blocking(move || drop(held)).await;
    let seen = status.map_or(Exit::Unknown, |status| Exit::of(status, family.is_group()));
    exit.send_replace(Some(family.verdict().unwrap_or(seen)));
}

/// All that a program leaves behind: gone when this is dropped, with or without a runtime.
struct Held {
    family: Arc<Family>,
    home: Option<Home>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.family.end();
        watch::leave(&self.family);
        drop(self.home.take());
    }
}

impl Exit {
    /// What held the namespaces tells a signal as shells do: 128 and its number.
    fn of(status: ExitStatus, is_direct: bool) -> Self {
        match (status.code(), status.signal()) {
            (Some(code @ 129..=159), _) if !is_direct => Self::Signal(code - 128),
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(9) => f.write_str("was killed by signal 9, as for want of memory"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::TooManyProcesses(count) => {
                write!(f, "was killed: it had {count} processes and threads, more than it may have")
            }
            Self::Unknown => f.write_str("is gone"),
        }
    }
}

#[cfg(test)]
mod tests;
