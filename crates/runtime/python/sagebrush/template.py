"""The template process: imports the code and its libraries once, then forks workers.

It is started with a Unix socket of message boundaries as its standard input, and is told there
what to do, one JSON object a message:

    {"op": "start", "framework": .., "model_dir": .., "submit_dir": .., "paths": [..]}
    {"op": "fork", "id": 7, "model_dir": .., "target": ..}    with the worker's own socket
    {"op": "kill", "id": 7}

It answers {"event": "started"} or {"event": "failed", "reason": ..} to the first,
{"event": "forked", "id": 7, "pid": 123} to the second, and says {"event": "exited", "id": 7,
"code": 3} (or "signal": 9) when a worker has ended. When the socket is closed, all ends.
"""

import array
import json
import os
import select
import signal
import socket
import sys
import traceback

from sagebrush import output, worker

LONGEST_MESSAGE = 1 << 16
# How long workers may take to end by themselves once their sockets are closed, in seconds.
GRACE = 1.0


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
        room = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
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
            self.fork(order, received_fd(ancillary))
        elif order["op"] == "kill":
            self.kill(order["id"])
        return True

    def start(self, order):
        try:
            self.shared = worker.Shared(order)
        except BaseException as error:  # Also SystemExit: code may say it at its top level.
            self.tell(event="failed", reason=explained(error))
            return
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        self.tell(event="started")

    def fork(self, order, fd):
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(fd)
            self.tell(event="exited", id=order["id"], reason=f"could not be forked: {error}")
            return
        if pid == 0:
            self.become_worker(order, fd)
        os.close(fd)
        self.workers[pid] = order["id"]
        self.tell(event="forked", id=order["id"], pid=pid)

    def become_worker(self, order, fd):
        """In the child; does not return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self.woken, self.waker, self.control.detach()):
                os.close(end)
            code = worker.run(self.shared, order, socket.socket(fileno=fd))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            worker.leave(code)

    def reap(self):
        while self.workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.workers.pop(pid, None)
            if number is not None:
                self.tell(event="exited", id=number, **ending(status))

    def kill(self, number):
        for pid, known in self.workers.items():
            if known == number:
                signal_to(pid, signal.SIGKILL)

    def end(self):
        """Waits for workers, whose sockets are closed by now, and kills those that do not end."""
        sys.stdout.flush()
        poll = select.poll()
        poll.register(self.woken, select.POLLIN)
        self.control.close()
        poll.poll(0)
        for _ in range(20):
            self.reap_silently()
            if not self.workers:
                return
            poll.poll(GRACE * 1000 / 20)
            self.drain_wakes()
        for pid in self.workers:
            signal_to(pid, signal.SIGKILL)

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
            self.control.send(json.dumps(event).encode())
        except OSError:
            pass  # Nobody listens any more: the next look at the socket says so too.


def received_fd(ancillary):
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: fds.itemsize])
            return fds[0]
    raise ValueError("a worker needs a socket")


def signal_to(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def ending(status):
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


# How much of a traceback fits beside the rest of a message.
LONGEST_REASON = 16 << 10


def explained(error):
    """The traceback of an error in the user's code; also printed, for the log."""
    traceback.print_exception(type(error), error, error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return text[-LONGEST_REASON:]


if __name__ == "__main__":
    main()
