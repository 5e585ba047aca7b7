"""Calls that are answered in parts, as the server sees them."""

import os
import socket
import struct
import threading

import pytest

from sagebrush import replies, streams, worker

SOURCE = """
closed = []
def model_fn(model_dir): return closed
def transform_fn(model, data, content_type, accept, context):
    if data == b"whole": return "in one"
    return words(bytes(data).decode().split(), model, context), "text/x"
def words(given, model, context):
    context.custom_attributes = "attr"
    try:
        for word in given:
            if word == "raise": raise ValueError("no such word")
            if word == "large": yield bytearray(5 << 19)
            elif word == "endless":
                while True: yield "x" * 1000
            else: yield word
    except GeneratorExit:
        if "rude" in given: raise OSError("at its end")
        raise
    finally:
        model.append(given[0])
"""
ENOUGH = b"\x04"


def frame(body, n_calls=0):
    head = b"r-1\napplication/octet-stream\n"
    call = struct.pack("<IIQ", len(head), 1_000_000, len(body)) + head + body
    return struct.pack("<II", 8 + len(call), n_calls) + call


class Server:
    """The server's end of a worker's socket."""

    def __init__(self, transform):
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(30)
        self.stream = self.ours.makefile("rb")
        arguments = (theirs, transform, {}, os.getpid(), None)
        self.worker = threading.Thread(target=worker.serve, args=arguments)
        self.worker.start()

    def say(self, *data):
        self.ours.sendall(b"".join(data))

    def hear(self):
        start = self.stream.read(replies.REPLY.size)
        head_length, status, body_length, *_ = replies.REPLY.unpack(start)
        return status, self.stream.read(head_length), self.stream.read(body_length)

    def hear_all(self):
        heard = [self.hear()]
        while heard[-1][0] == streams.PART:
            heard.append(self.hear())
        return heard

    def end(self):
        self.ours.shutdown(socket.SHUT_RDWR)
        self.worker.join(30)
        assert not self.worker.is_alive()


@pytest.fixture
def server(serve):
    transform = serve(SOURCE)
    server = Server(transform)
    server.closed = transform.model
    yield server
    server.end()


def test_parts_and_a_last_reply(server):
    server.say(frame(b"a b"))
    head = b"text/x\nattr"
    assert server.hear_all() == [(3, head, b"a"), (3, b"", b"b"), (200, b"", b"")]
    # The byte and the next frame may come in one piece.
    server.say(ENOUGH, frame(b"whole"))
    assert server.hear_all() == [(200, b"application/json", b"in one")]
    server.say(ENOUGH, frame(b"a b", n_calls=1))
    assert server.hear() == (200, head, b"ab")
    server.say(frame(b"c"))
    assert [body for _, _, body in server.hear_all()] == [b"c", b""]
    server.say(ENOUGH)
    assert server.closed == ["a", "a", "c"]


def test_a_long_part_comes_in_pieces(server):
    server.say(frame(b"large"))
    pieces = [len(body) for _, _, body in server.hear_all()]
    assert pieces == [1 << 20, 1 << 20, 1 << 19, 0]
    server.say(ENOUGH)


def test_an_error_is_the_last_reply(server):
    server.say(frame(b"a raise"))
    part, (status, _, message) = server.hear_all()
    assert (part[0], status) == (3, 500)
    assert message.startswith(b"no such word\n")
    server.say(ENOUGH, frame(b"raise"))
    [(status, _, _)] = server.hear_all()
    assert status == 500
    server.say(ENOUGH)
    assert server.closed == ["a", "raise"]


@pytest.mark.parametrize("body", [b"endless", b"endless rude"])
def test_enough_closes_the_generator(server, body, capsys):
    server.say(frame(body))
    assert server.hear()[0] == 3
    server.say(ENOUGH)
    assert server.hear_all()[-1] == (200, b"", b"")
    assert server.closed == ["endless"]
    server.say(frame(b"next", n_calls=1))
    assert server.hear()[2] == b"next"
    assert ("at its end" in capsys.readouterr().err) == (b"rude" in body)


