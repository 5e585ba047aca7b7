"""More calls than a model can answer: refused at once, and told when to come again."""

import json
import socket
import threading
import time

import boto3
import pytest
from botocore.exceptions import ClientError

import calls
import conftest
import metrics
import raw
import support
from deployment import Deployment

# Answers after a while; says which call it began, one line each.
SLOW = """
import json, time

def model_fn(model_dir):
    return None

def predict_fn(data, model):
    print("began", data["call"], flush=True)
    time.sleep(data["seconds"])
    return {"call": data["call"]}
"""
WAITING = 4


@pytest.fixture
def stage(server):
    """A model with one worker, on a server that lets four calls wait."""
    server.stop()
    server.options = ("--max-waiting-calls", str(WAITING))
    server.start()
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="slow")
    deploy = Deployment(client, "slow", "slow")
    deploy(
        support.inference_py(SLOW), image=support.PYTHON,
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    return Stage(client, server)


class Stage:
    endpoint = "slow"

    def __init__(self, client, server):
        self.client, self.server = client, server
        # Each caller has a client, made before the clock runs.
        self.clients = [
            client("sagemaker-runtime", config={"user_agent_extra": f"flood-{i}"})
            for i in range(40)
        ]

    def ask(self, i, seconds):
        body = {"call": i, "seconds": seconds}
        began = time.monotonic()
        try:
            answer = calls.ask(self.clients[i], self.endpoint, body)
            return time.monotonic() - began, answer, None
        except ClientError as error:
            return time.monotonic() - began, None, error.response

    def began(self):
        lines = calls.log_lines(self.client, self.endpoint)
        return [int(line.rsplit(" ", 1)[1]) for line in lines if "began " in line]

    def waiting(self):
        return metrics.value(self.server.url, "sagebrush_waiting_calls", endpoint=self.endpoint)


def test_what_does_not_fit_is_refused_at_once_with_the_time_to_come_again(stage):
    _, answer, _ = stage.ask(0, 0.5)
    assert answer == {"call": 0}, "now it is known what a call takes"
    outcomes = support.in_threads(20, lambda i: stage.ask(i, 0.5))
    answered = [outcome for outcome in outcomes if outcome[1]]
    refused = [outcome for outcome in outcomes if outcome[2]]
    # One is under way and four wait; another may get in as the first ends.
    assert 1 + WAITING <= len(answered) <= 3 + WAITING, outcomes
    for seconds, answer, _ in answered:
        assert seconds < 0.5 * (2 + WAITING) + 1
    for seconds, _, response in refused:
        assert response["Error"]["Code"] == "ThrottlingException", response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        # Five calls of half a second each.
        assert headers["retry-after"] in ("1", "2", "3"), headers
        assert seconds < 0.4, "a refusal does not wait"
    # Each was answered with its own, and it takes calls again.
    assert sorted(outcome[1]["call"] for outcome in answered) == sorted(stage.began()[1:])
    assert stage.ask(0, 0)[1] == {"call": 0}


def test_a_caller_who_leaves_makes_room_and_is_not_computed(stage):
    assert stage.ask(0, 0)[1] == {"call": 0}
    first = threading.Thread(target=stage.ask, args=(1, 3))
    first.start()
    support.wait_for(lambda: 1 in stage.began(), "the first call is under way")
    leavers = [leaving(stage, 10 + i) for i in range(WAITING)]
    support.wait_for(lambda: stage.waiting() == WAITING, "all places are taken")
    assert stage.ask(2, 0)[2]["Error"]["Code"] == "ThrottlingException"
    for leaver in leavers:
        leaver.close()
    support.wait_for(lambda: stage.waiting() == 0, "their places are free")
    assert stage.ask(3, 0)[1] == {"call": 3}
    first.join()
    assert sorted(set(stage.began())) == [0, 1, 3], "nobody waits for the others' answers"


def leaving(stage, i):
    """A call whose caller will hang up."""
    body = json.dumps({"call": i, "seconds": 0}).encode()
    path = f"/endpoints/{stage.endpoint}/invocations"
    json_type = {"Content-Type": "application/json", "Host": stage.server.address}
    headers = raw.signed_headers(stage.server.url, "sagemaker", "POST", path, body, json_type)
    host, port = stage.server.address.rsplit(":", 1)
    sender = socket.create_connection((host, int(port)))
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    sender.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return sender


def test_every_answer_tells_where_its_time_went(stage):
    stage.ask(0, 0)
    [first, second] = support.in_threads(2, lambda i: timing(stage, i))
    parts = ["queue", "batch", "pre", "model", "post", "overhead", "total"]
    for timings in (first, second):
        assert list(timings) == parts
    # One of them waited for the other.
    assert max(first["queue"], second["queue"]) > 0.1 > min(first["queue"], second["queue"])
    assert min(first["model"], second["model"]) >= 0.2
    for counted in ("sagebrush_batch_size_count", "sagebrush_batches_total"):
        assert metrics.value(stage.server.url, counted, endpoint=stage.endpoint) == 3
    reasons = {
        reason: metrics.value(stage.server.url, "sagebrush_batches_total", reason=reason)
        for reason in ("idle", "freed", "full", "delayed")
    }
    assert reasons == {"idle": 2, "freed": 1, "full": 0, "delayed": 0}


def timing(stage, i):
    """The parts of `Server-Timing`, in seconds."""
    answer = calls.invoke(stage.clients[i], stage.endpoint, {"call": i, "seconds": 0.2})
    header = answer["ResponseMetadata"]["HTTPHeaders"]["server-timing"]
    parts = [part.split(";") for part in header.split(", ")]
    assert ["desc=1"] == parts[1][2:], header
    return {part[0]: float(part[1].removeprefix("dur=")) / 1000 for part in parts}


def test_routing_strategies(sagemaker, deploy, runtime):
    """RANDOM brings calls to each instance; what is not served is refused by its name."""
    model = deploy.model(support.inference_py(WHO), image=support.PYTHON)
    routed(sagemaker, deploy, model, "-random", "RANDOM", instances=2)
    name = deploy.settled(f"{deploy.name}-random")["EndpointName"]
    seen = [calls.ask(runtime, name, {}) for _ in range(60)]
    assert len(set(seen)) == 2, "each instance imports the code once"
    # Calls one after the other: the least busy instance would always be the same.
    assert 10 <= seen.count(seen[0]) <= 50
    [variant] = sagemaker.describe_endpoint_config(
        EndpointConfigName=f"{deploy.name}-random"
    )["ProductionVariants"]
    assert variant["RoutingConfig"] == {"RoutingStrategy": "RANDOM"}
    with pytest.raises(ClientError) as caught:
        routed(sagemaker, deploy, model, "-prefix", "PREFIX_AWARE", instances=1)
    message = caught.value.response["Error"]["Message"]
    assert "RoutingStrategy PREFIX_AWARE is not served here" in message


WHO = """
import os

INSTANCE = os.urandom(8).hex()

def model_fn(model_dir):
    return None

def predict_fn(data, model):
    return INSTANCE
"""


def routed(sagemaker, deploy, model, suffix, strategy, instances):
    name = f"{deploy.name}{suffix}"
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[{
        "VariantName": "v", "ModelName": model, "InitialInstanceCount": instances,
        "InstanceType": "ml.m5.large", "RoutingConfig": {"RoutingStrategy": strategy},
    }])
    deploy.configs.append(name)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.endpoints.append(name)
