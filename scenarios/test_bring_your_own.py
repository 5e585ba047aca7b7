"""Programs of one's own: web apps by the config file, programs by their path."""

import json
import os
import threading
import urllib.parse

import pytest

import calls
import conftest
import processes
import support

boto3 = pytest.importorskip("boto3")

BYO = support.ROOT / "scenarios/byo"
# `directory` is where a program starts; what stands in braces the server fills in.
CONFIG = """
[[image]]
pattern = "my-fastapi*"
command = ["{python}", "-m", "uvicorn", "app:app", "--port", "{{port}}"]
directory = "{byo}"
ping = "/health"
invocations = "/predict"
environment = {{ GREETING = "hello" }}

[[image]]
pattern = "my-socket-app"
command = ["{python}", "-m", "uvicorn", "app:app", "--uds", "{{socket}}"]
directory = "{byo}"
ping = "/health"
invocations = "/predict"

[[image]]
pattern = "my-models:*"
command = ["{python}", "{byo}/many.py"]
multi-model = true

[[image]]
pattern = "my-failing"
command = ["{python}", "{byo}/serve.py", "fail"]
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A server with programs of its own in its config file."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs a server with a config file of its own")
    folder = tmp_path_factory.mktemp("byo")
    config = folder / "sagebrush.toml"
    config.write_text(CONFIG.format(python=support.python(), byo=BYO))
    server = support.Server(folder / "data")
    server.environment["SAGEBRUSH_CONFIG"] = str(config)
    yield server.start()
    assert server.stop() == 0, server.log.read_text()[-4000:]


@pytest.fixture
def client(stage):
    return conftest.make_clients(boto3, stage.url)


@pytest.fixture
def program():
    """`program(arg=[..], ping=..)`: the image that is our standard-library server, by its path."""

    def image(**options):
        arguments = [("arg", str(BYO / "serve.py"))]
        arguments += [("arg", one) for one in options.pop("arg", [])] + list(options.items())
        return f"process://{support.python()}?{urllib.parse.urlencode(arguments, safe='/')}"

    return image


# Web apps.


def test_a_fastapi_app_unchanged(stage, deploy, runtime):
    endpoint = deploy(image="my-fastapi:1")
    answer = calls.invoke(runtime, endpoint, {"values": [1, 2.5]})
    assert json.loads(answer["Body"]) == {"sum": 3.5, "greeting": "hello"}
    assert answer["ContentType"] == "application/json"

    message = calls.model_error(runtime, endpoint, {"values": []}, status=422)
    assert "no values" in message
    message = calls.model_error(runtime, endpoint, {"values": "x"}, status=422)
    assert "list_type" in message or "valid list" in message, message
    calls.model_error(runtime, endpoint, {"values": [0]}, status=500)


def test_the_app_s_log(client, deploy, runtime):
    endpoint = deploy(image="my-fastapi:1", environment={"GREETING": "the model's own"})
    assert calls.ask(runtime, endpoint, {"values": [1]})["greeting"] == "the model's own"
    calls.model_error(runtime, endpoint, {"values": [0]}, status=500)
    calls.wait_until_printed(client, endpoint, "zero is not expected")


def test_an_app_behind_a_local_socket(deploy, runtime):
    endpoint = deploy(image="my-socket-app")
    assert calls.ask(runtime, endpoint, {"values": [2, 2]})["sum"] == 4


def test_an_app_that_ends_is_started_again(deploy, runtime):
    endpoint = deploy(image="my-fastapi:1")
    response = calls.refused(runtime, endpoint, {"values": [-1]})
    assert response["Error"]["Code"] in ("ModelError", "ServiceUnavailable"), response

    def answers():
        try:
            return calls.ask(runtime, endpoint, {"values": [3]})["sum"] == 3
        except runtime.exceptions.ClientError:
            return False

    support.wait_for(answers, "it answers again", 15)


def test_two_instances_have_a_port_each(deploy, runtime):
    endpoint = deploy(image="my-fastapi:1", instances=2)
    answers = support.in_threads(
        20, lambda i: calls.ask(runtime, endpoint, {"values": [i + 1]})["sum"]
    )
    assert answers == list(range(1, 21))


# Programs by their path.


def test_a_program_by_its_path(deploy, runtime, program):
    endpoint = deploy(
        {"weights.txt": "w"}, image=program(arg=["serve"]), environment={"A": "b"}
    )
    answer = calls.invoke(
        runtime, endpoint, b"abc", "text/plain", "text/html", CustomAttributes="x=1"
    )
    assert (answer["Body"], answer["ContentType"]) == (b"cba", "text/plain")
    assert answer["CustomAttributes"] == "status=200"
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert "x-of-its-own" not in headers

    about = calls.ask(
        runtime, endpoint, b"about", accept="text/html", CustomAttributes="x=1",
        InferenceId="an-id",
    )
    assert (about["arguments"], about["path"]) == (["serve"], "/invocations")
    assert about["headers"]["accept"] == "text/html"
    assert about["headers"]["x-amzn-sagemaker-custom-attributes"] == "x=1"
    assert about["headers"]["x-amzn-sagemaker-inference-id"] == "an-id"
    for secret in ("authorization", "x-amz-date", "x-amz-security-token"):
        assert secret not in about["headers"], secret
    assert about["environment"]["A"] == "b"
    assert not [name for name in about["environment"] if "SECRET" in name]


def test_paths_of_its_own(deploy, runtime, program):
    endpoint = deploy(image=program(ping="/health", invocations="/predict"))
    assert calls.ask(runtime, endpoint, b"about")["path"] == "/predict"


def test_a_program_s_own_errors(deploy, runtime, program):
    endpoint = deploy(image=program())
    assert calls.model_error(runtime, endpoint, b"busy", status=429) == "come back later"
    assert "not text" in calls.model_error(runtime, endpoint, b"broken", status=503)
    body = b"5" * 5_000_000
    answer = calls.invoke(runtime, endpoint, body, "application/octet-stream")
    assert answer["Body"] == body


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("my-failing", "there is no licence"),
        ("my-failing", "exit code 4"),
        ("process:///no/such/program", "/no/such/program"),
    ],
)
def test_a_program_that_cannot_start(deploy, image, named):
    reason = deploy.failing(image=image)
    assert named in reason, reason


def test_an_image_that_nobody_knows(deploy):
    reason = deploy.failing(image="my-unheard-of:1")
    assert "my-unheard-of:1" in reason, reason


def test_what_is_under_way_is_finished_and_sigterm_is_seen(
    stage, client, deploy, runtime, program
):
    endpoint = deploy(image=program())
    answers = []
    slow = threading.Thread(
        target=lambda: answers.append(calls.invoke(runtime, endpoint, b"slow")["Body"])
    )
    slow.start()
    calls.wait_until_printed(client, endpoint, "slow began")
    running = {
        pid for pid in processes.descendants(stage.process.pid)
        if processes.has_argument(pid, str(BYO / "serve.py"))
    }
    assert running
    deploy.delete()
    slow.join()
    assert answers == [b"wols"]
    calls.wait_until_printed(client, endpoint, "SIGTERM was seen")
    support.wait_for(lambda: processes.are_gone(running), "it ends", 10)


# Many models.


def test_a_multi_model_container_of_one_s_own(client, deploy, runtime, s3, bucket):
    """It has room for two models, says so with 507, and is asked to unload others."""
    for word in ("a", "b", "c"):
        body = support.archive({"word.txt": word})
        s3.put_object(Bucket=bucket, Key=f"models/{word}.tar.gz", Body=body)
    endpoint = deploy(
        image="my-models:1", url=f"s3://{bucket}/models/", multi_model=True
    )
    for word in ("a", "b", "a", "c", "a", "b", "c"):
        answer = calls.ask(runtime, endpoint, {"n": 1}, TargetModel=f"{word}.tar.gz")
        assert answer == {"word": word, "target": f"{word}.tar.gz", "asked": {"n": 1}}
    for line in ("no room", "unloaded"):
        calls.wait_until_printed(client, endpoint, line)
    assert calls.validation_error(runtime, endpoint, TargetModel="d.tar.gz")


def test_an_image_that_takes_one_model_only(deploy, bucket):
    reason = deploy.failing(image="my-fastapi:1", url=f"s3://{bucket}/models/", multi_model=True)
    assert "MultiModel" in reason and "my-fastapi:1" in reason, reason
