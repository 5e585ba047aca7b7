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

import gc
import os
import signal
import socket
import struct
import sys
import traceback

from sagebrush import frameworks, handlers, output
from sagebrush.context import Context
from sagebrush.errors import as_http_error

FIRST = 256
FRAME = struct.Struct("<IIQ")
READY = 0
FAILED = 1
# Bodies longer than this are sent apart from their head: joining would copy them.
JOINED = 32 << 10


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
    model_dir = order["model_dir"]
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
        reason = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        print(reason, file=sys.stderr, end="")
        sys.stderr.flush()
        send(sock, FAILED, "", reason.encode("utf-8", "backslashreplace"))
        return 1
    # What is loaded now stays: no collection has to look at it again.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    send(sock, READY, "", b"")
    serve(sock, transform, system)
    return 0


def serve(sock, transform, system):
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
        answer(sock, transform, body, context, content_type or None, accept or None)
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


def answer(sock, transform, body, context, content_type, accept):
    try:
        payload, reply_type = transform(body, content_type, accept, context)
        status = context.response_status
        reply_type = context.response_content_type or reply_type or ""
        attributes = context.response_custom_attributes or ""
        pre, model, post = transform.timings
        head = f"{reply_type}\n{attributes}\n{pre}\n{model}\n{post}"
    except SystemExit:
        raise  # The code wants this process to end; whoever waits for it is told so.
    except BaseException as error:
        status, head, payload = failure(error)
    flush()
    if head.count("\n") != 4:
        status, head, payload = 500, "text/plain\n\n0\n0\n0", b"a header of the reply has a newline"
    send(sock, status, head, payload)


def failure(error):
    told = as_http_error(error)
    if told.status >= 500:
        traceback.print_exception(type(error), error, error.__traceback__)
    reply_type = (told.content_type or "text/plain").replace("\n", " ")
    return told.status, f"{reply_type}\n\n0\n0\n0", told.body


def flush():
    """The lines of a call go out before its reply: whoever has the reply finds them in the log."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # Code may have closed or replaced them.


def send(sock, status, head, body):
    head = head.encode("latin-1", "replace")
    length = len(body) if isinstance(body, (bytes, bytearray)) else memoryview(body).nbytes
    start = FRAME.pack(len(head), status, length) + head
    if length <= JOINED:
        sock.sendall(start + body if isinstance(body, bytes) else b"".join((start, body)))
        return
    left = memoryview(body).cast("B")
    sent = sock.sendmsg((start, left))
    if sent < len(start):
        sock.sendall(start[sent:])
        sent = len(start)
    if sent < len(start) + length:
        sock.sendall(left[sent - len(start):])


def leave(code):
    """Ends this process as Python would, but without the template's own clean-up."""
    try:
        import atexit

        atexit._run_exitfuncs()
        flush()
    finally:
        os._exit(code)
