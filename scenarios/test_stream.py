"""`InvokeEndpointWithResponseStream`: replies that come part by part."""

import json
import socket
import threading
import time
import urllib.parse

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError, ReadTimeoutError

import calls
import conftest
import metrics
import models
import processes
import raw
import support
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

# The body of a call says what to do: a list of steps.
MODEL = """
import json, os, socket

def model_fn(model_dir):
    return None

def tell(address, words):
    # Returns when the test allows it.
    with socket.create_connection(address, 30) as gate:
        gate.sendall(words.encode())
        gate.shutdown(socket.SHUT_WR)
        gate.recv(1)

def steps(body):
    body = json.loads(body)
    try:
        for step, value in body["steps"]:
            if step == "say":
                yield value
            elif step == "bytes":
                yield bytes(value)
            elif step == "many":
                for number in range(value):
                    yield "%d\\n" % number
            elif step == "large":
                yield b"x" * value
            elif step == "endless":
                while True:
                    yield b"x" * value
            elif step == "wait":
                tell(body["gate"], "wait " + value)
            elif step == "counted":
                for number in range(value):
                    yield b"x" * 10_000
                    tell(body["gate"], "note %d" % number)
            elif step == "raise":
                raise KeyError(value)
            elif step == "exit":
                os._exit(value)
            elif step == "yield":
                yield value
            elif step == "pid":
                yield str(os.getpid())
    finally:
        if body.get("finally"):
            tell(body["gate"], "note " + body["finally"])
"""

TRANSFORM = MODEL + """
def transform_fn(model, data, content_type, accept, context):
    context.custom_attributes = "attr=1"
    return steps(data), "text/x-parts"
"""


def script(*steps, gate=None, end=None):
    return json.dumps({"steps": steps, "gate": gate and gate.address, "finally": end})


def begin(runtime, endpoint, *steps, gate=None, end=None, **more):
    body = script(*steps, gate=gate, end=end)
    return runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=body, ContentType="application/json", **more
    )


def parts(answer):
    """The parts, one by one."""
    for event in answer["Body"]:
        yield event["PayloadPart"]["Bytes"]


class Gate:
    """What a model in its confinement can reach: it waits here, and says here what it did."""

    def __init__(self):
        self.notes, self.allowed = [], {}
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.address = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def allow(self, name):
        with self.changed:
            self.allowed[name] = True
            self.changed.notify_all()

    def has(self, note):
        return note in self.notes

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            words = b"".join(iter(lambda: connection.recv(1000), b"")).decode()
            kind, name = words.split(" ", 1)
            with self.changed:
                if kind == "note":
                    self.notes.append(name)
                else:
                    self.changed.wait_for(lambda: name in self.allowed, 60)
            connection.sendall(b".")


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.listener.close()


@pytest.fixture
def endpoint(deploy):
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    files = support.inference_py(TRANSFORM)
    return deploy(files, image=support.PYTHON, environment=environment)


def test_parts_and_their_head(endpoint, runtime):
    answer = begin(runtime, endpoint, ["say", "one "], ["say", "two ä"], ["bytes", [0, 255]])
    assert answer["ContentType"] == "text/x-parts"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["CustomAttributes"] == "attr=1"
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    assert list(parts(answer)) == [b"one ", "two ä".encode(), b"\x00\xff"]


def test_each_part_comes_before_the_next_is_made(endpoint, runtime, gate):
    steps = [step for name in "012" for step in (["say", name], ["wait", name])]
    seen = []
    for part in parts(begin(runtime, endpoint, *steps, ["say", "end"], gate=gate)):
        seen.append(part)
        gate.allow(part.decode())  # The model goes on only now.
    assert seen == [b"0", b"1", b"2", b"end"]


def test_many_parts_and_large_ones(endpoint, runtime):
    answer = begin(runtime, endpoint, ["many", 5000], ["large", 3_000_000], ["say", "end"])
    numbers = "".join(f"{number}\n" for number in range(5000))
    assert b"".join(parts(answer)) == numbers.encode() + b"x" * 3_000_000 + b"end"


def test_a_model_that_answers_in_one_piece_streams_one_part(deploy, runtime):
    source = "def model_fn(d): return None\ndef transform_fn(m, data, c, a): return data, c\n"
    endpoint = deploy(support.inference_py(source), image=support.PYTHON)
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=b"hello", ContentType="text/plain"
    )
    assert (answer["ContentType"], list(parts(answer))) == ("text/plain", [b"hello"])


