//! CPU time of processes, as /proc tells it.

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
pub(super) fn of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(parse(&stat)?.own)
}

/// That of a process and of all below it, those included that have ended.
pub(super) fn of_tree(root: u32) -> Result<Duration> {
    let all = processes()?;
    let is_below = |mut pid: u32| {
        while let Some(stat) = all.get(&pid) {
            if pid == root {
                return true;
            }
            pid = stat.parent;
        }
        false
    };
    let below = all.iter().filter(|(pid, _)| is_below(**pid));
    Ok(below.map(|(_, stat)| stat.own + stat.ended).sum())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{of, of_tree, parse};

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
    fn a_tree_has_no_less_than_its_root() {
        let pid = std::process::id();
        let own = of(pid).unwrap();
        assert!(of_tree(pid).unwrap() >= own);
    }
}
