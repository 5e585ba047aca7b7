"""A worker process: loads one model and answers calls, one frame at a time.

Numbers are little-endian:

    frame: length: u32, n_calls: u32, then the calls
    call:  head_length: u32, microseconds_left: u32, body_length: u64, head, body
    reply: head_length: u32, status: u32, body_length: u64, nanoseconds: u64 x 3, head, body

`length` is that of the whole frame. Only a lone call that would not fit into ROOM bytes has its
body behind the frame, which is padded to ROOM: so one read brings a small call, and a large body
is read into its place. `n_calls` is 0 for a lone call that is to be answered in parts.

A head is text, its fields separated by newlines. Of a call: request id, content type, accept, then
names and values of the API's headers in turn. Of a reply: content type, custom attributes, the
session that is new, the session that is closed; those at the end may be left out. The
nanoseconds are those of pre-processing, model and post-processing.

The status of a reply is the HTTP status, or LATE for a call whose time was over before it was
begun. Before any call the worker says READY, with the body `together` if calls of a frame are
answered by `predict_batch_fn`; or FAILED, with the reason as the body.

A call that is to be answered in parts gets as many replies of the status PART as the code makes
parts, each with one of them, and then a reply like any other: its body is the last part, an error
is what ended them. The first reply has the head. For each such call the server says one byte:
early, if it wants no more, or when it has the last reply. It is looked for before each part, and
read after the last reply if it has not come: so it is never taken for a frame. A server that wants
parts slowly does not read, and this process waits in its write.

Of several calls that are answered one by one, the number of the one that is begun stands in a page
that the server has, too: if this process ends, the others are not at fault.
"""

import atexit
import gc
import os
import signal
import socket
import struct
import sys
from time import perf_counter_ns

from sagebrush import frameworks, handlers, output, several
from sagebrush.context import Context
from sagebrush.replies import answer, flush, leave_if_forked, reply, send
from sagebrush.streams import stream

ROOM = 8 << 10
# A frame's start, and that of its first call.
FRAME = struct.Struct("<IIIIQ")
CALL = struct.Struct("<IIQ")
# Where the first call begins.
CALLS = FRAME.size - CALL.size
READY = 0
FAILED = 1
# How much of a traceback is told; all of it is logged.
LONGEST_REASON = 64 << 10


class Shared:
    """What all workers of a template have in common, made before they are forked."""

    def __init__(self, order):
        for path in reversed(order["paths"]):
            if path not in sys.path:
                sys.path.insert(0, path)
        self.framework = order["framework"]
        self.submit_dir = order.get("submit_dir")
        self.module = None
        model_dir = order.get("model_dir")
        if model_dir or self.submit_dir:
            self.module = self.import_code(model_dir)
        frameworks.preload(self.framework, self.module)

    def import_code(self, model_dir):
        code = handlers.find_code(model_dir, self.submit_dir, os.environ, self.framework)
        return handlers.import_code(code) if code else None


def run(shared, order, sock, mark):
    """Loads the model and answers calls until the socket is closed; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    model_dir, pid = order["model_dir"], os.getpid()
    system = {
        "model_dir": model_dir,
        "gpu_id": None,
        "batch_size": 1,
        "server_name": "sagebrush",
        "server_version": "1",
    }
    try:
        module = shared.module or shared.import_code(model_dir)
        context = Context(system, "", None, None, [])
        transform = handlers.load(module, model_dir, shared.framework, context)
    except BaseException as error:  # Also SystemExit: the reason must reach the endpoint.
        leave_if_forked(pid)
        reason = output.explain(error)[-LONGEST_REASON:]
        output.flush()
        send(sock, [reply(FAILED, b"", reason.encode("utf-8", "backslashreplace"))])
        return 1
    leave_if_forked(pid)
    # What is loaded now stays: no collection has to look at it again.
    gc.collect()
    gc.freeze()
    output.flush()
    answer_all = several.together if transform.together else several.one_by_one
    send(sock, [reply(READY, b"", b"together" if transform.together else b"")])
    serve(sock, transform, system, pid, lambda calls: answer_all(transform, calls, pid, mark))
    return 0


def serve(sock, transform, system, pid, answer_all):
    recv, unpack = sock.recv, FRAME.unpack_from
    while True:
        data = recv(ROOM)
        if len(data) < FRAME.size:
            data = more(recv, data, FRAME.size)
            if data is None:
                return
        length, n_calls, head_length, _, body_length = unpack(data)
        if len(data) < length:
            data = more(recv, data, length)
            if data is None:
                return
        if n_calls < 2:
            at = FRAME.size + head_length
            end = at + body_length
            body = data[at:end] if end <= length else large(recv, body_length)
            if body is None:
                return
            context, content_type, accept = asked(system, data[FRAME.size:at])
            output.request_id = context.request_id
            if n_calls == 0:
                is_told = len(data) > length  # It came with the frame.
                stream(sock, transform, (body, context, content_type, accept), pid, is_told)
                output.request_id = None
                continue
            replies = (answer(transform, body, context, content_type, accept),)
            flush()
        else:
            replies = answer_all(list(calls_of(data, n_calls, system)))
        leave_if_forked(pid)
        send(sock, replies)
        output.request_id = None


def large(recv, length):
    """A body that stands behind its frame, read into its place; None at the end of the stream."""
    body = recv(length, socket.MSG_WAITALL)
    return body if len(body) == length else more(recv, body, length)


def asked(system, head):
    """The context of a call, and its types."""
    request_id, content_type, accept, *headers = str(head, "latin-1").split("\n")
    content_type, accept = content_type or None, accept or None
    return Context(system, request_id, content_type, accept, headers), content_type, accept


def calls_of(data, n_calls, system):
    """The calls of a frame, each with the time when it is late."""
    now, at = perf_counter_ns(), CALLS
    for _ in range(n_calls):
        head_length, left, body_length = CALL.unpack_from(data, at)
        at += CALL.size
        context, content_type, accept = asked(system, data[at:at + head_length])
        at += head_length
        body = data[at:at + body_length]
        at += body_length
        yield now + left * 1000, body, context, content_type, accept


def more(recv, part, length):
    """Reads until there are `length` bytes; None at the end of the stream."""
    parts, got = [part], len(part)
    while got < length:
        part = recv(length - got, socket.MSG_WAITALL)
        if not part:
            return None
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def leave(code, sock):
    """Ends this process as Python would, but without the template's own clean-up."""
    try:
        if sock is not None:
            sock.close()  # Nobody waits for what the code does at its end.
        atexit._run_exitfuncs()
        output.flush()
    finally:
        os._exit(code)
