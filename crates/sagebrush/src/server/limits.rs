//! What the system gives this process: files, and memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More open files than anybody needs; some systems have no bound but this.
const MAX_FILES: u64 = 1 << 20;
/// Files, models, and sockets of workers have at least so many.
const MIN_KEPT: u64 = 64;
const MAX_KEPT: u64 = 8192;
/// More connections would take more memory than they are worth.
const MAX_CONNECTIONS: u64 = 65_536;

/// Raises the soft limit of open files to the hard one, and says how many connections it bears.
pub(super) fn raise() -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(MAX_FILES).min(MAX_FILES);
    let mut current = limit.current.unwrap_or(MAX_FILES);
    if current < most {
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current = most,
            Err(error) => tracing::warn!(%error, current, "the limit of open files stays low"),
        }
    }
    connections(current)
}

/// A quarter is kept for everything else.
fn connections(n_files: u64) -> u32 {
    let kept = (n_files / 4).clamp(MIN_KEPT, MAX_KEPT);
    let n = n_files.saturating_sub(kept).clamp(16, MAX_CONNECTIONS);
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The memory that this process may have: the machine's or its control group's.
pub(crate) fn memory() -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let machine = machine.map_or(1 << 30, |kib| kib << 10);
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let bounds = groups.iter().filter_map(|path| read(path)?.trim().parse().ok());
    bounds.fold(machine, u64::min)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_is_kept() {
        let check = |n_files, expected| assert_eq!(connections(n_files), expected, "{n_files}");
        check(20, 16);
        check(128, 64);
        check(1024, 768);
        check(20_000, 15_000);
        check(1 << 20, 65_536);
    }

    #[test]
    fn there_is_memory() {
        assert!(memory() > 16 << 20);
    }
}
