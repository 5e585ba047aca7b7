"""A worker process: loads one model and answers calls, one frame at a time.

Numbers are little-endian:

    frame: length: u32, n_calls: u32, then the calls
    call:  head_length: u32, microseconds_left: u32, body_length: u64, head, body
    reply: head_length: u32, status: u32, body_length: u64, nanoseconds: u64 x 3, head, body

`length` is that of the whole frame. Only a lone call that would not fit into ROOM bytes has its
body behind the frame, which is padded to ROOM: so one read brings a small call, and a large body
is read into its place.

A head is text, its fields separated by newlines. Of a call: request id, content type, accept, then
names and values of the API's headers in turn. Of a reply: content type, custom attributes. The
nanoseconds are those of pre-processing, model and post-processing.

The status of a reply is the HTTP status, or LATE for a call whose time was over before it was
begun. Before any call the worker says READY, with the body `together` if calls of a frame are
answered by `predict_batch_fn`; or FAILED, with the reason as the body.

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
from functools import lru_cache
from time import perf_counter_ns

from sagebrush import frameworks, handlers, output
from sagebrush.context import Context
from sagebrush.errors import as_http_error

ROOM = 8 << 10
# A frame's start, and that of its first call.
FRAME = struct.Struct("<IIIIQ")
CALL = struct.Struct("<IIQ")
# Where the first call begins.
CALLS = FRAME.size - CALL.size
REPLY = struct.Struct("<IIQQQQ")
READY = 0
FAILED = 1
LATE = 2
NO_TIME = (0, 0, 0)
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
    several = together if transform.together else one_by_one
    send(sock, [reply(READY, b"", b"together" if transform.together else b"")])
    serve(sock, transform, system, pid, lambda calls: several(transform, calls, mark))
    return 0


def serve(sock, transform, system, pid, several):
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
        if n_calls == 1:
            at = FRAME.size + head_length
            end = at + body_length
            body = data[at:end] if end <= length else large(recv, body_length)
            if body is None:
                return
            context, content_type, accept = asked(system, data[FRAME.size:at])
            output.request_id = context.request_id
            replies = (answer(transform, body, context, content_type, accept),)
            flush()
        else:
            replies = several(list(calls_of(data, n_calls, system)))
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


def one_by_one(transform, calls, mark):
    replies = []
    for number, (late, body, context, content_type, accept) in enumerate(calls):
        if perf_counter_ns() > late:
            replies.append(reply(LATE, b"", b""))
            continue
        mark[0] = number
        output.request_id = context.request_id
        replies.append(answer(transform, body, context, content_type, accept))
        flush()
    return replies


def together(transform, calls, _mark):
    """The replies of `predict_batch_fn` to several calls, each with its own input and output."""
    replies, read = [None] * len(calls), []
    for number, (late, body, context, content_type, accept) in enumerate(calls):
        output.request_id = context.request_id
        try:
            if perf_counter_ns() > late:
                replies[number] = reply(LATE, b"", b"")
            else:
                read.append((number, transform.read(body, content_type, accept, context)))
        except SystemExit:
            raise
        except BaseException as error:
            replies[number] = failure(error)
        flush()
    predictions = predict(transform, [call for _, call in read])
    for (number, call), predicted in zip(read, predictions):
        output.request_id = call.context.request_id
        if predicted is None and perf_counter_ns() > calls[number][0]:
            replies[number] = reply(LATE, b"", b"")
            continue
        replies[number] = answered(transform.write if predicted else transform.alone, call)
        flush()
    return replies


def predict(transform, calls):
    """True for each call that has its prediction; None if it is to be tried alone."""
    if len(calls) < 2:
        return [None] * len(calls)
    output.request_ids([call.context.request_id for call in calls])
    try:
        transform.predict(calls)
        return [True] * len(calls)
    except SystemExit:
        raise
    except BaseException as error:
        try:
            why = f"{type(error).__name__}: {error}"
        except Exception:  # An error of the code may fail to say what it is.
            why = type(error).__name__
        output.report(f"{len(calls)} calls failed together; each is tried alone. {why}")
        return [None] * len(calls)
    finally:
        flush()


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
    """The reply to one call."""
    try:
        payload, reply_type = transform(body, content_type, accept, context)
        return success(payload, reply_type, context, transform.timings)
    except SystemExit:
        raise  # The code wants this process to end; whoever waits for it is told so.
    except BaseException as error:
        return failure(error)


def answered(write, call):
    """The reply to one of several calls, by what makes its payload."""
    try:
        payload, reply_type = write(call)
        return success(payload, reply_type, call.context, call.timings)
    except SystemExit:
        raise
    except BaseException as error:
        return failure(error)


def success(payload, reply_type, context, timings):
    status, head = 200, b""
    if context.has_answer:
        status = context.response_status
        reply_type = context.response_content_type or reply_type
        head = attributes(context)
        if not 200 <= status <= 599:
            raise ValueError(f"no status of a reply: {status}")
    if reply_type:
        head = header(reply_type) + head
    if type(payload) is not bytes:
        payload = memoryview(payload).cast("B")
    return reply(status, head, payload, timings)


def attributes(context):
    """What stands in a head after the content type."""
    text = context.response_custom_attributes
    if not text:
        return b""
    if len(text) > LONGEST_ATTRIBUTES:
        output.report(f"Custom attributes of {len(text)} characters are left out.")
        return b""
    return b"\n" + header(text)


def reply(status, head, body, timings=NO_TIME):
    """The start of a reply's frame with its head, and its body."""
    return REPLY.pack(len(head), status, len(body), *timings) + head, body


def leave_if_forked(pid):
    """Ends a process that the code forked: two must not answer one call."""
    if os.getpid() != pid:
        output.flush()
        os._exit(0)


@lru_cache(maxsize=256)
def header(text):
    """A header's value as bytes."""
    if not (isinstance(text, str) and text.isascii() and text.isprintable()):
        raise ValueError(f"no header of a reply: {text!r}")
    return text.encode("ascii")


def failure(error):
    try:
        told = as_http_error(error)
        status, reply_type, body = told.status, told.content_type, bytes(told.body)
        if status >= 500:
            output.explain(error)
    except Exception as inner:  # An error of the code may fail to say what it is.
        status, reply_type, body = 500, None, output.explain(inner).encode("utf-8", "replace")
    try:
        head = header(reply_type or "text/plain")
    except (TypeError, ValueError):
        head = b"text/plain"
    return reply(status, head, body)


def flush():
    """The lines of a call go out before its reply: whoever has the reply finds them in the log."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass  # Code may have closed or replaced them.


def send(sock, replies):
    """Writes replies, together as far as they are small."""
    parts, length = [], 0
    for start, body in replies:
        if len(body) > JOINED:
            send_large(sock, b"".join((*parts, start)), body)
            parts, length = [], 0
            continue
        parts += (start, body)
        length += len(body)
        if length > JOINED:
            sock.sendall(b"".join(parts))
            parts, length = [], 0
    if parts:
        sock.sendall(b"".join(parts))


def send_large(sock, start, body):
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
