"""Hostile and broken `inference.py`: the caller learns the cause, others notice nothing, and
nothing is left of it."""

import json
import os
import re
import threading

import pytest
from botocore.exceptions import ClientError

import calls
import conftest
import models
import processes
import support
from deployment import Deployment
from load import Load

boto3 = pytest.importorskip("boto3")

FAULTS = """
import json, os, signal, shutil, sys, time

def model_fn(model_dir):
    return model_dir

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    return globals()[data["do"]](data, model)

def output_fn(prediction, accept):
    return prediction if isinstance(prediction, Odd) else json.dumps(prediction)

class Odd:
    pass

def answer(data, model):
    return {"n": data["n"]}

def nap(data, model):
    time.sleep(data["seconds"])
    return {"n": data["n"]}

def kill_self(data, model):
    os.kill(os.getpid(), signal.SIGKILL)

def loop(data, model):
    while True:
        pass

def allocate(data, model):
    # Two gigabytes, a page of each touched.
    held = bytearray(2 << 30)
    held[::4096] = b"x" * len(held[::4096])
    return len(held)

def odd(data, model):
    return Odd()

def exit_0(data, model):
    os._exit(0)

def exit_137(data, model):
    os._exit(137)

def sys_exit(data, model):
    sys.exit(3)

def base(data, model):
    raise BaseException("enough of this")

def children(data, model):
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    return {"n": data["n"]}

def children_and_exit(data, model):
    # They keep all that this process had open.
    for _ in range(5):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    os._exit(9)

def delete(data, model):
    # Only what is its own: on a machine without namespaces the rest is the machine's.
    gone = []
    for folder in {os.getcwd(), model}:
        if data["isolated"] or os.path.realpath(folder).startswith(data["below"]):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone

def close_fds(data, model):
    for fd in range(21):
        try:
            os.close(fd)
        except OSError:
            pass
    return {"n": data["n"]}

def chatter(data, model):
    # A megabyte in a second.
    for _ in range(10):
        print("x" * 99 + "\\n", end="", flush=True)
        sys.stdout.write(("y" * 999 + "\\n") * 100)
        sys.stdout.flush()
        time.sleep(0.1)
    return {"n": data["n"]}
"""
ENVIRONMENT = {
    "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "2",
    "SAGEBRUSH_WORKER_MEMORY_BYTES": str(1 << 30),
    "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
    # What a call does to its process is looked at once.
    "SAGEBRUSH_RETRY_AFTER_DEATH": "false",
}
ECHO = """
import json

def model_fn(model_dir):
    return None

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""
# The neighbour shares two cores with all that goes wrong, and both are debug builds.
SLOWEST = 5.0


class Stage:
    """A server of our own with two neighbours that are called while others misbehave."""

    def __init__(self, server):
        self.server = server
        self.client = conftest.make_clients(boto3, server.url)
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket="stage")
        neighbours = Deployment(self.client, "neighbour", "stage")
        onnx = neighbours({"model.onnx": models.logistic()}, suffix="-onnx")
        python = neighbours(
            support.inference_py(ECHO), suffix="-python", image=support.PYTHON,
            environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
        )
        self.neighbours = neighbours
        self.loads = [
            Load(self.client, onnx, models.csv(models.ROWS[:1]), models.csv_values, threads=1),
            Load(
                self.client, python, b"[1]", json.loads, threads=1,
                content_type="application/json",
            ),
        ]
        for load in self.loads:
            load.__enter__()
            load.at_least(10)
        self.n_endpoints = 0

    @property
    def runtime(self):
        return self.client("sagemaker-runtime")

    def deployment(self):
        self.n_endpoints += 1
        return Deployment(self.client, f"fault-{self.n_endpoints}", "stage")

    def neighbours_noticed_nothing(self):
        for load in self.loads:
            load.at_least(5)
            assert load.errors == []
            assert load.slowest() < SLOWEST

    def close(self):
        for load in self.loads:
            load.__exit__()
        for name in list(self.neighbours.endpoints):
            self.neighbours.delete(name)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """It ends with all endpoints deleted, and nothing of them left in the server."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs a server of its own")
    server = support.Server(tmp_path_factory.mktemp("stage") / "data").start()
    try:
        empty = processes.held(server.process.pid)
        made = Stage(server)
        yield made
        made.close()
        nothing_is_left(server, set(), empty, once=4)
    finally:
        assert server.stop() == 0, server.log.read_text()[-4000:]


@pytest.fixture
def faulty(stage):
    """A faulty endpoint; nothing of it may be left once it is deleted."""
    running = processes.related(stage.server)
    held = processes.held(stage.server.process.pid)
    files = processes.left_over(stage.server)
    deployment = stage.deployment()
    deployment.others = running
    name = deployment(
        support.inference_py(FAULTS), image=support.PYTHON, environment=ENVIRONMENT
    )
    yield deployment
    stage.neighbours_noticed_nothing()
    deployment.delete(name)
    deployment.clean()
    nothing_is_left(stage.server, running, held, files)


def nothing_is_left(server, running, held, files=(), once=0):
    """Processes, open files and run folders are as before; `once`: what the first child costs."""
    state = None

    def as_before():
        nonlocal state
        now = processes.held(server.process.pid)
        more = {kind: n for kind, n in now.items() if n > held[kind] + once}
        new = processes.related(server) - running
        left = [path for path in processes.left_over(server) if path not in files]
        state = (new, more, left)
        return not (new or more or left)

    try:
        support.wait_for(as_before, "nothing is left", 15)
    except AssertionError:
        pytest.fail(f"left: processes {state[0]}, open {state[1]}, files {state[2]}")


