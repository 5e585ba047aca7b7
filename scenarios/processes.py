"""What a server has running and open, as /proc tells it."""

import os
import signal
from collections import Counter
from pathlib import Path

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid):
    """All processes below `pid`, zombies left out."""
    children = {}
    for child in _all():
        state, parent = _stat(child) or (None, None)
        if state not in (None, "Z"):
            children.setdefault(parent, []).append(child)
    found, next_ones = set(), [pid]
    while next_ones:
        next_ones = [child for one in next_ones for child in children.get(one, [])]
        found.update(next_ones)
    return found


def leaves(pid):
    """The processes below `pid` that have none below them: those that do the work."""
    below = descendants(pid)
    parents = {(_stat(one) or (None, None))[1] for one in below}
    return below - parents


def trees(pid):
    """Each process that `pid` started itself, with all below it."""
    children = [child for child in _all() if (_stat(child) or ("Z", None))[1] == pid]
    return [{child} | descendants(child) for child in children]


def related(server):
    """The server's processes, and those that it lost but that still name its folder."""
    named = {pid for pid in _all() if _names(pid, str(server.data_dir))}
    return (descendants(server.process.pid) | named) - {server.process.pid, os.getpid()}


def has_argument(pid, argument):
    """True if the process was started with it."""
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return argument.encode() in command.split(b"\0")


def are_gone(pids):
    """True if none of them runs; a zombie does not."""
    return all((_stat(pid) or ("Z", 0))[0] == "Z" for pid in pids)


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It ended by itself.


def held(pid):
    """What the process has open for others: pipes, local sockets, memory, files of its runs."""
    targets = [_link(entry) for entry in _entries(PROC / str(pid) / "fd")]
    tcp = _tcp_sockets(pid)  # A client's.
    return Counter(kind for target in targets if target not in tcp and (kind := _kind(target)))


def _kind(target):
    for start in ("pipe:", "socket:", "/memfd:"):
        if target.startswith(start):
            return start.strip("/:")
    if target.startswith("anon_inode:"):
        return target
    return "file" if "/run/" in target else None


def left_over(server):
    """Files and sockets below the folder of running programs."""
    run = server.data_dir / "run"
    in_run = sorted(run.rglob("*")) if run.is_dir() else []
    sockets = [path for path in server.data_dir.rglob("*") if path.is_socket()]
    return in_run + [path for path in sockets if path not in in_run]


def resident(pids):
    """Bytes of memory that the processes have for themselves."""
    return sum(_private(pid) for pid in pids)


def _private(pid):
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in lines if line.startswith("Private_")]
    return sum(int(size) * 1024 for size in sizes)


def _all():
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid):
    """The state and the parent of a process; nothing if it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The program's name stands in brackets and may hold blanks.
    state, parent = text.rsplit(")", 1)[1].split()[:2]
    return state, int(parent)


def _names(pid, folder):
    if (_stat(pid) or ("Z", 0))[0] == "Z":
        return False
    folder = Path(folder)
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes()
        variables = (PROC / str(pid) / "environ").read_bytes()
        directory = _link(PROC / str(pid) / "cwd")
    except OSError:
        return False
    text = str(folder).encode() + b"/"
    return text in command or text in variables or Path(directory).is_relative_to(folder)


def _tcp_sockets(pid):
    """`socket:[inode]` of all connections of TCP."""
    found = set()
    for name in ("tcp", "tcp6"):
        lines = (PROC / str(pid) / "net" / name).read_text().splitlines()[1:]
        found.update(f"socket:[{line.split()[9]}]" for line in lines)
    return found


def _link(path):
    """Where a link leads; nowhere if it is gone."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _entries(folder):
    try:
        return list(folder.iterdir())
    except OSError:
        return []
