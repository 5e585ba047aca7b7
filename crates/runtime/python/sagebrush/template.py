"""The template process: imports the code and its libraries once, then forks workers.

It is started with a Unix socket of message boundaries as its standard input, and is told there
what to do, one JSON object a message:

    {"op": "start", "framework": .., "model_dir": .., "submit_dir": .., "paths": [..]}
    {"op": "fork", "id": 7, "model_dir": .., "target": ..}    with the worker's own socket,
                                                              and the page of its mark
    {"op": "kill", "id": 7}

It answers {"event": "started"} or {"event": "failed", "reason": ..} to the first,
{"event": "forked", "id": 7, "pid": 123} to the second, and says {"event": "exited", "id": 7,
"code": 3} (or "signal": 9) when a worker has ended. When the socket is closed, all ends.
"""

import array
import json
import mmap
import os
import select
import signal
import socket
import time

from sagebrush import output, worker
from sagebrush.replies import leave_if_forked

LONGEST_MESSAGE = 1 << 16
# The length of a worker's mark.
MARK = 4
# How long workers may take to end by themselves once their sockets are closed, in seconds. We are
# given 3.
GRACE = 2.5


def main():
    control = take_control()
    output.install()
    template = Template(control)
    try:
        template.run()
    finally:
        template.end()


def take_control():
    """The socket that is our standard input; code that reads standard input finds nothing."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return control


class Template:
    def __init__(self, control):
        self.control = control
        self.workers = {}  # By process id, the worker's id.
        self.shared = None
        self.pid = os.getpid()
        self.woken, self.waker = os.pipe()
        for end in (self.woken, self.waker):
            os.set_blocking(end, False)
        # Code may have its own idea of SIGCHLD while it is imported: ours is set afterwards.

    def run(self):
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.woken:
                    self.drain_wakes()
                elif not self.obey():
                    return
            self.reap()

    def obey(self):
        """Takes one message; false when there are no more."""
        room = socket.CMSG_SPACE(2 * array.array("i", [0]).itemsize)
        try:
            text, ancillary, _, _ = self.control.recvmsg(LONGEST_MESSAGE, room)
        except ConnectionError:
            return False
        if not text:
            return False
        order = json.loads(text)
        if order["op"] == "start":
            self.start(order)
        elif order["op"] == "fork":
            self.fork(order, received_fds(ancillary))
        elif order["op"] == "kill":
            self.kill(order["id"])
        return True

    def start(self, order):
        try:
            self.shared = worker.Shared(order)
        except BaseException as error:  # Also SystemExit: code may say it at its top level.
            leave_if_forked(self.pid)
            self.tell(event="failed", reason=fit(output.explain(error)))
            return
        leave_if_forked(self.pid)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        self.tell(event="started")

    def fork(self, order, fds):
        output.flush()
        try:
            pid = os.fork()
        except OSError as error:
            close(fds)
            self.tell(event="exited", id=order["id"], reason=f"could not be forked: {error}")
            return
        if pid == 0:
            self.become_worker(order, *fds)
        close(fds)
        self.workers[pid] = order["id"]
        self.tell(event="forked", id=order["id"], pid=pid)

    def become_worker(self, order, fd, page):
        """In the child; does not return."""
        code, sock = 1, None
        try:
            os.setsid()  # A group of its own, so that what it starts can be ended with it.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self.woken, self.waker, self.control.detach()):
                os.close(end)
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
            mark = memoryview(mmap.mmap(page, MARK)).cast("I")
            os.close(page)
            code = worker.run(self.shared, order, sock, mark)
        except SystemExit as error:
            code = exit_code(error)
        except BaseException as error:
            output.explain(error)
        finally:
            worker.leave(code, sock)

    def reap(self):
        while self.workers:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self.workers:
                # What it has started ends with it. Its id is its own until it is waited for.
                signal_to_group(ended.si_pid, signal.SIGKILL)
            pid, status = os.waitpid(ended.si_pid, 0)
            number = self.workers.pop(pid, None)
            if number is not None:
                self.tell(event="exited", id=number, **ending(status))

    def kill(self, number):
        for pid, known in self.workers.items():
            if known == number:
                signal_to_group(pid, signal.SIGKILL)

    def end(self):
        """Waits for workers, whose sockets are closed by now, and kills those that do not end."""
        output.flush()
        poll = select.poll()
        poll.register(self.woken, select.POLLIN)
        self.control.close()
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            self.reap_silently()
            if not self.workers:
                return
            poll.poll(50)
            self.drain_wakes()
        for pid in self.workers:
            signal_to_group(pid, signal.SIGKILL)

    def reap_silently(self):
        for pid in list(self.workers):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                del self.workers[pid]

    def drain_wakes(self):
        try:
            while os.read(self.woken, 512):
                pass
        except BlockingIOError:
            pass

    def tell(self, **event):
        try:
            self.control.send(json.dumps(event, ensure_ascii=False).encode())
        except OSError:
            pass  # Nobody listens any more: the next look at the socket says so too.


def received_fds(ancillary):
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    if len(fds) != 2:
        raise ValueError("a worker needs a socket and a page")
    return list(fds)


def close(fds):
    for fd in fds:
        os.close(fd)


def signal_to_group(pid, number):
    for signal_to in (os.killpg, os.kill):  # It may not have made its group yet.
        try:
            signal_to(pid, number)
        except OSError:
            pass


def ending(status):
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


def exit_code(error):
    """What Python itself would end with."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    output.report(str(error.code))
    return 1


# How much of a traceback fits beside the rest of a message, whatever its characters.
LONGEST_REASON = 8 << 10


def fit(text):
    """The end of a text, without what no JSON may hold: halves of characters."""
    return text[-LONGEST_REASON:].encode("utf-8", "replace").decode()


if __name__ == "__main__":
    main()