def do(stage, deployment, what, **more):
    body = {"do": what, "n": 7} | more
    return calls.ask(stage.runtime, deployment.name, body)


def recovers(stage, deployment):
    """Within 10 s it answers as if nothing had been, five times in a row."""
    row = 0

    def answers():
        nonlocal row
        try:
            row = row + 1 if do(stage, deployment, "answer") == {"n": 7} else 0
        except ClientError as error:
            row = 0
            code = error.response["Error"]["Code"]
            documented = ("ModelError", "ServiceUnavailable", "ThrottlingException")
            assert code in documented, error.response
        return row >= 5

    support.wait_for(answers, "the endpoint answers again", 10)


@pytest.mark.parametrize(
    ("what", "status", "named"),
    [
        ("kill_self", 500, "signal 9"),
        ("loop", 0, "timed out while waiting for a response from container primary"),
        ("allocate", 500, "[Mm]emory"),
        ("odd", 500, "Odd"),
        ("exit_0", 500, "exit code 0"),
        ("exit_137", 500, "exit code 137"),
        ("sys_exit", 500, "SystemExit|exit code 3"),
        ("base", 500, "enough of this"),
        ("children_and_exit", 500, "exit code 9"),
        ("no_such_function", 500, "KeyError"),
    ],
)
def test_a_call_that_goes_wrong_says_so(stage, faulty, what, status, named):
    response = calls.refused(stage.runtime, faulty.name, {"do": what, "n": 1})
    assert response["Error"]["Code"] == "ModelError", response
    assert response["OriginalStatusCode"] == status, response
    assert re.search(named, response["Error"]["Message"]), response
    recovers(stage, faulty)


@pytest.mark.parametrize("what", ["children", "close_fds", "delete"])
def test_a_call_that_ruins_its_process(stage, faulty, what):
    """It may be answered or not; the cause is named if not, and the next calls are well."""
    more = {"isolated": faulty.is_isolated(), "below": str(stage.server.data_dir.resolve() / "run")}
    try:
        do(stage, faulty, what, **more)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ModelError", error.response
        assert error.response["OriginalMessage"], error.response
    recovers(stage, faulty)


def test_a_model_that_talks_too_much(stage, faulty):
    outcomes = support.in_threads(3, lambda i: do(stage, faulty, "chatter"))
    assert outcomes == [{"n": 7}] * 3
    recovers(stage, faulty)


def test_one_loop_does_not_stop_the_other_worker(stage, faulty):
    """The deadline of one call is not waited for by those that another worker can take."""
    stuck = threading.Thread(
        target=lambda: calls.refused(stage.runtime, faulty.name, {"do": "loop"})
    )
    stuck.start()
    answered = 0
    while stuck.is_alive():
        answered += do(stage, faulty, "answer") == {"n": 7}
    stuck.join()
    assert answered >= 3


def test_workers_that_are_killed_while_they_work(stage, faulty):
    """Each kill costs the call that the worker had, and no other."""
    errors, over, answered = [], threading.Event(), [0, 0]

    def call(i):
        runtime = stage.client("sagemaker-runtime", config={"user_agent_extra": f"killed-{i}"})
        while not over.is_set():
            try:
                body = {"do": "nap", "n": i, "seconds": 0.02}
                assert calls.ask(runtime, faulty.name, body) == {"n": i}
                answered[i] += 1
            except ClientError as error:
                errors.append(error.response)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            wait_for_more(answered, 10)
            workers = processes.leaves(stage.server.process.pid) - faulty.others
            assert workers
            processes.kill([min(workers)])
        wait_for_more(answered, 10)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(errors) <= 3, errors
    for response in errors:
        assert "signal 9" in response["Error"]["Message"], response


def wait_for_more(counts, n):
    start = list(counts)
    support.wait_for(
        lambda: all(now >= before + n for now, before in zip(counts, start, strict=True)),
        f"{n} more calls a thread", 15,
    )


def test_all_of_an_endpoint_s_processes_are_killed(stage, faulty):
    mine = processes.related(stage.server) - faulty.others
    assert mine
    processes.kill(mine)
    recovers(stage, faulty)


def test_a_server_that_is_killed_takes_its_workers_along(server):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="kept")
    deployment = Deployment(client, "kept", "kept")
    name = deployment(support.inference_py(ECHO), image=support.PYTHON, instances=2)
    assert calls.ask(client("sagemaker-runtime"), name, [1]) == [1]
    running = processes.related(server)
    assert running
    server.kill()
    support.wait_for(lambda: processes.are_gone(running), "the workers end too", 15)

    server.start()
    client = conftest.make_clients(boto3, server.url)
    assert calls.ask(client("sagemaker-runtime"), name, [2]) == [2]
    assert Deployment(client, name, "kept").settled()["EndpointStatus"] == "InService"
    # What the killed server left is gone; what is there is in use.
    support.wait_for(
        lambda: not processes.related(server) & running, "only new processes", 5
    )
    client("sagemaker").delete_endpoint(EndpointName=name)
    support.wait_for(lambda: not processes.related(server), "no process is left", 30)
    support.wait_for(lambda: not processes.left_over(server), "no file is left", 10)


def test_a_crash_loop_does_not_burn_the_machine(stage):
    """Code that ends its process at each start: `Failed` with the cause, and then peace."""
    deployment = stage.deployment()
    before = processes.related(stage.server)
    reason = deployment.failing(
        support.inference_py("import os\nos._exit(5)\n"), image=support.PYTHON
    )
    assert "exit code 5" in reason
    support.wait_for(lambda: not processes.related(stage.server) - before, "it rests", 15)
    deployment.delete()
    deployment.clean()
    stage.neighbours_noticed_nothing()
