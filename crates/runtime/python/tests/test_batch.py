"""`predict_batch_fn`, and the frames that bring several calls."""

import os
import socket
import struct
import threading

import pytest

from sagebrush import Context, HttpError, frameworks, output, replies, several, worker

SOURCE = """
from sagebrush import HttpError
seen = []
def model_fn(model_dir): return seen
def input_fn(data, content_type):
    if data == b"unread": raise HttpError(422, "no input")
    return data.decode()
def predict_batch_fn(inputs, model):
    model.append(list(inputs))
    if "bad" in inputs: raise HttpError(409, "bad")
    if "mute" in inputs: raise Mute()
    if "leave" in inputs: raise SystemExit(3)
    return %s
def output_fn(prediction, accept):
    if prediction == "unwritten": raise ValueError("no output")
    return prediction
class Mute(Exception):
    def __str__(self): raise ValueError("no words")
"""


@pytest.fixture
def batch(serve):
    """Brings bodies to a transformer as one frame; gives a status and a body for each."""

    def start(source=SOURCE % "inputs", left=60_000_000):
        transform = serve(source)
        mark = [None]
        answer_all = several.together if transform.together else several.one_by_one

        def ask(*bodies, late=()):
            calls = [call(f"r-{at}", body, 0 if at in late else left)
                     for at, body in enumerate(bodies)]
            return conversation(transform, [frame(calls)], len(bodies),
                                lambda calls: answer_all(transform, calls, os.getpid(), mark))

        return ask, transform.model, mark

    return start


def call(request_id, body, left=60_000_000):
    head = f"{request_id}\napplication/octet-stream\n".encode()
    return struct.pack("<IIQ", len(head), left, len(body)) + head + body


def frame(calls):
    return struct.pack("<II", 8 + sum(map(len, calls)), len(calls)) + b"".join(calls)


def conversation(transform, frames, n_replies, answer_all=None, pause=None):
    ours, theirs = socket.socketpair()
    read = []

    def talk():
        for data in frames:
            for part in pause(data) if pause else (data,):
                ours.sendall(part)
        stream = ours.makefile("rb")
        for _ in range(n_replies):
            start = stream.read(replies.REPLY.size)
            if len(start) < replies.REPLY.size:
                break
            head_length, status, body_length, *times = replies.REPLY.unpack(start)
            head, body = stream.read(head_length), stream.read(body_length)
            read.append((status, body, head.decode(), tuple(times)))
        ours.shutdown(socket.SHUT_RDWR)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        worker.serve(theirs, transform, {}, os.getpid(), answer_all)
    finally:
        theirs.close()
        talker.join()
    return read


def told(answers):
    return [(status, body.decode().split("\n")[0]) for status, body, _, _ in answers]


def test_calls_are_predicted_together(batch):
    ask, seen, _ = batch()
    answers = ask(b"a", b"unread", b"b", b"unwritten")
    assert told(answers) == [(200, "a"), (422, "no input"), (200, "b"), (500, "no output")]
    assert seen == [["a", "b", "unwritten"]]
    assert answers[0][3][1] == answers[2][3][1] > 0
    assert answers[0][2] == "application/json"


def test_a_lone_call_is_a_list_of_one(serve, call):
    transformer = serve(SOURCE % "inputs")
    assert call(transformer, b"a", "application/octet-stream")[0] == b"a"
    assert transformer.model == [["a"]]
    assert transformer.timings[1] > 0
    with pytest.raises(HttpError, match="bad"):
        call(transformer, b"bad", "application/octet-stream")
    assert transformer.timings == (0, 0, 0)


@pytest.mark.parametrize("bad, answer", [
    (b"bad", (409, "bad")), (b"mute", (500, "Traceback (most recent call last):")),
])
def test_what_fails_together_is_tried_alone(batch, bad, answer):
    ask, seen, _ = batch()
    answers = told(ask(b"a", bad, b"b"))
    assert (answers[0], answers[2]) == ((200, "a"), (200, "b"))
    assert answers[1][0] == answer[0]
    assert seen == [["a", bad.decode(), "b"], ["a"], [bad.decode()], ["b"]]


@pytest.mark.parametrize("returned, why", [
    ("inputs[1:]", "predict_batch_fn returned 0 predictions for 1 inputs"),
    ("inputs + inputs", "predict_batch_fn returned 2 predictions for 1 inputs"),
    ("'ab'[:len(inputs)]", "predict_batch_fn returned a str: it must return a list or an array"),
    ("dict.fromkeys(inputs)", "predict_batch_fn returned a dict"),
    ("None", "predict_batch_fn returned a NoneType"),
    ("(x for x in inputs)", "predict_batch_fn returned a generator"),
])
def test_what_predict_batch_fn_may_not_return(batch, returned, why):
    ask, seen, _ = batch(SOURCE % returned)
    for status, text in told(ask(b"a", b"b")):
        assert status == 500 and text.startswith(why)
    assert seen == [["a", "b"], ["a"], ["b"]]


