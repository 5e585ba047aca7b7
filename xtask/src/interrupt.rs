//! Ctrl-C and SIGTERM as a flag, so that what was started is stopped before the chore ends.

use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the signals raise the flag and do not end the process.
    pub(crate) fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupts, mut terminations) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let raised = Arc::new(AtomicBool::new(false));
        let flag = raised.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
            });
            flag.store(true, Ordering::SeqCst);
        })?;
        Ok(Self(raised))
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until it is raised, or `is_over` says that there is nothing left to wait for.
    pub(crate) fn wait(&self, mut is_over: impl FnMut() -> bool) {
        while !self.is_raised() && !is_over() {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs a command; when the flag is raised it is killed.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
        let mut ended: Option<ExitStatus> = None;
        self.wait(|| {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        });
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{command:?} ended with {status}"),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("interrupted");
            }
        }
    }
}
