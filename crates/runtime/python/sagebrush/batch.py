"""Answers calls by `predict_batch_fn`: several together, or one as a list of one."""

from time import perf_counter_ns

from .errors import HttpError
from .media import ANY
from .parts import is_stream
from .transformer import Transformer, answer, text_or_bytes

# What has a length, but not a prediction for each input.
_UNLIKE = (str, bytes, bytearray, dict)


class Together(Transformer):
    """`input_fn` for each call, one `predict_batch_fn` for all of them, `output_fn` for each."""

    __slots__ = ("_input", "_input_context", "_predict", "_predict_context", "_output",
                 "_output_context", "_is_own_output")

    together = True

    def __init__(self, model, default_accept, input_fn, predict_batch_fn, output_fn,
                 is_own_output):
        super().__init__(model, default_accept)
        self._input, self._input_context = input_fn.function, input_fn.takes_context
        self._predict = predict_batch_fn.function
        self._predict_context = predict_batch_fn.takes_context
        self._output, self._output_context = output_fn.function, output_fn.takes_context
        self._is_own_output = is_own_output

    def __call__(self, body, content_type, accept, context):
        self.timings = (0, 0, 0)
        call = self.read(body, content_type, accept, context)
        answered = self.alone(call)
        self.timings = call.timings
        return answered

    def read(self, body, content_type, accept, context):
        """A call with its input."""
        started = perf_counter_ns()
        body = text_or_bytes(body, content_type)
        if not accept or accept == ANY:
            accept = self._default_accept
        if self._input_context:
            data = self._input(body, content_type, context)
        else:
            data = self._input(body, content_type)
        return Call(data, accept, context, perf_counter_ns() - started)

    def predict(self, calls):
        """Gives each call its prediction."""
        started = perf_counter_ns()
        inputs = [call.data for call in calls]
        if self._predict_context:
            predictions = self._predict(inputs, self.model, [call.context for call in calls])
        else:
            predictions = self._predict(inputs, self.model)
        predictions = _one_for_each(predictions, len(calls))
        took = perf_counter_ns() - started
        for call, prediction in zip(calls, predictions):
            call.prediction, call.model = prediction, took

    def write(self, call):
        """The payload of a call that has its prediction, and its content type."""
        started = perf_counter_ns()
        if not self._is_own_output and is_stream(call.prediction):
            result = call.prediction
        elif self._output_context:
            result = self._output(call.prediction, call.accept, call.context)
        else:
            result = self._output(call.prediction, call.accept)
        answered = answer(result, call.accept, "output_fn", call.context)
        call.post = perf_counter_ns() - started
        return answered

    def alone(self, call):
        self.predict([call])
        return self.write(call)


class Call:
    """One call on its way: its input, then its prediction, and what they took."""

    __slots__ = ("data", "accept", "context", "prediction", "pre", "model", "post")

    def __init__(self, data, accept, context, pre):
        self.data = data
        self.accept = accept
        self.context = context
        self.prediction = None
        self.pre, self.model, self.post = pre, 0, 0

    @property
    def timings(self):
        return self.pre, self.model, self.post


def _one_for_each(predictions, count):
    """The predictions as a list, which must be as long as the inputs."""
    is_list = hasattr(predictions, "__len__") and hasattr(predictions, "__getitem__")
    if not is_list or isinstance(predictions, _UNLIKE) or hasattr(predictions, "columns"):
        message = "predict_batch_fn returned a %s: it must return a list or an array"
        raise HttpError(500, message % type(predictions).__name__)
    try:
        predictions = list(predictions)
    except TypeError:  # An array without dimensions.
        predictions = [predictions]
    if len(predictions) != count:
        message = "predict_batch_fn returned %d predictions for %d inputs"
        raise HttpError(500, message % (len(predictions), count))
    return predictions
