//! The processes of one program: found, counted, ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use sagebrush_core::logs::{LogSink, LogStream};

use super::proc::{Process, Snapshot};
use super::{Exit, Usage, watch};

/// The environment variable that tells whose a process is after its parents have ended.
pub(crate) const MARKER: &str = "SAGEBRUSH_HOME";

/// How often it is looked for what is left, and how long between two looks at most.
const LOOKS: u32 = 250;
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Family {
    /// Our child: the program, or what holds its namespaces from outside.
    root: Process,
    kind: Kind,
    home: PathBuf,
    limits: Limits,
    seen: Mutex<Seen>,
    verdict: OnceLock<Exit>,
    log: OnceLock<(Arc<dyn LogSink>, LogStream)>,
    /// It waits for orders, and need not be looked at.
    rests: AtomicBool,
}

/// How its processes are told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By descent, by their group and by the marker in their environment.
    Group,
    /// All are below the first process of their namespace, and end with it.
    Namespaces { first: Process },
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) processes: Option<usize>,
}

#[derive(Default)]
struct Seen {
    /// When each known process was started, by its id.
    known: BTreeMap<i32, u64>,
    /// Processes by the id that they have inside.
    inside: BTreeMap<i32, Process>,
    usage: Option<Usage>,
}

impl Family {
    pub(crate) fn new(root: Process, kind: Kind, home: PathBuf, limits: Limits) -> Self {
        let (seen, verdict, log) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Self { root, kind, home, limits, seen, verdict, log, rests: AtomicBool::new(false) }
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    pub(crate) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    pub(crate) fn root(&self) -> &Process {
        &self.root
    }

    pub(crate) fn is_group(&self) -> bool {
        self.kind == Kind::Group
    }

    /// Why it was ended by us, if it was for a limit.
    pub(crate) fn verdict(&self) -> Option<Exit> {
        self.verdict.get().copied()
    }

    /// Where lines about it go, beside those that it prints.
    pub(crate) fn set_log(&self, log: Arc<dyn LogSink>, at: LogStream) {
        let _first_one_stays = self.log.set((log, at));
    }

    pub(crate) fn usage(&self) -> Usage {
        let usage = self.lock().usage;
        usage.unwrap_or_else(|| self.count(&Snapshot::take()).1)
    }

    pub(crate) fn memory_of(&self, inside: i32) -> Option<u64> {
        let known = self.lock().inside.get(&inside).filter(|process| process.is_alive()).cloned();
        let process = known.or_else(|| self.find(inside))?;
        process.private_bytes().or_else(|| process.anonymous_bytes())
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        match &self.kind {
            Kind::Group => self.root.signal_group(Signal::TERM),
            // The first process ignores it, as such processes do; those that it leads do not.
            Kind::Namespaces { first } => first.signal_group(Signal::TERM),
        }
    }

    /// Kills what is there now, without waiting.
    pub(crate) fn kill(&self) {
        match &self.kind {
            Kind::Group => self.kill_members(&self.members(&Snapshot::take())),
            Kind::Namespaces { first } => {
                first.kill();
                self.root.kill();
            }
        }
    }

    /// Ends what is left of it and returns when nothing is. Blocks.
    pub(crate) fn end(&self) {
        let mut pause = Duration::from_millis(1);
        for _ in 0..LOOKS {
            if self.is_over() {
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::warn!(home = %self.home.display(), "processes of a program do not end");
    }

    /// True if nothing is left; kills and reaps what is.
    fn is_over(&self) -> bool {
        match &self.kind {
            Kind::Group => {
                let all = Snapshot::take();
                let members = self.members(&all);
                self.kill_members(&members);
                members.is_empty()
            }
            Kind::Namespaces { first } => {
                first.kill();
                // It is ours to reap when what held it from outside ended before it.
                if let Some(now) = Process::of(first.id).filter(|now| now.zombie) {
                    self.reap(&now);
                }
                !first.is_there()
            }
        }
    }

    fn kill_members(&self, members: &[Process]) {
        // At one stroke, so that none of them can fork meanwhile.
        if members.iter().any(|process| process.group == self.root.id) {
            self.root.signal_group(Signal::KILL);
        }
        for process in members {
            if process.zombie { self.reap(process) } else { process.kill() }
        }
    }

    /// The root is waited for by who started it.
    fn reap(&self, zombie: &Process) {
        if zombie.is_our_child() && zombie.id != self.root.id {
            zombie.reap();
        }
    }

    /// Counts its processes and holds them to their limits.
    pub(crate) fn look(&self, all: &Snapshot) {
        let (members, usage) = self.count(all);
        for zombie in members.iter().filter(|process| process.zombie) {
            self.reap(zombie);
        }
        if self.limits.processes.is_some_and(|most| usage.threads > most) {
            let _first_one_stays = self.verdict.set(Exit::TooManyProcesses(usage.threads));
            self.kill();
            return;
        }
        let Some(most) = self.limits.memory_bytes else { return };
        let program = self.program(&members);
        for process in members {
            if process.resident_bytes > most && Some(process.id) != program {
                self.hold_to_memory(&process, most);
            }
        }
    }

    /// Ends a process, but not the program, that has more memory of its own than it may.
    fn hold_to_memory(&self, process: &Process, most: u64) {
        let Some(bytes) = process.anonymous_bytes().filter(|bytes| *bytes > most) else { return };
        let id = process.inside().unwrap_or(process.id);
        process.kill();
        tracing::warn!(process = process.id, bytes, most, "a process took too much memory");
        if let Some((log, at)) = self.log.get() {
            let (bytes, most) = (bytes >> 20, most >> 20);
            let line = format!(
                "Process {id} was killed: it had {bytes} MiB of memory and may have {most} MiB."
            );
            log.write(at, &line);
        }
    }

    fn count(&self, all: &Snapshot) -> (Vec<Process>, Usage) {
        let members = self.members(all);
        let alive = members.iter().filter(|process| !process.zombie);
        let mut usage = Usage::default();
        for process in alive {
            usage.processes += 1;
            usage.threads += process.threads;
            usage.resident_bytes += process.resident_bytes;
            usage.cpu += process.cpu;
        }
        let mut seen = self.lock();
        // What nobody waited for is not counted any more once it has ended.
        usage.cpu = usage.cpu.max(seen.usage.unwrap_or_default().cpu);
        seen.usage = Some(usage);
        drop(seen);
        (members, usage)
    }

    /// Its processes, without those that only hold its namespaces.
    fn members(&self, all: &Snapshot) -> Vec<Process> {
        match &self.kind {
            Kind::Namespaces { first } => {
                let below = all.with_descendants([first.id]);
                let is_first = |process: &&Process| process.id == first.id;
                if below.iter().copied().find(is_first).map(|now| now.started)
                    != Some(first.started)
                {
                    return Vec::new();
                }
                below.into_iter().filter(|process| !is_first(process)).cloned().collect()
            }
            Kind::Group => self.group_members(all),
        }
    }

    /// An orphan becomes our child (we are a reaper of orphans). It is known from before, or it is
    /// still in its group, or the environment that it was started with tells whose it is.
    fn group_members(&self, all: &Snapshot) -> Vec<Process> {
        let roots = watch::roots();
        let marker = format!("{MARKER}={}", self.home.display());
        let mut seen = self.lock();
        let is_ours = |process: &&Process| {
            let is_known = seen.known.get(&process.id) == Some(&process.started);
            let is_stranger = process.is_our_child() && !roots.contains(&process.id);
            let is_marked = || process.environment_has(|entry| entry == marker.as_bytes());
            is_known || (is_stranger && (process.group == self.root.id || is_marked()))
        };
        let seeds: Vec<i32> = all.iter().filter(is_ours).map(|process| process.id).collect();
        let is_over = |process: &&Process| process.id == self.root.id && process.zombie;
        let root = (self.root.is_there()).then_some(self.root.id);
        let found = all.with_descendants(seeds.into_iter().chain(root));
        let found: Vec<Process> =
            found.into_iter().filter(|process| !is_over(process)).cloned().collect();
        seen.known = found.iter().map(|process| (process.id, process.started)).collect();
        found
    }

    /// The process that is the program itself.
    fn program(&self, members: &[Process]) -> Option<i32> {
        match &self.kind {
            Kind::Group => Some(self.root.id),
            Kind::Namespaces { first } => {
                let children = members.iter().filter(|process| process.parent == first.id);
                Some(children.min_by_key(|process| process.started)?.id)
            }
        }
    }

    fn find(&self, inside: i32) -> Option<Process> {
        let members = self.members(&Snapshot::take());
        let by_id = members.into_iter().filter_map(|process| Some((process.inside()?, process)));
        let by_id: BTreeMap<i32, Process> = by_id.collect();
        let found = by_id.get(&inside).cloned();
        self.lock().inside = by_id;
        found
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
