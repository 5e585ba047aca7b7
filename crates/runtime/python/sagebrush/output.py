"""What code prints goes to the log in whole lines, each with the id of the call it belongs to."""

import io
import os
import sys
import threading

from sagebrush.errors import trace

# The call under way in this process; None between calls. Of several calls that are answered
# together: the first one's, and how many more there are.
request_id = None
# The calls that `request_id` stands for, until a line has said so.
_unsaid = ()

# A pipe takes so much at once without mixing it with the lines of other workers.
ATOMIC = 4096
# A line without an end is cut after so many characters.
LONGEST = 16 << 10


class Lines(io.TextIOBase):
    """Standard output or standard error of a worker."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd):
        self._fd = fd
        self._part = ""
        self._lock = threading.RLock()
        # Another thread may have held it when this process was forked.
        os.register_at_fork(after_in_child=self._unlock)
        self.buffer = io.FileIO(fd, "w", closefd=False)

    def fileno(self):
        return self._fd

    def isatty(self):
        return False

    def writable(self):
        return True

    def reconfigure(self, **_settings):
        """Accepted, for code that sets an encoding; it stays UTF-8."""

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            whole = self._part + text
            if "\n" not in text and len(whole) <= LONGEST:
                self._part = whole
                return len(text)
            lines = whole.split("\n")
            self._part = lines.pop()
            if len(self._part) > LONGEST:
                lines.append(self._part)
                self._part = ""
            self._emit(lines)
        return len(text)

    def flush(self):
        if not self._part:
            return
        with self._lock:
            part, self._part = self._part, ""
            if part:
                self._emit([part])

    def _unlock(self):
        self._lock = threading.RLock()

    def _emit(self, lines):
        tag = f"[{request_id}] " if request_id else ""
        batch = ""
        for line in introduced(lines):
            piece = f"{tag}{line}\n"
            if batch and len(batch) + len(piece) > ATOMIC:
                self._send(batch)
                batch = ""
            batch += piece
        self._send(batch)

    def _send(self, text):
        left = text.encode("utf-8", "backslashreplace")
        try:
            while left:
                left = left[os.write(self._fd, left):]
        except OSError:
            pass  # Nobody reads the log any more: that is no reason to fail a call.


# Ours, whatever code makes of `sys.stderr`.
_errors = None


def install():
    global _errors
    sys.stdout = Lines(1)
    sys.stderr = _errors = Lines(2)


# So many ids fit well into one line.
IDS = 50


def request_ids(ids):
    """Lines belong to these calls, all of which the first line names."""
    global request_id, _unsaid
    request_id = f"{ids[0]}+{len(ids) - 1}"
    _unsaid = (request_id, ids)


def introduced(lines):
    """The lines, after those that say whose they are if nothing has said so yet."""
    global _unsaid
    unsaid, _unsaid = _unsaid, ()
    if unsaid and unsaid[0] == request_id:
        ids = unsaid[1]
        said = [f"for {', '.join(ids[at:at + IDS])}" for at in range(0, len(ids), IDS)]
        return said + lines
    return lines


def report(text):
    """Writes lines of ours about the code to the log."""
    (_errors or sys.stderr).write(text if text.endswith("\n") else text + "\n")


def explain(error):
    """The traceback of an error, as it goes to the log, too."""
    try:
        text = trace(error)
    except Exception:  # An error of the code may fail to say what it is.
        text = f"{type(error).__name__}\n"
    report(text)
    return text


def flush():
    """What code has printed goes out, also where it went around `sys.stdout`."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            pass  # Code may have closed or replaced it.
