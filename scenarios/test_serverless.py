"""Serverless endpoints, and instances that come and go with the calls."""

import io
import time

import numpy as np
import pytest
from botocore.exceptions import ClientError

import asynchronous
import calls
import conftest
import models
import processes
import support
from deployment import Deployment
from load import Load

ROW = models.ROWS[:1]
LOGISTIC = {"model.onnx": models.logistic()}

# Tells which process answers, and may wait, or take memory, before it does.
WORK = """
import json, os, time

IMPORTED = os.urandom(8).hex()

def model_fn(model_dir):
    return IMPORTED

def transform_fn(model, data, content_type, accept):
    asked = json.loads(data)
    time.sleep(asked.get("sleep", 0))
    taken = bytearray(asked.get("mib", 0) << 20)
    taken[::4096] = b"x" * len(taken[::4096])
    if "answer" in asked:
        return b"x" * asked["answer"]
    return json.dumps({"pid": os.getpid(), "imported": model})
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A server on which instances go soon."""
    server = support.Server(
        tmp_path_factory.mktemp("serverless") / "data",
        "--serverless-idle-seconds", "2", "--managed-idle-seconds", "2",
    )
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def client(quick):
    boto3 = pytest.importorskip("boto3")
    return conftest.make_clients(boto3, quick.url)


def variant(sagemaker, endpoint):
    seen = sagemaker.describe_endpoint(EndpointName=endpoint)
    assert seen["EndpointStatus"] == "InService", seen
    return seen["ProductionVariants"][0]


def count(sagemaker, endpoint):
    return variant(sagemaker, endpoint)["CurrentInstanceCount"]


def at_zero(sagemaker, endpoint):
    support.wait_for(lambda: count(sagemaker, endpoint) == 0, f"{endpoint} at zero", 20)


def csv_row(runtime, endpoint):
    return calls.invoke(runtime, endpoint, models.csv(ROW), "text/csv")


def test_from_zero_to_an_answer_and_back_again(deploy, sagemaker, runtime):
    endpoint = deploy(LOGISTIC, serverless={"MemorySizeInMB": 2048})
    config = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    seen = variant(sagemaker, endpoint)
    assert seen["CurrentServerlessConfig"] == seen["DesiredServerlessConfig"] == config
    for _ in range(3):
        at_zero(sagemaker, endpoint)
        began = time.monotonic()
        answer = csv_row(runtime, endpoint)
        took = time.monotonic() - began
        assert answer["InvokedProductionVariant"] == "AllTraffic"
        assert took < 2, took
        assert count(sagemaker, endpoint) == 1


def test_a_model_that_cannot_be_loaded_fails_the_endpoint(deploy):
    assert "model.onnx" in deploy.failing({"notes.txt": b"x"}, serverless={})


def test_a_burst_from_zero_is_answered_up_to_the_limit(deploy, sagemaker, client):
    endpoint = deploy(support.inference_py(WORK), image=support.PYTHON, serverless={})
    at_zero(sagemaker, endpoint)
    clients = [client("sagemaker-runtime", config={"user_agent_extra": str(i)}) for i in range(12)]
    began = time.monotonic()
    outcomes = support.in_threads(12, lambda i: calls.ask(clients[i], endpoint, {"sleep": 1}))
    took = time.monotonic() - began
    answers = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    errors = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    assert len(answers) == 5 and len(errors) == 7, outcomes
    for error in errors:
        assert error.response["Error"]["Code"] == "ThrottlingException", error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert "MaxConcurrency" in error.response["Error"]["Message"]
    # One template, and a worker of it for each call.
    assert len({answer["pid"] for answer in answers}) == 5, answers
    assert count(sagemaker, endpoint) == 1
    assert took < 8, took
    # The limit is free again.
    assert calls.ask(clients[0], endpoint, {})["pid"]


def test_more_calls_than_the_limit_one_after_the_other_are_all_answered(deploy, client):
    endpoint = deploy(LOGISTIC, serverless={"MaxConcurrency": 4})
    body = models.csv(ROW)
    with Load(client, endpoint, body, lambda body: body, threads=4) as load:
        load.at_least(50)
    assert load.errors == []


def test_memory_is_limited_for_each_call(deploy, sagemaker, runtime, client):
    endpoint = deploy(support.inference_py(WORK), image=support.PYTHON, serverless={})
    clients = [client("sagemaker-runtime", config={"user_agent_extra": str(i)}) for i in range(4)]

    def ask(i):
        if i == 0:
            return calls.model_error(clients[i], endpoint, {"mib": 2000})
        return calls.ask(clients[i], endpoint, {"sleep": 1, "mib": 100})["pid"]

    error, *pids = support.in_threads(4, ask)
    assert isinstance(error, str) and "memory" in error.lower(), error
    assert "1024" in error, error
    assert all(isinstance(pid, int) for pid in pids), pids
    assert calls.ask(runtime, endpoint, {})["pid"]


