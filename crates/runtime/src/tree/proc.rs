//! What `/proc` says about processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getuid, kill_process, kill_process_group,
    pidfd_open, pidfd_send_signal, waitpid,
};

/// One process, as `/proc/<pid>/stat` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// It has ended and waits for its parent to ask how.
    pub(crate) zombie: bool,
    pub(crate) threads: usize,
    /// In ticks since the machine's start: with the id, this names a process for good.
    pub(crate) started: u64,
    pub(crate) resident_bytes: u64,
    /// What it has computed, and its children that have ended.
    pub(crate) cpu: Duration,
}

/// All processes of this machine that could be seen at one moment.
pub(crate) struct Snapshot {
    processes: BTreeMap<i32, Process>,
    children: BTreeMap<i32, Vec<i32>>,
}

impl Snapshot {
    pub(crate) fn take() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let processes: BTreeMap<i32, Process> =
            ids.filter_map(|id| Some((id, Process::of(id)?))).collect();
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for process in processes.values() {
            children.entry(process.parent).or_default().push(process.id);
        }
        Self { processes, children }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Those of `seeds` that are there, and all that descend from them.
    pub(crate) fn with_descendants(&self, seeds: impl IntoIterator<Item = i32>) -> Vec<&Process> {
        let mut found = BTreeMap::new();
        let mut open: Vec<i32> = seeds.into_iter().collect();
        while let Some(id) = open.pop() {
            let Some(process) = self.processes.get(&id) else { continue };
            if found.insert(id, process).is_none() {
                open.extend(self.children.get(&id).into_iter().flatten());
            }
        }
        found.into_values().collect()
    }
}

impl Process {
    /// The process of that id; `None` if there is none.
    pub(crate) fn of(id: i32) -> Option<Self> {
        parse(&fs::read(format!("/proc/{id}/stat")).ok()?)
    }

    /// A process that was gone before it was looked at. It is like none that is there.
    pub(crate) fn gone(id: i32) -> Self {
        Self {
            id,
            parent: 0,
            group: 0,
            session: 0,
            zombie: true,
            threads: 0,
            started: u64::MAX,
            resident_bytes: 0,
            cpu: Duration::ZERO,
        }
    }

    pub(crate) fn is_our_child(&self) -> bool {
        self.parent == getpid().as_raw_pid()
    }

    /// True if the user that we run as owns it.
    pub(crate) fn is_of_our_user(&self) -> bool {
        let owner = fs::metadata(format!("/proc/{}", self.id)).map(|found| found.uid());
        owner.is_ok_and(|owner| owner == getuid().as_raw())
    }

    /// True if the environment that it was started with satisfies `wanted` in one entry.
    pub(crate) fn environment_has(&self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.id)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(wanted)
    }

    /// Its id in its own namespace.
    pub(crate) fn inside(&self) -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        field(&status, "NSpid:")?.split_whitespace().next_back()?.parse().ok()
    }

    /// The memory that only its end gives back to the machine, and what it shares with other
    /// processes through anonymous pages; files that it maps are not counted.
    pub(crate) fn anonymous_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        Some(kilobytes(&status, "RssAnon:")? + kilobytes(&status, "RssShmem:")?)
    }

    /// The memory that no other process shares. Walks its page tables: not for every moment.
    pub(crate) fn private_bytes(&self) -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id)).ok()?;
        Some(kilobytes(&rollup, "Private_Clean:")? + kilobytes(&rollup, "Private_Dirty:")?)
    }

    /// Kills it, if it is still the one that was seen.
    pub(crate) fn kill(&self) {
        let Some(id) = Pid::from_raw(self.id) else { return };
        // Taken before the look: whatever gets the id after it is not what this names.
        let handle = pidfd_open(id, PidfdFlags::empty());
        if !self.is_alive() {
            return;
        }
        // It may have ended since. Kernels before 5.3 have no handles.
        let _ended = match handle {
            Ok(handle) => pidfd_send_signal(handle, Signal::KILL),
            Err(_) => kill_process(id, Signal::KILL),
        };
    }

    /// Signals the group that it leads, if it is still the one that was seen.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.id).filter(|_| self.is_there()) {
            // It may have ended since.
            let _ended = kill_process_group(id, signal);
        }
    }

    /// True if it has not been reaped.
    pub(crate) fn is_there(&self) -> bool {
        Self::of(self.id).is_some_and(|now| now.started == self.started)
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.id).is_some_and(|now| now.started == self.started && !now.zombie)
    }

    /// Asks how it ended, so that its entry goes. Only for a child that nobody else waits for.
    pub(crate) fn reap(&self) {
        if let Some(id) = Pid::from_raw(self.id) {
            // It may have been reaped since.
            let _reaped = waitpid(Some(id), WaitOptions::NOHANG);
        }
    }
}

/// What tells this start of the machine from others.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The name of a program may hold spaces and parentheses; the fields are counted after it.
fn parse(stat: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    let id = stat.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<i64>().ok();
    let signed = |place: usize| i32::try_from(number(place)?).ok();
    let pages = u64::try_from(number(21)?).ok()?;
    let ticks = (11..=14).map_while(number).sum::<i64>();
    Some(Process {
        id,
        parent: signed(1)?,
        group: signed(2)?,
        session: signed(3)?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        threads: usize::try_from(number(17)?).ok()?,
        started: u64::try_from(number(19)?).ok()?,
        resident_bytes: pages * rustix::param::page_size() as u64,
        cpu: of_ticks(u64::try_from(ticks).ok()?),
    })
}

fn of_ticks(ticks: u64) -> Duration {
    let each = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / each))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let number: u64 = field(text, name)?.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}

#[cfg(test)]
mod tests {
    use super::{Process, Snapshot, parse};

    #[test]
    fn names_of_programs_do_not_shift_the_fields() {
        let rest = "S 7 40 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 12345 99 10 0";
        for name in ["cat", "a b", "x) R 1 2 3 ("] {
            let found = parse(format!("42 ({name}) {rest}").as_bytes()).unwrap();
            assert_eq!((found.id, found.parent, found.group, found.session), (42, 7, 40, 41));
            assert_eq!((found.threads, found.started, found.zombie), (3, 12345, false));
            assert_eq!(found.resident_bytes, 10 * rustix::param::page_size() as u64);
            assert_eq!(found.cpu, super::of_ticks(5 + 6 + 7 + 8));
        }
        assert_eq!(parse(b"42 (cat"), None);
    }

    #[test]
    fn this_process_is_there() {
        let id = rustix::process::getpid().as_raw_pid();
        let all = Snapshot::take();
        let own = all.iter().find(|process| process.id == id).unwrap();
        assert!(all.with_descendants([own.parent]).contains(&own));
        assert!(own.is_of_our_user() && !own.is_our_child() && !own.zombie);
        assert!(own.resident_bytes > 0 && own.threads > 0);
        assert!(own.anonymous_bytes().unwrap() > 0);
        assert!(own.private_bytes().unwrap() > 0);
        assert_eq!(Process::of(id).map(|own| own.started), Some(own.started));
    }
}