def test_enough_before_the_first_part(server):
    for body in (b"endless", b"whole", b"x" * 9000):
        server.say(frame(body), ENOUGH)  # They may be read together.
        assert len(server.hear_all()) < 5
    server.say(frame(b"a", n_calls=1))
    assert server.hear()[2] == b"a"


def test_a_server_that_is_gone_closes_the_generator(server):
    server.say(frame(b"endless"))
    server.hear()
    server.ours.shutdown(socket.SHUT_WR)
    server.hear_all()
    server.worker.join(30)
    assert server.closed == ["endless"]


def test_what_is_no_part(serve, call):
    from sagebrush.parts import Parts, is_stream

    for value in (b"x", "x", [1], {"a": 1}, (1, 2), (iter("x"), 1, 2), None, range(3)):
        assert not is_stream(value), value
    for value in (iter("x"), (iter("x"), "text/x"), map(str, [1]), (c for c in "x")):
        assert is_stream(value), value
    assert Parts(iter(["a", b"b", bytearray(b"c"), memoryview(b"d")]), "f").joined() == b"abcd"
    with pytest.raises(Exception, match="f yielded a dict: each part must be bytes or str"):
        Parts(iter([{}]), "f").joined()


# Where a model may have them.

YIELDS = "    yield 'a'\n    yield b'b'\n"
MODEL_FN = "def model_fn(d): return None\n"
INPUT = "def input_fn(data, content_type): return data\n"
PREDICT = INPUT + "def predict_fn(d, m):\n" + YIELDS


@pytest.mark.parametrize("source, content_type", [
    ("def transform_fn(m, d, c, a):\n" + YIELDS, "application/json"),
    ("async def transform_fn(m, d, c, a):\n" + YIELDS, "application/json"),
    ("def transform_fn(m, d, c, a, context):\n"
     "    context.set_response_content_type(0, 'text/x')\n" + YIELDS, "text/x"),
    (PREDICT, "application/json"),
    (PREDICT + "def output_fn(p, a): return p, 'text/x'\n", "text/x"),
    (PREDICT + "def output_fn(p, a): return ''.join(map(str, (len(x) for x in p)))\n", None),
    (INPUT + "def predict_fn(d, m): return iter(['a', 'b']), 'text/x'\n", "text/x"),
    (INPUT + "def predict_fn(d, m): return d\ndef output_fn(p, a):\n" + YIELDS,
     "application/json"),
    (INPUT + "def predict_fn(d, m): return iter('AB')\n"
     "def output_fn(p, a): return map(str.lower, p)\n", "application/json"),
    (INPUT + "def predict_batch_fn(i, m): return [iter('ab') for _ in i]\n", "application/json"),
    ("import asyncio\n"
     "async def parts():\n"
     "    queue = asyncio.Queue()\n"
     "    async def fill():\n"
     "        for part in 'ab':\n"
     "            await asyncio.sleep(0)\n"
     "            await queue.put(part)\n"
     "        await asyncio.sleep(1000)\n"
     "    filler = asyncio.create_task(fill())\n"
     "    for _ in range(2): yield await queue.get()\n"
     "def transform_fn(m, d, c, a): return parts(), 'text/x'\n", "text/x"),
])
def test_generators_where_a_model_may_have_them(serve, source, content_type):
    server = Server(serve(MODEL_FN + source))
    try:
        server.say(frame(b"[1]"))
        heard = server.hear_all()
        server.say(ENOUGH, frame(b"[1]", n_calls=1))
        whole = server.hear()
    finally:
        server.end()
    if content_type is None:
        assert [body for _, _, body in heard] == [whole[2]] == [b"11"]
        return
    assert heard[0][1] == whole[1] == content_type.encode()
    assert [body for _, _, body in heard] == [b"a", b"b", b""]
    assert whole[2] == b"ab"