def test_payloads_have_at_most_four_megabytes(deploy, runtime):
    endpoint = deploy(support.inference_py(WORK), image=support.PYTHON, serverless={})
    most = 4 << 20
    long = '{"answer": 1}' + " " * (most - 13)
    assert len(calls.invoke(runtime, endpoint, long)["Body"]) == 1
    refused = calls.validation_error(runtime, endpoint, long + " ")
    assert f"less than or equal to {most}" in refused
    assert len(calls.invoke(runtime, endpoint, {"answer": most})["Body"]) == most
    assert "presigned" in calls.model_error(runtime, endpoint, {"answer": most + 1})


SUMS = """
import io, json, urllib.request
import numpy as np

def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    asked = json.loads(data)
    with urllib.request.urlopen(asked["get"]) as answer:
        values = np.load(io.BytesIO(answer.read()))
    packed = io.BytesIO()
    np.save(packed, values.sum(axis=1))
    put = urllib.request.Request(asked["put"], data=packed.getvalue(), method="PUT")
    urllib.request.urlopen(put).close()
    return json.dumps({"rows": len(values)})
"""


def test_presigned_urls_go_around_the_limit(deploy, runtime, client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    endpoint = deploy(support.inference_py(SUMS), image=support.PYTHON, serverless={})
    values = np.arange(2_000_000, dtype=np.float64).reshape(1000, 2000)
    packed = io.BytesIO()
    np.save(packed, values)
    s3.put_object(Bucket=bucket, Key="in.npy", Body=packed.getvalue())
    urls = {
        "get": s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "in.npy"}),
        "put": s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "out.npy"}),
    }
    assert calls.ask(runtime, endpoint, urls) == {"rows": 1000}
    answer = s3.get_object(Bucket=bucket, Key="out.npy")["Body"].read()
    assert np.array_equal(np.load(io.BytesIO(answer)), values.sum(axis=1))


def test_provisioned_workers_stay(deploy, sagemaker, client):
    endpoint = deploy(
        support.inference_py(WORK), image=support.PYTHON,
        serverless={"ProvisionedConcurrency": 2},
    )
    seen = variant(sagemaker, endpoint)
    assert seen["CurrentServerlessConfig"]["ProvisionedConcurrency"] == 2
    clients = [client("sagemaker-runtime", config={"user_agent_extra": str(i)}) for i in range(2)]

    def pids():
        answers = support.in_threads(2, lambda i: calls.ask(clients[i], endpoint, {"sleep": 0.5}))
        return {answer["pid"] for answer in answers}

    before = pids()
    assert len(before) == 2
    time.sleep(5)
    assert count(sagemaker, endpoint) == 1
    assert pids() == before


def test_code_is_imported_once_although_workers_come_and_go(deploy, sagemaker, runtime):
    files = support.inference_py("import numpy, sklearn.linear_model\n" + WORK)
    endpoint = deploy(files, image=support.PYTHON, serverless={})
    imported = calls.ask(runtime, endpoint, {})["imported"]
    for _ in range(2):
        at_zero(sagemaker, endpoint)
        began = time.monotonic()
        assert calls.ask(runtime, endpoint, {})["imported"] == imported
        assert time.monotonic() - began < 1


def test_nothing_of_a_deleted_endpoint_stays(deploy, sagemaker, quick):
    before = processes.related(quick)
    endpoint = deploy(support.inference_py(WORK), image=support.PYTHON, serverless={})
    at_zero(sagemaker, endpoint)
    assert processes.related(quick) - before, "its template is there"
    deploy.delete()
    support.wait_for(lambda: not processes.related(quick) - before, "no process of it", 20)


def test_from_instances_to_serverless_and_back_loses_no_call(deploy, sagemaker, client):
    endpoint = deploy(LOGISTIC)
    serverless = deploy.config(
        LOGISTIC, suffix="-serverless", serverless={"MaxConcurrency": 8},
    )
    body = models.csv(ROW)
    with Load(client, endpoint, body, lambda body: body) as load:
        load.at_least(20)
        for config in [serverless, endpoint, serverless, endpoint]:
            sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
            seen = deploy.settled()
            assert seen["EndpointConfigName"] == config
            has_config = "CurrentServerlessConfig" in seen["ProductionVariants"][0]
            assert has_config == (config == serverless)
            load.at_least(20)
    assert load.errors == []