def test_parts_are_joined_for_invoke_endpoint(endpoint, runtime):
    body = json.dumps({"steps": [["say", "a"], ["many", 3]]})
    answer = calls.invoke(runtime, endpoint, body)
    assert (answer["Body"], answer["ContentType"]) == (b"a0\n1\n2\n", "text/x-parts")
    assert answer["CustomAttributes"] == "attr=1"
    body = {"steps": [["say", "a"], ["raise", "no such thing"]]}
    assert "no such thing" in calls.model_error(runtime, endpoint, body)


def test_onnx_answers_in_one_part(deploy, runtime):
    endpoint = deploy({"model.onnx": models.logistic()})
    row = models.csv(models.ROWS[:1])
    whole = calls.invoke(runtime, endpoint, row, "text/csv")
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=row, ContentType="text/csv"
    )
    assert list(parts(answer)) == [whole["Body"]]
    assert answer["ContentType"] == whole["ContentType"]


# Errors.


def refused(runtime, endpoint, *steps, **more):
    with pytest.raises(ClientError) as caught:
        begin(runtime, endpoint, *steps, **more)
    return caught.value.response


def test_an_error_before_the_first_part_is_an_ordinary_answer(endpoint, runtime):
    response = refused(runtime, endpoint, ["raise", "no such thing"])
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert "no such thing" in response["OriginalMessage"]
    message = "Received server error (500) from primary with message"
    assert response["Error"]["Message"].startswith(message), response
    response = refused(runtime, endpoint, ["yield", 1])
    assert "each part must be bytes or str" in response["OriginalMessage"]
    response = refused(runtime, "no-such-endpoint")
    assert response["Error"]["Code"] == "ValidationError"


def broken(answer):
    """The parts of a stream and the error that ends it."""
    seen = []
    with pytest.raises(EventStreamError) as caught:
        for part in parts(answer):
            seen.append(part)
    return seen, caught.value.response


