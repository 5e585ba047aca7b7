"""Answers that are errors, and how any exception becomes one."""

import importlib
import os
import traceback

from . import jsontext

# Our package, and the ways in which it imports code.
_NOT_THEIRS = (os.path.dirname(__file__) + os.sep, importlib.__file__, "<frozen importlib")


class HttpError(Exception):
    """An answer with a status of its own: `raise HttpError(422, {"field": "age"})`."""

    def __init__(self, status, message="", content_type=None):
        super().__init__(status, message, content_type)
        self.status = int(status)
        if not 200 <= self.status <= 599:
            raise ValueError("%d is not an HTTP status of an answer" % self.status)
        self.message = message
        self.body, default_type = _body(message)
        self.content_type = content_type or default_type

    @property
    def status_code(self):
        return self.status

    def __str__(self):
        return self.body.decode("utf-8", "replace")


class UnsupportedContentType(HttpError):
    """The request's body is of a type that nothing here reads."""

    def __init__(self, content_type, supported):
        message = "Content type %s is not supported; supported: %s. Write an input_fn for others."
        super().__init__(415, message % (content_type, ", ".join(supported)))


class UnsupportedAccept(HttpError):
    """The caller accepts only types that nothing here writes."""

    def __init__(self, accept, supported):
        message = "Accept %s is not supported; supported: %s. Write an output_fn for others."
        super().__init__(406, message % (accept, ", ".join(supported)))


def as_http_error(exception):
    """What the caller is answered when a call raised `exception`."""
    if isinstance(exception, HttpError):
        return exception
    status = getattr(exception, "status_code", None)
    if type(status) is bool or not isinstance(status, int) or not 200 <= status <= 599:
        status = 500
    text = "%s\n%s" % (_message(exception), trace(exception))
    return HttpError(status, text, "text/plain")


def _body(message):
    if isinstance(message, str):
        return message.encode("utf-8", "replace"), "text/plain"
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message), "text/plain"
    return jsontext.dumps(message).encode("utf-8"), "application/json"


def _message(exception):
    message = getattr(exception, "message", None)
    if isinstance(message, str):
        return message
    try:
        return str(exception)
    except Exception:
        return type(exception).__name__


def trace(exception):
    """The traceback from the first frame that is not ours: the author looks for theirs."""
    frames = exception.__traceback__
    theirs = frames
    while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(_NOT_THEIRS):
        theirs = theirs.tb_next
    if theirs is None and not isinstance(exception, SyntaxError):  # Which says its place itself.
        theirs = frames
    return "".join(traceback.format_exception(type(exception), exception, theirs))
