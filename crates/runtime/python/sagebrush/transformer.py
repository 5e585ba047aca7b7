"""Answers calls: the hot path. All that can be decided at load was."""

import json
from time import perf_counter_ns

from . import codecs
from .errors import HttpError
from .media import ANY, JSON, decode_text, first_type, text_encoding
from .parts import Parts, is_iterator, is_stream

_BYTES_LIKE = (bytes, bytearray, memoryview)


class Transformer:
    """A loaded model and the functions that a body goes through.

    `timings` are the nanoseconds that the last call spent before, in and after the model; zeros
    after one that failed.
    """

    __slots__ = ("model", "timings", "_default_accept")

    # True if it answers several calls together; see `batch.py`.
    together = False

    def __init__(self, model, default_accept):
        self.model = model
        self.timings = (0, 0, 0)
        self._default_accept = default_accept

    def __call__(self, body, content_type, accept, context):
        """The payload, bytes-like, and its content type."""
        raise NotImplementedError


class Stages(Transformer):
    """`input_fn`, `predict_fn`, `output_fn`."""

    __slots__ = ("_input", "_input_context", "_predict", "_predict_context", "_output",
                 "_output_context", "_is_own_output")

    def __init__(self, model, default_accept, input_fn, predict_fn, output_fn, is_own_output):
        super().__init__(model, default_accept)
        self._input, self._input_context = input_fn.function, input_fn.takes_context
        self._predict, self._predict_context = predict_fn.function, predict_fn.takes_context
        self._output, self._output_context = output_fn.function, output_fn.takes_context
        self._is_own_output = is_own_output

    def __call__(self, body, content_type, accept, context):
        started = perf_counter_ns()
        self.timings = (0, 0, 0)
        body = text_or_bytes(body, content_type)
        if not accept or accept == ANY:
            accept = self._default_accept
        if self._input_context:
            data = self._input(body, content_type, context)
        else:
            data = self._input(body, content_type)

        decoded = perf_counter_ns()
        if self._predict_context:
            prediction = self._predict(data, self.model, context)
        else:
            prediction = self._predict(data, self.model)

        predicted = perf_counter_ns()
        if not self._is_own_output and is_stream(prediction):
            result = prediction  # There is nothing to encode before it comes.
        elif self._output_context:
            result = self._output(prediction, accept, context)
        else:
            result = self._output(prediction, accept)
        answered = answer(result, accept, "output_fn", context)
        self.timings = (decoded - started, predicted - decoded, perf_counter_ns() - predicted)
        return answered


class Whole(Transformer):
    """`transform_fn`; all of it counts as the model's time."""

    __slots__ = ("_transform", "_transform_context")

    def __init__(self, model, default_accept, transform_fn):
        super().__init__(model, default_accept)
        self._transform = transform_fn.function
        self._transform_context = transform_fn.takes_context

    def __call__(self, body, content_type, accept, context):
        started = perf_counter_ns()
        self.timings = (0, 0, 0)
        body = text_or_bytes(body, content_type)
        if not accept or accept == ANY:
            accept = self._default_accept

        decoded = perf_counter_ns()
        if self._transform_context:
            result = self._transform(self.model, body, content_type, accept, context)
        else:
            result = self._transform(self.model, body, content_type, accept)

        transformed = perf_counter_ns()
        answered = answer(result, accept, "transform_fn", context)
        self.timings = (decoded - started, transformed - decoded, perf_counter_ns() - transformed)
        return answered


def text_or_bytes(body, content_type):
    """A payload as the user's functions take it: `str` for types of text."""
    encoding = text_encoding(content_type)
    if encoding is not None:
        return decode_text(body, encoding)
    return body if type(body) is bytes else bytes(body)


def answer(result, accept, name, context):
    """What the user's last function returned, as a payload and its type."""
    content_type = accept
    if isinstance(result, tuple) and len(result) == 2:
        result, content_type = result
        if content_type is not None and not isinstance(content_type, str):
            message = "%s returned a content type that is a %s; it must be a str"
            raise HttpError(500, message % (name, type(content_type).__name__))
    if isinstance(result, str):
        result = result.encode("utf-8")
    elif not isinstance(result, _BYTES_LIKE):
        if not is_iterator(result):
            return _converted(result, content_type or accept, name, context)
        result = Parts(result, name)
    if content_type is accept and "," in accept:
        content_type = first_type(accept)
    return result, content_type


def _converted(result, accept, name, context):
    if type(result).__module__ == "numpy" and type(result).__name__ == "ndarray":
        payload, content_type = codecs.encode(result, accept)
        return (payload.encode("utf-8") if isinstance(payload, str) else payload), content_type
    if isinstance(result, (dict, list)):  # Model servers of the images write these as JSON.
        return json.dumps(result).encode("utf-8"), JSON
    if hasattr(result, "get_data") and hasattr(result, "mimetype"):
        return _from_response(result, context)
    message = "%s returned %s: it must return bytes or str, or (body, content_type)"
    raise HttpError(500, message % (name, _described(result)))


def _from_response(response, context):
    """A Werkzeug response: what functions written for the older images return."""
    status = getattr(response, "status_code", 200)
    if status != 200:
        context.set_response_status(status)
    return response.get_data(), response.mimetype


def _described(value):
    if isinstance(value, tuple):
        return "a tuple of %d" % len(value)
    return "None" if value is None else "a " + type(value).__name__