def test_an_error_in_the_middle(deploy, runtime):
    endpoint = deploy(
        support.inference_py(TRANSFORM), image=support.PYTHON,
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    [pid] = parts(begin(runtime, endpoint, ["pid", 0]))
    for n in range(8):
        answer = begin(runtime, endpoint, ["say", "a"], ["raise", f"reason {n}"])
        seen, response = broken(answer)
        assert seen == [b"a"]
        assert response["Error"]["Code"] == "ModelStreamError", response
        assert f"reason {n}" in response["Error"]["Message"]
        assert response["Error"]["Message"].startswith("Received server error (500) from primary")
    assert list(parts(begin(runtime, endpoint, ["pid", 0]))) == [pid], "the worker lives on"


def test_a_worker_that_dies_in_the_middle(endpoint, runtime):
    for code in (0, 9):
        seen, response = broken(begin(runtime, endpoint, ["say", "a"], ["exit", code]))
        assert seen == [b"a"]
        assert f"exit code {code}" in response["Error"]["Message"]
    support.wait_for(lambda: list(parts(begin(runtime, endpoint, ["say", "b"]))) == [b"b"], "back")


def test_a_part_that_takes_too_long(deploy, runtime, endpoint_url, gate):
    environment = {"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "1"}
    files = support.inference_py(TRANSFORM)
    endpoint = deploy(files, image=support.PYTHON, environment=environment)
    seen, response = broken(begin(runtime, endpoint, ["say", "a"], ["wait", "x"], gate=gate))
    assert (seen, response["Error"]["Code"]) == ([b"a"], "ModelStreamError")
    assert "Your invocation timed out" in response["Error"]["Message"]
    late = refused(runtime, endpoint, ["wait", "x"], gate=gate)
    assert (late["Error"]["Code"], late["OriginalStatusCode"]) == ("ModelError", 0)
    last = messages(endpoint_url, endpoint, ["say", "a"], ["wait", "x"], gate=gate)[-1]
    assert json.loads(last.payload)["ErrorCode"] == "ModelInvocationTimeExceeded"


def messages(url, endpoint, *steps, gate=None):
    """The messages of a stream, by botocore's own parser."""
    status, headers, body = raw.signed(
        url, "sagemaker", "POST", f"/endpoints/{endpoint}/invocations-response-stream",
        script(*steps, gate=gate).encode(), {"Content-Type": "application/json"},
    )
    assert (status, headers["content-type"]) == (200, "application/vnd.amazon.eventstream")
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return list(buffer)


def test_messages_as_they_are_on_the_wire(endpoint, endpoint_url):
    *said, last = messages(endpoint_url, endpoint, ["say", "a"], ["large", 300_000], ["raise", "x"])
    for message in said:
        assert message.headers == {
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
            ":message-type": "event",
        }
    assert b"".join(message.payload for message in said) == b"a" + b"x" * 300_000
    assert last.headers == {
        ":exception-type": "ModelStreamError",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    error = json.loads(last.payload)
    assert error["ErrorCode"] == "StreamBroken" and "KeyError: 'x'" in error["Message"]


# Clients who leave, and clients who are slow.


def leave(answer):
    answer["Body"].close()


def test_a_client_who_leaves_closes_the_generator(endpoint, runtime, gate):
    for n in range(6):
        end, go = f"end {n}", f"go {n}"
        steps = [["endless", 1000]] if n % 2 else [["say", "a"], ["wait", go], ["many", 99_999]]
        answer = begin(runtime, endpoint, *steps, gate=gate, end=end)
        next(parts(answer))
        leave(answer)
        gate.allow(go)
        support.wait_for(lambda: gate.has(end), f"the generator was closed ({n})")
    # Both workers have their places again.
    ask = lambda n: list(parts(begin(runtime, endpoint, ["say", str(n)])))
    assert support.in_threads(8, ask) == [[str(n).encode()] for n in range(8)]


def test_a_client_who_leaves_before_the_first_part(endpoint, client, gate):
    impatient = client("sagemaker-runtime", config={"read_timeout": 1})
    with pytest.raises(ReadTimeoutError):
        begin(impatient, endpoint, ["wait", "go"], ["endless", 1000], gate=gate, end="end")
    gate.allow("go")
    support.wait_for(lambda: gate.has("end"), "the generator was closed")


def request(url, endpoint, *steps, gate):
    """A connection of our own on which a stream was asked for."""
    path = f"/endpoints/{endpoint}/invocations-response-stream"
    body = script(*steps, gate=gate).encode()
    headers = raw.signed_headers(
        url, "sagemaker", "POST", path, body, {"Content-Type": "application/json"}
    )
    host, port = url.removeprefix("http://").split(":")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "host"]
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return connection


def test_a_slow_client_stops_the_generator(server, tmp_path, gate):
    """What is made for a client who reads nothing is bounded, and so is the server's memory."""
    deploy, runtime = own(server)
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "4"}
    endpoint = deploy(
        support.inference_py(TRANSFORM), image=support.PYTHON, environment=environment
    )
    list(parts(begin(runtime, endpoint, ["say", "warm"])))
    before = processes.resident([server.process.pid])
    steps = ["counted", 100_000], ["say", "end"]
    slow = [request(server.url, endpoint, *steps, gate=gate) for _ in range(4)]
    support.wait_for(lambda: gate.notes.count("0") == 4, "all have begun")
    made = settled(lambda: len(gate.notes))
    assert made < 4 * 500, "parts of 10 kB that nobody took"
    grown = processes.resident([server.process.pid]) - before
    assert grown < 24 << 20, f"{grown} bytes for four clients who read nothing"
    read(slow[0], 20_000_000)
    assert gate.notes.count("1900") == 1, "it went on, and the others did not"
    for connection in slow:
        connection.close()
    assert list(parts(begin(runtime, endpoint, ["say", "after"]))) == [b"after"]


def own(server):
    """`deploy` and a runtime client for a server of the test's own."""
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="own")
    return Deployment(client, "own", "own"), client("sagemaker-runtime")


def settled(look):
    """What is seen, once it has stayed the same for half a second."""
    last, since = look(), time.monotonic()

    def is_same():
        nonlocal last, since
        now = look()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.5

    support.wait_for(is_same, "it stands still")
    return last


def read(connection, n_bytes):
    while n_bytes > 0:
        got = len(connection.recv(65536))
        assert got, "it ended"
        n_bytes -= got


