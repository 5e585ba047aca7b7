//! CPU time and memory of processes, as /proc tells them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What `/proc/<pid>/stat` says of one process.
struct Stat {
    parent: u32,
    /// User and system time of its own.
    own: Duration,
    /// That of its children that have ended and were waited for.
    ended: Duration,
}

/// User and system time that a process has had so far.
pub(super) fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(parse(&stat)?.own)
}

/// That of a process and of all below it, those included that have ended.
pub(super) fn cpu_of_tree(root: u32) -> Result<Duration> {
    let all = processes()?;
    Ok(below(root, &all).map(|(_, stat)| stat.own + stat.ended).sum())
}

/// Bytes of memory of a process and all below it. What forks share counts once; of the files that
/// are mapped (libraries for the most part) those of the process with the most count.
pub(super) fn memory_of_tree(root: u32) -> Result<u64> {
    let all = processes()?;
    let (mut own, mut files) = (0, 0);
    for (pid, _) in below(root, &all) {
        // It may have ended since it was listed.
        let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let memory = parse_rollup(&rollup)?;
        own += memory.own;
        files = memory.files.max(files);
    }
    Ok(own + files)
}

fn below(root: u32, all: &BTreeMap<u32, Stat>) -> impl Iterator<Item = (&u32, &Stat)> {
    let is_below = move |mut pid: u32| {
        while let Some(stat) = all.get(&pid) {
            if pid == root {
                return true;
            }
            pid = stat.parent;
        }
        false
    };
    all.iter().filter(move |(pid, _)| is_below(**pid))
}

fn processes() -> Result<BTreeMap<u32, Stat>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue; // Not a process.
        };
        // It may have ended since it was listed.
        if let Ok(stat) = fs::read_to_string(entry.path().join("stat")) {
            found.insert(pid, parse(&stat)?);
        }
    }
    Ok(found)
}

fn parse(stat: &str) -> Result<Stat> {
    /// `USER_HZ` is 100 on every machine that Linux runs on today.
    const MILLIS_PER_TICK: u64 = 10;
    // The second field is the program's name, in brackets, and may hold blanks.
    let (_, rest) = stat.rsplit_once(')').context("/proc/<pid>/stat has another form")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |index: usize| -> Result<u64> {
        Ok(fields.get(index).context("/proc/<pid>/stat is short")?.parse()?)
    };
    let time = |user: usize, system: usize| -> Result<Duration> {
        Ok(Duration::from_millis((field(user)? + field(system)?) * MILLIS_PER_TICK))
    };
    Ok(Stat { parent: u32::try_from(field(1)?)?, own: time(11, 12)?, ended: time(13, 14)? })
}

/// Bytes of one process.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    /// Its part of what is no file's.
    own: u64,
    files: u64,
}

fn parse_rollup(rollup: &str) -> Result<Memory> {
    let field = |wanted: &str| -> Result<u64> {
        let find = |line: &str| {
            let value = line.strip_prefix(wanted)?.strip_prefix(':')?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let kib = rollup.lines().find_map(find);
        Ok(kib.with_context(|| format!("smaps_rollup has no {wanted}"))? << 10)
    };
    let own = field("Pss_Anon")? + field("Pss_Shmem")?;
    Ok(Memory { own, files: field("Rss")?.saturating_sub(field("Anonymous")?) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Memory, cpu_of, cpu_of_tree, memory_of_tree, parse, parse_rollup};

    #[test]
    fn a_line_is_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 11 2 30 4 20 0 1 0 100 5 6";
        let stat = parse(stat).unwrap();
        assert_eq!(stat.parent, 1);
        assert_eq!(
            (stat.own, stat.ended),
            (Duration::from_millis(130), Duration::from_millis(340))
        );
        assert!(parse("7 (a) S").is_err());
    }

    #[test]
    fn memory_is_read() {
        let rollup = "55 [rollup]\nRss:   30 kB\nPss:   9 kB\nPss_Anon:  5 kB\nPss_File:  3 kB\n\
            Pss_Shmem:  1 kB\nAnonymous:   10 kB\n";
        assert_eq!(parse_rollup(rollup).unwrap(), Memory { own: 6 << 10, files: 20 << 10 });
        assert!(parse_rollup("Rss: 1 kB").is_err());
    }

    #[test]
    fn a_tree_has_no_less_than_its_root() {
        let pid = std::process::id();
        let own = cpu_of(pid).unwrap();
        assert!(cpu_of_tree(pid).unwrap() >= own);
        assert!(memory_of_tree(pid).unwrap() > 0);
    }
}
