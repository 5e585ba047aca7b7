"""`kill -9` loses nothing that was acknowledged."""

import os
import subprocess
import threading

import pytest

import conftest
import support
import models
from deployment import Deployment

boto3 = pytest.importorskip("boto3")


@pytest.fixture
def own(server):
    """Clients of the server that is killed; made anew, so that no dead connection is kept."""
    return lambda: conftest.make_clients(boto3, server.url)


def ask(client, endpoint):
    answer = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=models.csv(models.ROWS[:5]), ContentType="text/csv"
    )
    return answer["Body"].read()


def test_an_endpoint_answers_again_without_a_hand(server, own):
    client = own()
    client("s3").create_bucket(Bucket="kept")
    deployment = Deployment(client, "kept", "kept")
    endpoint = deployment({"model.onnx": models.logistic()})
    before = ask(client, endpoint)
    described = client("sagemaker").describe_endpoint(EndpointName=endpoint)
    model = client("sagemaker").describe_model(ModelName=endpoint)
    body = client("s3").get_object(Bucket="kept", Key="kept/model.tar.gz")["Body"].read()

    for _ in range(2):
        server.kill()
        server.start()
        client = own()
        # The call is held until the instance is there: no retry, no wait.
        assert ask(client, endpoint) == before
        again = client("sagemaker").describe_endpoint(EndpointName=endpoint)
        assert again["EndpointStatus"] == "InService"
        for key in ("EndpointArn", "CreationTime", "EndpointConfigName"):
            assert again[key] == described[key]
        seen = client("sagemaker").describe_model(ModelName=endpoint)
        seen.pop("ResponseMetadata"), model.pop("ResponseMetadata", None)
        assert seen == model
        got = client("s3").get_object(Bucket="kept", Key="kept/model.tar.gz")
        assert got["Body"].read() == body


def test_a_create_that_was_cut_off_goes_on(server, own):
    client = own()
    client("s3").create_bucket(Bucket="cut")
    Deployment(client, "cut", "cut").create({"model.onnx": models.forest()})
    server.kill()
    server.start()
    client = own()
    assert Deployment(client, "cut", "cut").settled()["EndpointStatus"] == "InService"
    assert ask(client, "cut")


def test_a_delete_that_was_cut_off_goes_on(server, own):
    client = own()
    client("s3").create_bucket(Bucket="cut")
    name = Deployment(client, "cut", "cut")({"model.onnx": models.logistic()})
    client("sagemaker").delete_endpoint(EndpointName=name)
    server.kill()
    server.start()

    def is_gone():
        listed = own()("sagemaker").list_endpoints()["Endpoints"]
        return not listed

    support.wait_for(is_gone, "the endpoint is gone", 30)


def test_acknowledged_objects_survive_a_kill_while_others_are_written(server, own):
    client = own()
    client("s3").create_bucket(Bucket="kept")
    acknowledged, lock, over = {}, threading.Lock(), threading.Event()

    def write(i):
        s3 = conftest.make_clients(boto3, server.url)("s3")
        for n in range(10_000):
            key, body = f"{i}/{n}", os.urandom(20_000)
            if over.is_set():
                return
            try:
                s3.put_object(Bucket="kept", Key=key, Body=body)
            except Exception:  # noqa: BLE001, the server was killed.
                return
            with lock:
                acknowledged[key] = body

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    support.wait_for(lambda: len(acknowledged) >= 60, "60 objects", 60)
    server.kill()
    over.set()
    for thread in threads:
        thread.join()
    server.start()
    s3 = own()("s3")
    for key, body in acknowledged.items():
        assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body, key
    # What was under way is whole or not there.
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="kept")
    for entry in [entry for page in pages for entry in page["Contents"]]:
        got = s3.get_object(Bucket="kept", Key=entry["Key"])["Body"].read()
        assert len(got) == 20_000, entry


def test_rows_survive_a_kill_while_others_are_written(server, own):
    sagemaker, acknowledged = own()("sagemaker"), []

    def write():
        for n in range(10_000):
            try:
                sagemaker.create_model(
                    ModelName=f"m{n}", ExecutionRoleArn=support.ROLE,
                    PrimaryContainer={"Image": support.IMAGE},
                )
            except Exception:  # noqa: BLE001, the server was killed.
                return
            acknowledged.append(f"m{n}")

    thread = threading.Thread(target=write)
    thread.start()
    support.wait_for(lambda: len(acknowledged) >= 30, "30 models", 60)
    server.kill()
    thread.join()
    server.start()
    for name in acknowledged:
        own()("sagemaker").describe_model(ModelName=name)


def test_sigterm_ends_in_peace(server):
    assert server.stop() == 0


def test_two_servers_do_not_share_a_data_folder(server):
    command = [
        support.binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", server.data_dir,
    ]
    done = subprocess.run(
        command, env=support.clean_environment(), capture_output=True, timeout=30, check=False
    )
    assert done.returncode != 0, done
