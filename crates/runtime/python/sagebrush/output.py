"""What code prints goes to the log in whole lines, each with the id of the call it belongs to."""

import io
import os
import sys

# The call under way in this process; None between calls.
request_id = None

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
        text_whole = self._part + text
        if "\n" not in text and len(text_whole) <= LONGEST:
            self._part = text_whole
            return len(text)
        lines = text_whole.split("\n")
        self._part = lines.pop()
        if len(self._part) > LONGEST:
            lines.append(self._part)
            self._part = ""
        self._emit(lines)
        return len(text)

    def flush(self):
        if self._part:
            part, self._part = self._part, ""
            self._emit([part])

    def _emit(self, lines):
        tag = f"[{request_id}] " if request_id else ""
        batch = ""
        for line in lines:
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


def install():
    sys.stdout = Lines(1)
    sys.stderr = Lines(2)
