//! A process of a side, in a group of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Process, Running, Side};
use crate::bench::Bench;
use crate::bench::load::{Connection, Deck, Question, Target};
use crate::bench::workload::Kind;
use crate::process::now;

/// Importing frameworks takes its time on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Of calls before the first round.
const WARM_UP: Duration = Duration::from_secs(1);
/// A JVM compiles as it goes.
const WARM_UP_OF_JAVA: Duration = Duration::from_secs(8);

/// Dropping it ends it with all that it started.
pub(super) struct Child(std::process::Child);

/// Starts a side's process, and waits until it answers the workload's first question.
pub(super) fn start(
    bench: &Bench,
    side: Side,
    kind: Kind,
    mut command: Command,
    (address, path): (String, &str),
) -> Result<Running> {
    let log = bench.out.join(format!("{}-{}.log", side.name(), kind.name()));
    let file = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let began = now();
    let mut child = Child(command.spawn().with_context(|| format!("starting {}", side.name()))?);
    let target = Target { address, path: path.to_owned(), is_signed: false, pid: child.0.id() };
    let questions = side.questions(kind, bench.first_item(kind)?)?;
    let cold_start = wait(bench, &mut child, &target, &questions, began)
        .with_context(|| format!("{} did not start{}", side.name(), last_line(&log)))?;
    // Some calls at once, for workers may start one after the other.
    bench.saturate(&target, &questions, warm_up(side))?;
    Ok(Running { side, target, cold_start, _process: Process::Other(child) })
}

fn warm_up(side: Side) -> Duration {
    if side == Side::MultiModelServer { WARM_UP_OF_JAVA } else { WARM_UP }
}

/// Until the first right answer.
fn wait(
    bench: &Bench,
    child: &mut Child,
    target: &Target,
    questions: &[Question],
    began: Instant,
) -> Result<Duration> {
    let mut said = None;
    while began.elapsed() < START_TIMEOUT {
        bench.check_interrupt()?;
        if let Some(status) = child.0.try_wait()? {
            bail!("it ended with {status}");
        }
        match bench.runtime.block_on(ask(target, questions)) {
            Ok(None) => return Ok(began.elapsed()),
            Ok(other) => said = other.or(said),
            Err(_) => {} // It does not listen yet.
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("no right answer within {START_TIMEOUT:?}; the last was {said:?}");
}

/// `None` for a right answer, else what was said.
pub(super) async fn ask(target: &Target, questions: &[Question]) -> Result<Option<String>> {
    let deck = Deck::new(target, questions, &[0])?;
    let (request, expected) = deck.card(0)?;
    let mut connection = Connection::new(&target.address);
    let answer = tokio::time::timeout(CALL_TIMEOUT, connection.call(request)).await??;
    let is_right = answer.status == 200 && expected.is_met_by(answer.body);
    let said = || {
        let body: String = String::from_utf8_lossy(answer.body).chars().take(300).collect();
        format!("{} {body}", answer.status)
    };
    Ok((!is_right).then(said))
}

impl Child {
    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // It may have ended just now: then there is nothing to signal.
        let _sent = group.map(|group| kill_process_group(group, signal));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = now() + STOP_TIMEOUT;
        while now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
        self.signal(Signal::KILL);
        let _reaped = self.0.wait();
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| format!(" (its last words: {line})")).unwrap_or_default()
}
