//! A started program with all processes that it starts: held until none is left.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};
use sagebrush_core::task;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::sandbox::Home;

/// A running program. Dropped, all of it is killed.
pub struct Tree {
    group: Pid,
    output: Mutex<Option<(ChildStdout, ChildStderr)>>,
    exit: watch::Receiver<Option<Exit>>,
}

/// How a program ended. Display fits after "The process": `ended with exit code 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It is gone, and nobody knows how.
    Unknown,
}

/// What a program takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub resident_bytes: u64,
}

impl Tree {
    pub(crate) fn spawn(command: &mut Command, home: Home) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let gone = || io::Error::other("it ended at once");
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.ok_or_else(gone)?;
        let output = Mutex::new(child.stdout.take().zip(child.stderr.take()));
        let (sender, exit) = watch::channel(None);
        task::spawn("process", hold(child, group, home, sender));
        Ok(Self { group, output, exit })
    }

    /// The program itself; what it starts is below it.
    #[must_use]
    pub(crate) fn root(&self) -> Pid {
        self.group
    }

    /// What it takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let status = format!("/proc/{}/status", self.group.as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Usage { resident_bytes: kib.unwrap_or(0) << 10 }
    }

    /// What it prints; once only.
    #[must_use]
    pub fn output(&self) -> Option<(ChildStdout, ChildStderr)> {
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Returns once the program has ended and nothing of it is left.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let seen = exit.wait_for(Option::is_some).await;
        seen.ok().and_then(|exit| *exit).unwrap_or(Exit::Unknown)
    }

    /// Asks the program to end, and ends all of it at `deadline`. Returns when nothing is left.
    pub async fn stop(&self, deadline: Instant) -> Exit {
        self.signal(Signal::TERM);
        if let Ok(exit) = timeout_at(deadline, self.ended()).await {
            return exit;
        }
        self.kill().await
    }

    /// Ends all of it now. Returns when nothing is left.
    pub async fn kill(&self) -> Exit {
        self.signal(Signal::KILL);
        self.ended().await
    }

    fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_none() {
            // It may have ended between the look and the signal.
            let _ended = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the program, ends what it left behind, removes its home.
async fn hold(mut child: Child, group: Pid, home: Home, exit: watch::Sender<Option<Exit>>) {
    let status = child.wait().await;
    let _ended = kill_process_group(group, Signal::KILL);
    drop(task::blocking(move || drop(home)).await);
    exit.send_replace(Some(status.map_or(Exit::Unknown, Exit::from)));
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
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
            Self::Unknown => f.write_str("is gone"),
        }
    }
}
