"""`InvokeEndpointWithResponseStream`: replies that come part by part."""

import json
import os
import socket
import threading
import time

import pytest
from botocore.exceptions import ClientError, EventStreamError

import calls
import conftest
import processes
import raw
import support

boto3 = pytest.importorskip("boto3")

# The body of a call says what to do: a list of steps.
MODEL = """
import json, os, time

def model_fn(model_dir):
    return None

def wait_for(path):
    end = time.monotonic() + 30
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.005)

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
            elif step == "note":
                with open(value, "a") as file:
                    file.write("x")
            elif step == "wait":
                wait_for(value)
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
            with open(body["finally"], "w") as file:
                file.write("closed")
"""

TRANSFORM = MODEL + """
def transform_fn(model, data, content_type, accept, context):
    context.custom_attributes = "attr=1"
    return steps(data), "text/x-parts"
"""


def begin(runtime, endpoint, *steps, end=None, **more):
    body = json.dumps({"steps": steps, "finally": str(end) if end else None})
    return runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=body, ContentType="application/json", **more
    )


def parts(answer):
    """The parts, one by one."""
    for event in answer["Body"]:
        yield event["PayloadPart"]["Bytes"]


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
