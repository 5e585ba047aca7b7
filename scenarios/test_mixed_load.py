"""Calls of all kinds at once, for a while: each answer is checked against its own question.

`SAGEBRUSH_MIXED_LOAD_SECONDS` makes the while longer.
"""

import functools
import json
import os
import random
import threading
import time

import boto3
import numpy as np
import onnxruntime
import pytest

import calls
import conftest
import models
import processes
import support
from deployment import Deployment

SECONDS = float(os.environ.get("SAGEBRUSH_MIXED_LOAD_SECONDS", "15"))
CALLERS = 3  # Of each kind.
COLUMNS = 4

ECHO = """
def model_fn(model_dir):
    return None

def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    return data

def output_fn(data, accept):
    return data, accept
"""


@pytest.fixture
def stage(server):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="mixed")
    return Stage(client, server)


class Stage:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.over = time.monotonic() + SECONDS
        self.wrong, self.counts, self.lock = [], {}, threading.Lock()

    def deploy(self, name, files, **options):
        return Deployment(self.client, name, "mixed")(files, **options)

    def caller(self, kind, i, ask):
        """Calls without a pause until it is over; `ask(client, chance)` checks its answer."""
        client = self.client("sagemaker-runtime", config={"user_agent_extra": f"{kind}-{i}"})
        chance, n = random.Random(f"{kind}-{i}"), 0
        while time.monotonic() < self.over and not self.wrong:
            try:
                ask(client, chance)
                n += 1
            except Exception as error:  # noqa: BLE001, any error is what the test looks for.
                self.wrong.append((kind, repr(error)))
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + n


def test_each_answer_is_that_of_its_own_question(stage):
    forest, one_row = models.forest(), models.logistic()
    stage.deploy("rows", {"model.onnx": forest})
    stage.deploy("quick", {"model.onnx": one_row}, instances=2)
    stage.deploy("echo", support.inference_py(ECHO), image=support.PYTHON)
    kinds = {
        "rows": lambda client, chance: rows(client, chance, forest),
        "quick": lambda client, chance: quick(client, chance, one_row),
        "echo": echo,
        "bad": bad,
    }
    threads = [
        threading.Thread(target=stage.caller, args=(kind, i, ask))
        for kind, ask in kinds.items() for i in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    resident = []
    while any(thread.is_alive() for thread in threads):
        resident.append(processes.resident([stage.server.process.pid, *processes.related(stage.server)]))
        time.sleep(min(1.0, SECONDS / 30))
    assert not stage.wrong, stage.wrong[:3]
    print(f"{stage.counts} calls, {max(resident) >> 20} MiB at most, {resident[-1] >> 20} at last")
    assert all(stage.counts[kind] > 20 for kind in kinds), stage.counts
    # After the first third nothing grows any more.
    early = max(resident[: max(len(resident) // 3, 1)])
    assert resident[-1] <= 1.2 * early + (32 << 20), [size >> 20 for size in resident]
    assert stage.server.stop() == 0


@functools.cache
def session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def numbers(chance, n):
    row = lambda: [round(chance.uniform(0, 8), 2) for _ in range(COLUMNS)]  # noqa: E731
    return np.array([row() for _ in range(n)], np.float32)


def wanted(model, asked):
    """The label and the probabilities of each row."""
    labels, probabilities = session(model).run(None, {"X": asked})
    return np.column_stack([labels, probabilities])


def rows(client, chance, model):
    """One row or several, as CSV or JSON."""
    asked = numbers(chance, chance.choice((1, 1, 1, 5, 40)))
    if chance.random() < 0.5:
        body, content_type = models.csv(asked), "text/csv"
    else:
        body, content_type = {"instances": asked.tolist()}, "application/json"
    answer = calls.invoke(client, "rows", body, content_type, accept="text/csv")
    got = models.csv_values(answer["Body"])
    np.testing.assert_allclose(got, wanted(model, asked), atol=1e-5)


def quick(client, chance, model):
    asked = numbers(chance, 1)
    answer = calls.invoke(client, "quick", models.csv(asked), "text/csv")
    np.testing.assert_allclose(
        models.csv_values(answer["Body"]), wanted(model, asked), atol=1e-5
    )


def echo(client, chance):
    body = chance.randbytes(chance.choice((1, 100, 10_000, 300_000)))
    answer = calls.invoke(client, "echo", body, "application/octet-stream", "image/x-any")
    assert answer["Body"] == body


def bad(client, chance):
    """A call that fails, beside others that must not."""
    body = chance.choice(("1,2,3,4,5,6,7,8,9", "a,b", "", "1,,2"))
    endpoint = chance.choice(("rows", "quick"))
    response = calls.refused(client, endpoint, body, content_type="text/csv")
    assert response["Error"]["Code"] == "ModelError", response
    assert response["OriginalStatusCode"] == 400, json.dumps(response, default=str)
