"""A worker process: loads one model and answers calls, one at a time.

A call is one frame on the worker's socket, and so is its reply:

    head_length: u32, status: u32, body_length: u64 (little-endian), head, body

The head is text, its fields separated by newlines. Of a call: request id, content type, accept,
then names and values of the API's headers in turn. Of a reply: content type, custom attributes,
then the nanoseconds of pre-processing, model and post-processing. A call's head is padded so that
it fills a block of FIRST bytes with what stands before it, unless it is longer: so a frame takes
two reads, and a large body is read into its place.

The status of a reply is the HTTP status. Before any call the worker says READY or, with the reason
as the body, FAILED.
"""

import atexit
import gc
import os
import signal
import socket
import struct
import sys

from sagebrush import frameworks, handlers, output
from sagebrush.context import Context
from sagebrush.errors import as_http_error

FIRST = 256
FRAME = struct.Struct("<IIQ")
READY = 0
FAILED = 1
# Bodies longer than this are sent apart from their head: joining would copy them.
JOINED = 32 << 10
# What the API allows.
LONGEST_ATTRIBUTES = 1024
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
        frameworks.preload(self.framework)
        model_dir = order.get("model_dir")
        if model_dir or self.submit_dir:
            self.module = self.import_code(model_dir)

    def import_code(self, model_dir):
        code = handlers.find_code(model_dir, self.submit_dir, os.environ, self.framework)
        return handlers.import_code(code) if code else None


def run(shared, order, sock):
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
        send(sock, FAILED, "", reason.encode("utf-8", "backslashreplace"))
        return 1
    leave_if_forked(pid)
    # What is loaded now stays: no collection has to look at it again.
    gc.collect()
    gc.freeze()
    output.flush()
    send(sock, READY, "", b"")
    serve(sock, transform, system, pid)
    return 0


def serve(sock, transform, system, pid):
    recv, unpack, wait_all = sock.recv, FRAME.unpack_from, socket.MSG_WAITALL
    while True:
        first = recv(FIRST, wait_all)
        if len(first) < FIRST:
            first = more(recv, first, FIRST)
            if first is None:
                return
        head_length, _, body_length = unpack(first)
        end = FRAME.size + head_length
        if end > FIRST:
            first = more(recv, first, end)
            if first is None:
                return
        body = recv(body_length, wait_all) if body_length else b""
        if len(body) < body_length:
            body = more(recv, body, body_length)
            if body is None:
                return
        request_id, content_type, accept, *headers = str(first[16:end], "latin-1").split("\n")
        output.request_id = request_id
        context = Context(system, request_id, content_type or None, accept or None, headers)
        reply = answer(transform, body, context, content_type or None, accept or None)
        leave_if_forked(pid)
        send(sock, *reply)
        output.request_id = None


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


def answer(transform, body, context, content_type, accept):
    """Status, head and body of the reply."""
    try:
        payload, reply_type = transform(body, content_type, accept, context)
        status = context.response_status
        reply_type = context.response_content_type or reply_type or ""
        attributes = context.response_custom_attributes or ""
        pre, model, post = transform.timings
        if not (is_header(reply_type) and is_header(attributes)):
            raise ValueError(f"no header of a reply: {reply_type!r}, {attributes!r}")
        if not 200 <= status <= 599:
            raise ValueError(f"no status of a reply: {status}")
        if len(attributes) > LONGEST_ATTRIBUTES:
            output.report(f"Custom attributes of {len(attributes)} characters are left out.")
            attributes = ""
        head = f"{reply_type}\n{attributes}\n{pre}\n{model}\n{post}"
        if not isinstance(payload, bytes):
            payload = memoryview(payload).cast("B")
    except SystemExit:
        raise  # The code wants this process to end; whoever waits for it is told so.
    except BaseException as error:
        status, head, payload = failure(error)
    flush()
    return status, head, payload


def leave_if_forked(pid):
    """Ends a process that the code forked: two must not answer one call."""
    if os.getpid() != pid:
        output.flush()
        os._exit(0)


def is_header(text):
    return isinstance(text, str) and text.isascii() and text.isprintable()


def failure(error):
    try:
        told = as_http_error(error)
        status, reply_type, body = told.status, told.content_type, bytes(told.body)
        if status >= 500:
            output.explain(error)
    except Exception as inner:  # An error of the code may fail to say what it is.
        status, reply_type, body = 500, None, output.explain(inner).encode("utf-8", "replace")
    reply_type = reply_type if reply_type and is_header(reply_type) else "text/plain"
    return status, f"{reply_type}\n\n0\n0\n0", body


def flush():
    """The lines of a call go out before its reply: whoever has the reply finds them in the log."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass  # Code may have closed or replaced them.


def send(sock, status, head, body):
    head = head.encode("ascii")
    start = FRAME.pack(len(head), status, len(body)) + head
    if len(body) <= JOINED:
        sock.sendall(b"".join((start, body)))
        return
    left = memoryview(body)
    sent = sock.sendmsg((start, left))
    if sent < len(start):
        sock.sendall(start[sent:])
        sent = len(start)
    if sent < len(start) + len(body):
        sock.sendall(left[sent - len(start):])


def leave(code, sock):
    """Ends this process as Python would, but without the template's own clean-up."""
    try:
        if sock is not None:
            sock.close()  # Nobody waits for what the code does at its end.
        atexit._run_exitfuncs()
        output.flush()
    finally:
        os._exit(code)