def test_a_hundred_streams_at_once(endpoint, client):
    # More than 64 calls that wait for long are refused; who is refused tries again.
    retries = {"total_max_attempts": 20, "mode": "standard"}
    runtime = client("sagemaker-runtime", config={"max_pool_connections": 100, "retries": retries})

    def ask(n):
        answer = begin(runtime, endpoint, ["say", f"{n} "], ["many", 20], ["say", f" {n}"])
        return b"".join(parts(answer))

    numbers = "".join(f"{number}\n" for number in range(20))
    for n, answer in enumerate(support.in_threads(100, ask)):
        assert answer == f"{n} {numbers} {n}".encode()


def test_streams_that_are_open_together(deploy, client, gate):
    """As many as there are workers, each in the middle of its reply."""
    n_workers = 20
    endpoint = deploy(
        support.inference_py(TRANSFORM), image=support.PYTHON,
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": str(n_workers)},
    )
    runtime = client("sagemaker-runtime", config={"max_pool_connections": n_workers})
    steps = ["say", "a"], ["wait", "go"], ["say", "b"]
    streams = [parts(begin(runtime, endpoint, *steps, gate=gate)) for _ in range(n_workers)]
    assert [next(stream) for stream in streams] == [b"a"] * n_workers
    gate.allow("go")
    assert [list(stream) for stream in streams] == [[b"b"]] * n_workers


# An endpoint that changes under a stream.


def test_an_endpoint_is_deleted_while_a_stream_is_open(deploy, runtime, gate):
    endpoint = deploy(support.inference_py(TRANSFORM), image=support.PYTHON)
    steps = ["say", "a"], ["wait", "go"], ["say", "b"]
    stream = parts(begin(runtime, endpoint, *steps, gate=gate))
    assert next(stream) == b"a"
    deleting = threading.Thread(target=deploy.delete, args=(endpoint,))
    deleting.start()
    status = lambda: deploy.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"]
    support.wait_for(lambda: status() == "Deleting", "it is being deleted")
    gate.allow("go")
    assert list(stream) == [b"b"], "what was begun is finished"
    deleting.join()


def test_metrics(endpoint, runtime, endpoint_url):
    list(parts(begin(runtime, endpoint, ["say", "a"], ["say", "b"])))
    broken(begin(runtime, endpoint, ["say", "a"], ["raise", "x"]))
    seen = lambda name: metrics.value(endpoint_url, f"sagebrush_{name}", endpoint=endpoint)
    assert seen("stream_parts_total") == 3
    assert seen("mid_stream_errors_total") == 1
    assert seen("first_chunk_latency_seconds_count") == 2
    assert seen("invocations_total") == 2


# Programs and containers of one's own.


@pytest.fixture
def program():
    """A program that answers in chunks."""
    script = support.ROOT / "scenarios/byo/chunks.py"
    query = urllib.parse.urlencode([("arg", str(script))], safe="/")
    return f"process://{support.python()}?{query}"


def test_a_program_that_answers_in_chunks(deploy, runtime, program, gate):
    endpoint = deploy(image=program)
    steps = ["say", "a"], ["wait", "go"], ["say", "b"]
    stream = parts(begin(runtime, endpoint, *steps, gate=gate))
    assert next(stream) == b"a"
    gate.allow("go")
    assert list(stream) == [b"b"]
    answer = begin(runtime, endpoint, ["say", "one"])
    assert answer["ContentType"] == "text/x-chunks" and list(parts(answer)) == [b"one"]
    body = json.dumps({"steps": [["say", "a"], ["say", "b"]]})
    assert calls.invoke(runtime, endpoint, body)["Body"] == b"ab"

    response = refused(runtime, endpoint, ["status", 422])
    assert response["OriginalStatusCode"] == 422
    seen, response = broken(begin(runtime, endpoint, ["say", "a"], ["cut", 0]))
    assert (seen, response["Error"]["Code"]) == ([b"a"], "ModelStreamError")

    answer = begin(runtime, endpoint, ["endless", 1000], gate=gate, end="end")
    next(parts(answer))
    leave(answer)
    support.wait_for(lambda: gate.has("end"), "the program saw that the client left")

    seen, response = broken(begin(runtime, endpoint, ["say", "a"], ["exit", 7]))
    assert (seen, response["Error"]["Code"]) == ([b"a"], "ModelStreamError")
    assert "exit code 7" in response["Error"]["Message"]
