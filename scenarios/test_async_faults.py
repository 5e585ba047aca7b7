"""`kill -9` at random moments with many asynchronous calls in flight: none is lost, none is answered
twice."""

import json
import os
import random
import re
import time
import urllib.request

import pytest

import asynchronous
import conftest
import models
import support
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

# More for a night's run.
KILLS = int(os.environ.get("SAGEBRUSH_SCENARIO_KILLS", "5"))
CALLS = int(os.environ.get("SAGEBRUSH_SCENARIO_CALLS", "1000"))
CALLERS = 8


def test_no_acknowledged_call_is_lost_or_answered_twice(server):
    """Every tenth call names an input that is not there, and fails. A topic hears of all results."""
    random.seed(time.time_ns())
    client = conftest.make_clients(boto3, server.url)
    s3 = client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="in/row.csv", Body=models.csv(models.ROWS[:1]))
    ears = asynchronous.Ears(client, "kept")
    config = asynchronous.config("kept", SuccessTopic=ears.good, ErrorTopic=ears.bad)
    endpoint = Deployment(client, "kept", "kept")(
        {"model.onnx": models.logistic()}, asynchronous=config
    )
    accepted = []
    for _ in range(KILLS):
        accepted += fill(server, endpoint, CALLS - in_flight(server, endpoint))
        time.sleep(random.uniform(0, 1))
        server.kill()
        server.start()
    s3 = conftest.make_clients(boto3, server.url)("s3")

    def is_over():
        outputs, failures = results(s3, "out/"), results(s3, "failed/")
        return (outputs, failures) if len(outputs) + len(failures) >= len(accepted) else None

    outputs, failures = support.wait_for(is_over, "all results", 300)
    for inference_id, fails in accepted:
        n_outputs = outputs.count(f"{inference_id}.out")
        n_failures = failures.count(f"{inference_id}-error.out")
        assert (n_outputs, n_failures) == ((0, 1) if fails else (1, 0)), inference_id
    assert len(outputs) + len(failures) == len(accepted)
    support.wait_for(lambda: in_flight(server, endpoint) == 0, "no call is in flight")
    sqs = conftest.make_clients(boto3, server.url)("sqs")
    for queue, fails in [(ears.good_queue, False), (ears.bad_queue, True)]:
        wanted = {inference_id for inference_id, failed in accepted if failed == fails}
        heard(sqs, queue, wanted)


def test_a_server_that_is_stopped_leaves_calls_to_the_next(server):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="kept")
    endpoint = Deployment(client, "kept", "kept")(
        support.inference_py(asynchronous.MODEL), image=support.PYTHON,
        asynchronous=asynchronous.config("kept"),
    )
    runtime = client("sagemaker-runtime")
    calls = [
        runtime.invoke_endpoint_async(EndpointName=endpoint, Body=b'{"seconds": 3}')
        for _ in range(3)
    ]
    support.wait_for(lambda: in_flight(server, endpoint) == 3, "3 calls are in flight")
    assert server.stop() == 0
    server.start()
    s3 = conftest.make_clients(boto3, server.url)("s3")
    for accepted in calls:
        kind, found = asynchronous.result(s3, accepted)
        assert kind == "output", found["Body"].read()


def fill(server, endpoint, n_calls):
    """Has calls accepted until the server has so many more; returns their ids."""

    def ask(i):
        runtime = conftest.make_clients(boto3, server.url)("sagemaker-runtime")
        mine = []
        for n in range(n_calls // CALLERS):
            fails = (i + n) % 10 == 0
            key = "nowhere" if fails else "row.csv"
            said = runtime.invoke_endpoint_async(
                EndpointName=endpoint, InputLocation=f"s3://kept/in/{key}", ContentType="text/csv"
            )
            mine.append((said["InferenceId"], fails))
        return mine

    outcomes = support.in_threads(CALLERS, ask)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)], outcomes
    return [one for outcome in outcomes for one in outcome]


def heard(sqs, queue, wanted):
    """The queue hears of each call once; a message that comes again is known by its id."""
    ids = {}

    def receive():
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        messages = found.get("Messages", [])
        for message in messages:
            told = json.loads(message["Body"])
            inference_id = json.loads(told["Message"])["inferenceId"]
            ids.setdefault(inference_id, set()).add(told["MessageId"])
        entries = [
            {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]}
            for i, message in enumerate(messages)
        ]
        if entries:
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        return not messages and len(ids) >= len(wanted)

    support.wait_for(receive, f"{len(wanted)} messages", 60 + len(wanted) / 40)
    assert set(ids) == wanted
    assert all(len(of_one) == 1 for of_one in ids.values()), ids


def in_flight(server, endpoint):
    with urllib.request.urlopen(f"{server.url}/metrics") as page:
        text = page.read().decode()
    gauge = rf'^sagebrush_async_approximate_backlog_size{{.*endpoint="{endpoint}".*}} (\d+)$'
    found = re.search(gauge, text, re.MULTILINE)
    return int(found[1]) if found else 0


def results(s3, prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="kept", Prefix=prefix)
    return [one["Key"].removeprefix(prefix) for page in pages for one in page.get("Contents", [])]


def test_a_kill_while_calls_are_accepted(server):
    """The client does not know of the last ones, but what it knows of is answered."""
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="kept")
    endpoint = Deployment(client, "kept", "kept")(
        {"model.onnx": models.logistic()}, asynchronous=asynchronous.config("kept")
    )
    known = []

    def ask(i):
        runtime = conftest.make_clients(boto3, server.url)("sagemaker-runtime")
        for _ in range(10_000):
            try:
                said = runtime.invoke_endpoint_async(
                    EndpointName=endpoint, Body=models.csv(models.ROWS[:1]), ContentType="text/csv"
                )
            except Exception:  # noqa: BLE001, the server was killed.
                return
            known.append(f"{said['InferenceId']}.out")

    def kill(i):
        support.wait_for(lambda: len(known) > 100, "100 calls", 60)
        server.kill()

    support.in_threads(CALLERS + 1, lambda i: kill(i) if i == CALLERS else ask(i))
    server.start()
    s3 = conftest.make_clients(boto3, server.url)("s3")
    support.wait_for(
        lambda: set(known) <= set(results(s3, "out/")), f"{len(known)} results", 120
    )
    found = results(s3, "out/")
    assert results(s3, "failed/") == []
    # A call may have been written down, and its acknowledgement lost.
    assert len(found) <= len(known) + CALLERS
