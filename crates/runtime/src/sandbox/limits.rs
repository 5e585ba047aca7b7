//! What the kernel itself holds each process to.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Resource, getrlimit, getuid};

use super::Confinement;

/// Open files per process: more than servers need, less than a table of them costs.
const FILES: u64 = 65_536;
/// From here on Linux counts the processes of a user per namespace.
const COUNTS_BY_NAMESPACE: (u32, u32) = (5, 14);

/// A shell script that sets the limits and becomes the program in its arguments.
///
/// A shell, because limits must hold before the program's first instruction: set from outside after
/// the start they would come too late, and set between fork and exec they would need unsafe code.
/// They are inherited, so they hold for all that the program starts.
pub(super) fn script(confinement: &Confinement) -> String {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(FILES).min(FILES);
    let mut script = format!("ulimit -c 0 && ulimit -n {files}");
    if let Some(bytes) = confinement.memory_bytes {
        let kilobytes = allowed(bytes) >> 10;
        // Writing to a string does not fail.
        let _written = write!(script, " && ulimit -d {kilobytes}");
    }
    script.push_str(" && exec \"$@\"");
    script
}

/// A limit cannot be raised above what we have ourselves.
fn allowed(bytes: u64) -> u64 {
    getrlimit(Resource::Data).maximum.map_or(bytes, |most| most.min(bytes))
}

/// The same for the count of processes, to be run inside. `None` where the kernel would count
/// those outside, too, or does not count at all, as for root. The watch over the program ends it
/// at the real limit; this one, well above, is for what outruns the watch.
pub(super) fn script_inside(confinement: &Confinement) -> Option<String> {
    let most = confinement.processes.filter(|_| !getuid().is_root() && counts_by_namespace())?;
    Some(counted(most * 2 + 64))
}

/// The letter is not the same in all shells; a system with neither is left to the watch.
fn counted(most: usize) -> String {
    format!("{{ ulimit -u {most} || ulimit -p {most}; }} 2>/dev/null; exec \"$@\"")
}

fn counts_by_namespace() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= COUNTS_BY_NAMESPACE
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::counted;

    #[test]
    fn the_count_holds_in_this_shell_and_nothing_is_said() {
        let script = counted(321);
        let command = ["-c", &script, "sh", "cat", "/proc/self/limits"];
        let done = Command::new("/bin/sh").args(command).output().unwrap();
        let limits = String::from_utf8(done.stdout).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max processes")).unwrap();
        assert!(line.contains("321"), "{line}");
        assert_eq!(String::from_utf8(done.stderr).unwrap(), "");
    }
}