def test_an_array_has_a_row_for_each(serve):
    numpy = pytest.importorskip("numpy")
    transform = serve("import numpy\ndef model_fn(d): pass\n"
                      "def predict_batch_fn(inputs, model): return numpy.array(inputs) * 2\n")
    contexts = [Context({}, f"r-{at}", "text/csv", None, []) for at in range(2)]
    calls = [transform.read(b"%d,2" % at, "text/csv", None, contexts[at]) for at in range(2)]
    transform.predict(calls)
    assert [transform.write(call) for call in calls] == [
        (b"[0.0, 4.0]", "application/json"), (b"[2.0, 4.0]", "application/json")]
    assert isinstance(calls[0].prediction, numpy.ndarray)


def test_calls_that_are_late_are_not_begun(batch):
    ask, seen, _ = batch()
    assert [status for status, *_ in ask(b"a", b"b", b"c", late=(1,))] == [200, several.LATE, 200]
    assert seen == [["a", "c"]]
    assert [status for status, *_ in ask(b"a", b"b", late=(0, 1))] == [several.LATE] * 2


def test_code_that_wants_to_end_ends(batch):
    ask, _, _ = batch()
    with pytest.raises(SystemExit):
        ask(b"a", b"leave")


def test_lines_say_for_which_calls_they_are(batch, monkeypatch):
    written = []
    lines = output.Lines(1)
    monkeypatch.setattr(lines, "_send", lambda text: written.extend(text.splitlines()))
    monkeypatch.setattr("sys.stdout", lines)
    source = SOURCE.replace("model.append", "print('predicts'); print('more'); model.append")
    ask, _, _ = batch(source % "inputs")
    ask(b"a", b"b", b"c")
    assert written == ["[r-0+2] for r-0, r-1, r-2", "[r-0+2] predicts", "[r-0+2] more"]
    written.clear()
    ask(b"a")
    assert written == ["[r-0] predicts", "[r-0] more"]


def test_the_contexts_of_a_batch(batch):
    source = "def model_fn(d): pass\ndef input_fn(d, c): return d\n" \
             "def predict_batch_fn(inputs, model, contexts):\n" \
             "    return [c.request_id for c in contexts]\n" \
             "def output_fn(p, a): return p\n"
    ask, _, _ = batch(source)
    assert told(ask(b"x", b"y")) == [(200, "r-0"), (200, "r-1")]


@pytest.mark.parametrize("more, error, why", [
    ("predict_fn(data, model)", ValueError,
     "predict_batch_fn cannot be used together with predict_fn"),
    ("transform_fn(m, d, c, a)", ValueError,
     "transform_fn cannot be used together with input_fn, predict_batch_fn, output_fn"),
    ("predict_batch_fn(inputs)", TypeError, r"must be predict_batch_fn\(inputs, model\) or"),
])
def test_what_is_refused_at_load(serve, more, error, why):
    with pytest.raises(error, match=why):
        serve(SOURCE % "inputs" + "def %s: pass\n" % more)


ECHO = """
def model_fn(d): return []
def input_fn(data, content_type): return data
def predict_fn(data, model):
    model.append(len(data))
    if data == b"bad": raise KeyError("no such thing")
    return data
def output_fn(prediction, accept): return prediction
"""


def test_several_calls_one_by_one(batch):
    ask, seen, mark = batch(ECHO)
    assert [status for status, *_ in ask(b"a", b"bad", b"ccc", b"d", late=(3,))] == [
        200, 500, 200, several.LATE]
    assert seen == [1, 3, 3]
    assert mark == [2], "the last one that was begun"


@pytest.mark.parametrize("length", [0, 1, 8100, 8192, 200_000, 3 << 20])
@pytest.mark.parametrize("piece", [None, 5, 8192, 50_000])
def test_frames_of_any_size_in_any_pieces(serve, length, piece):
    if piece == 5 and length > 10_000:
        pytest.skip("too slow to be of use")
    transform = serve(ECHO)
    body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    lone = frame([call("r-1", body)])
    if len(lone) > worker.ROOM:  # The body stands behind the frame.
        head = lone[:len(lone) - length]
        lone = struct.pack("<I", worker.ROOM) + head[4:].ljust(worker.ROOM - 4, b"\0") + body
    pieces = piece and (lambda data: (data[at:at + piece] for at in range(0, len(data), piece)))
    answers = conversation(transform, [lone], 1, pause=pieces)
    assert [(status, answered == body) for status, answered, _, _ in answers] == [(200, True)]


def test_replies_of_any_size_are_written_in_their_order(batch):
    ask, _, _ = batch(ECHO)
    bodies = [bytes([at]) * n for at, n in enumerate((5, 40_000, 0, 90_000, 20_000, 20_000, 7))]
    assert [body for _, body, _, _ in ask(*bodies)] == bodies


def test_code_with_its_own_codecs_needs_no_numpy(monkeypatch, serve):
    from sagebrush.frameworks import python

    monkeypatch.setattr(python, "PRELOAD", ("no_such_module_at_all",))

    class Own:
        input_fn = output_fn = len

    class Half:
        input_fn = len

    assert frameworks.preload("python", Own) == []
    assert frameworks.preload("python", Half) == ["no_such_module_at_all"]
    assert frameworks.preload("python") == ["no_such_module_at_all"]


def test_contexts_are_the_calls_own():
    context, content_type, accept = worker.asked({}, b"r-1\n\ntext/csv\nx-a\n1")
    assert isinstance(context, Context)
    assert (context.request_id, content_type, accept) == ("r-1", None, "text/csv")
    assert context.get_request_header(0, "X-A") == "1"
