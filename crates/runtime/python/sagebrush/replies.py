"""Replies to calls, as they go back to the server; `worker.py` says how they look."""

import os
import struct
import sys
from functools import lru_cache
from time import perf_counter_ns

from sagebrush import output
from sagebrush.errors import as_http_error
from sagebrush.parts import Parts

REPLY = struct.Struct("<IIQQQQ")
NO_TIME = (0, 0, 0)
# Bodies longer than this are sent apart from their head: joining would copy them.
JOINED = 32 << 10
# What the API allows.
LONGEST_ATTRIBUTES = 1024


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
    if type(payload) is not bytes:
        payload, timings = whole(payload, timings)
    status, head = 200, b""
    if context.has_answer:
        status, head = said(reply_type, context)
    elif reply_type:
        head = header(reply_type)
    return reply(status, head, payload, timings)


def whole(payload, timings):
    """A payload that is not bytes, in one piece, with the time that its parts took."""
    if type(payload) is not Parts:
        return memoryview(payload).cast("B"), timings
    started = perf_counter_ns()
    payload = payload.joined()
    pre, model, post = timings
    return payload, (pre, model + perf_counter_ns() - started, post)


def said(reply_type, context):
    """The status and the head of a reply, by what the code says of its answer."""
    if not context.has_answer:
        return 200, header(reply_type) if reply_type else b""
    status = context.response_status
    if not 200 <= status <= 599:
        raise ValueError(f"no status of a reply: {status}")
    reply_type = context.response_content_type or reply_type
    return status, (header(reply_type) if reply_type else b"") + attributes(context)


def attributes(context):
    """What stands in a head after the content type."""
    text = context.response_custom_attributes
    if text and len(text) > LONGEST_ATTRIBUTES:
        output.report(f"Custom attributes of {len(text)} characters are left out.")
        text = None
    new, closed = context.response_sessions
    fields = [text, new, closed]
    while fields and not fields[-1]:
        fields.pop()
    return b"".join(b"\n" + (header(field) if field else b"") for field in fields)


def reply(status, head, body, timings=NO_TIME):
    """The start of a reply's frame with its head, and its body."""
    return REPLY.pack(len(head), status, len(body), *timings) + head, body


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


def leave_if_forked(pid):
    """Ends a process that the code forked: two must not answer one call."""
    if os.getpid() != pid:
        output.flush()
        os._exit(0)
