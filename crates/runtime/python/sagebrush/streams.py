"""A call that is answered in parts, as it goes back to the server; `worker.py` says how."""

import socket

from itertools import chain

from sagebrush.parts import Parts
from sagebrush.replies import failure, flush, leave_if_forked, reply, said, send, success

PART = 3
# Longer parts go in pieces: the server has room for one of them.
LONGEST_PART = 1 << 20


def stream(sock, transform, call, pid, is_told):
    """Sends the replies to a call, and reads the byte that the server says for it.

    `is_told`: the byte has been read; nobody waits for the replies any more.
    """
    last, replies = reply(200, b"", b""), replies_to(transform, *call)
    while not is_told:
        try:
            part = next(replies)
        except StopIteration as over:
            last = over.value
            break
        leave_if_forked(pid)
        if is_enough(sock):
            replies.close()
            is_told = True
            break
        send(sock, (part,))
    flush()
    leave_if_forked(pid)
    send(sock, (last,))
    if not is_told:
        sock.recv(1)


def is_enough(sock):
    """True once the server wants no more, or is gone."""
    try:
        sock.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def replies_to(transform, body, context, content_type, accept):
    """Yields a reply for each part, and returns the last one."""
    parts = None
    try:
        payload, reply_type = transform(body, content_type, accept, context)
        if type(payload) is not Parts:
            return success(payload, reply_type, context, transform.timings)
        parts = payload
        first = next(parts, b"")  # What the code says of its answer, it says by then.
        status, head = said(reply_type, context)
        if not 200 <= status < 300:
            return reply(status, head, first + parts.joined())
        for part in chain((first,), parts):
            for at in range(0, len(part), LONGEST_PART):
                piece = part if len(part) <= LONGEST_PART else part[at:at + LONGEST_PART]
                yield reply(PART, head, piece, transform.timings)
                head = b""
        return reply(200, head, b"", transform.timings)
    except (GeneratorExit, SystemExit):
        raise
    except BaseException as error:
        return failure(error)
    finally:
        if parts is not None:
            parts.close()