def test_a_canary_to_serverless_and_back_loses_no_call(deploy, sagemaker, client):
    endpoint = deploy(LOGISTIC)
    serverless = deploy.config(
        LOGISTIC, suffix="-serverless", serverless={"MaxConcurrency": 8},
    )
    canary = {
        "Type": "CANARY", "WaitIntervalInSeconds": 1,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 20},
    }
    body = models.csv(ROW)
    with Load(client, endpoint, body, lambda body: body) as load:
        for config in [serverless, endpoint]:
            load.at_least(20)
            sagemaker.update_endpoint(
                EndpointName=endpoint, EndpointConfigName=config, DeploymentConfig={
                    "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary},
                },
            )
            seen = deploy.settled()
            assert seen["EndpointConfigName"] == config, seen.get("FailureReason")
        load.at_least(20)
    assert load.errors == []


def test_an_update_at_zero(deploy, sagemaker, runtime):
    endpoint = deploy(LOGISTIC, serverless={})
    other = deploy.config(LOGISTIC, suffix="-other", serverless={"MaxConcurrency": 1})
    at_zero(sagemaker, endpoint)
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
    seen = deploy.settled()
    assert seen["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 1
    at_zero(sagemaker, endpoint)
    csv_row(runtime, endpoint)


SLOW = """
import time

def model_fn(model_dir):
    time.sleep(3)

def transform_fn(model, data, content_type, accept):
    return data
"""


def test_an_endpoint_is_deleted_while_a_call_wakes_it(deploy, sagemaker, client):
    endpoint = deploy(support.inference_py(SLOW), image=support.PYTHON, serverless={})
    at_zero(sagemaker, endpoint)
    runtime = client("sagemaker-runtime")

    def work(i):
        if i == 0:
            return calls.invoke(runtime, endpoint)
        time.sleep(1)
        return deploy.delete()

    held, _ = support.in_threads(2, work)
    assert isinstance(held, ClientError), held
    assert held.response["Error"]["Code"] == "ValidationError", held


def test_managed_instances_go_to_zero_and_wake(deploy, sagemaker, runtime):
    endpoint = deploy(support.inference_py(WORK), image=support.PYTHON, managed=(0, 2))
    assert variant(sagemaker, endpoint)["ManagedInstanceScaling"]["MinInstanceCount"] == 0
    at_zero(sagemaker, endpoint)
    assert calls.ask(runtime, endpoint, {})["pid"]
    assert count(sagemaker, endpoint) == 1
    at_zero(sagemaker, endpoint)


def test_managed_instances_grow_with_the_calls(deploy, sagemaker, client):
    endpoint = deploy(
        support.inference_py(WORK), image=support.PYTHON, managed=(1, 3),
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    work = '{"sleep": 0.1}'
    with Load(client, endpoint, work, lambda body: body, threads=6,
              content_type="application/json") as load:
        support.wait_for(lambda: count(sagemaker, endpoint) == 3, "three instances", 30)
        load.at_least(3)
    assert load.errors == []
    support.wait_for(lambda: count(sagemaker, endpoint) == 1, "one instance", 30)


def test_asynchronous_calls_wake_an_endpoint_at_zero(deploy, bucket, sagemaker, s3, runtime):
    endpoint = deploy(LOGISTIC, asynchronous=asynchronous.config(bucket), managed=(0, 2))
    for _ in range(2):
        at_zero(sagemaker, endpoint)
        accepted = [
            runtime.invoke_endpoint_async(
                EndpointName=endpoint, Body=models.csv(ROW), ContentType="text/csv"
            )
            for _ in range(5)
        ]
        kinds = [asynchronous.result(s3, call)[0] for call in accepted]
        assert kinds == ["output"] * 5


@pytest.mark.parametrize(
    ("serverless", "more", "named"),
    [
        ({"MemorySizeInMB": 1500}, {}, "MemorySizeInMB is 1500"),
        ({"ProvisionedConcurrency": 6}, {}, "ProvisionedConcurrency is 6"),
        ({}, {"InstanceType": "ml.m5.large"}, "InstanceType"),
        ({}, {"InitialInstanceCount": 1}, "InitialInstanceCount"),
    ],
)
def test_what_serverless_config_may_say(deploy, sagemaker, name, serverless, more, named):
    config = {"MemorySizeInMB": 1024, "MaxConcurrency": 5} | serverless
    model = deploy.model(LOGISTIC)
    variant = {"VariantName": "v", "ModelName": model, "ServerlessConfig": config} | more
    with pytest.raises(ClientError) as refused:
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert named in refused.value.response["Error"]["Message"]


@pytest.fixture
def own_server(tmp_path):
    server = support.Server(tmp_path / "data", "--serverless-idle-seconds", "1").start()
    yield server
    server.stop()


def test_after_a_kill_a_call_wakes_it(own_server, name):
    boto3 = pytest.importorskip("boto3")
    server = own_server
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket=name)
    deploy = Deployment(client, name, name)
    endpoint = deploy(LOGISTIC, serverless={})
    at_zero(client("sagemaker"), endpoint)
    for _ in range(2):
        server.kill()
        server.start()
        assert count(client("sagemaker"), endpoint) == 0
        csv_row(client("sagemaker-runtime"), endpoint)
