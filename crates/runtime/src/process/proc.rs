//! What the system knows about a program and those it started.

use std::collections::BTreeSet;
use std::fs;

use crate::tree::proc::Snapshot;

/// Whose socket listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Ours,
    Stranger,
    /// The system does not say.
    Unknown,
}

/// Says whether `root` or one below it listens on `port`. Blocks.
pub(super) fn owner(port: u16, root: i32) -> Owner {
    let sockets = listening(port);
    if sockets.is_empty() {
        return Owner::Unknown;
    }
    let mut seen_all = true;
    for process in Snapshot::take().with_descendants([root]) {
        match open_sockets(process.id) {
            Some(open) if !open.is_disjoint(&sockets) => return Owner::Ours,
            Some(_) => {}
            None => seen_all = false,
        }
    }
    if seen_all { Owner::Stranger } else { Owner::Unknown }
}

/// The inodes of the sockets that listen on `port`.
fn listening(port: u16) -> BTreeSet<u64> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(|line| listener(line, port)).collect()
}

/// The inode in a line of the table of sockets, if it listens on `port`.
fn listener(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, at) = columns.get(1)?.rsplit_once(':')?;
    let listens = columns.get(3) == Some(&LISTEN) && u16::from_str_radix(at, 16) == Ok(port);
    columns.get(9).filter(|_| listens)?.parse().ok()
}

/// The inodes of a process's sockets; `None` if they may not be looked at.
fn open_sockets(pid: i32) -> Option<BTreeSet<u64>> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let inode = |file: fs::DirEntry| {
        let target = fs::read_link(file.path()).ok()?;
        let target = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        target.parse().ok()
    };
    Some(files.flatten().filter_map(inode).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_has_an_owner() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(owner(port, me), Owner::Ours);
        drop(listener);
        assert_eq!(owner(port, me), Owner::Unknown);
    }
}
