"""The command line, as a person and as a script use it."""

import json
import os
import subprocess
import sys

import pytest

import support
import models


@pytest.fixture
def sagebrush(endpoint_url, tmp_path):
    """`sagebrush("endpoints")`: runs the binary against the server and returns what it did."""
    if not support.binary().is_file():
        pytest.skip("there is no binary of ours")

    def run(*arguments, code=0, stdin=None, **environment):
        settings = {
            "SAGEBRUSH_LISTEN": endpoint_url.removeprefix("http://"),
            "SAGEBRUSH_DATA_DIR": str(tmp_path / "cli-data"),
            "HOME": str(tmp_path),
        }
        variables = support.clean_environment(**(settings | environment))
        variables = {name: value for name, value in variables.items() if value is not None}
        done = subprocess.run(
            [support.binary(), *map(str, arguments)], env=variables, cwd=tmp_path, input=stdin,
            capture_output=True, timeout=120, check=False,
        )
        assert done.returncode == code, done
        return done

    return run


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "iris.onnx"
    path.write_bytes(models.logistic())
    return path


@pytest.fixture
def row(tmp_path):
    path = tmp_path / "row.csv"
    path.write_text(models.csv(models.ROWS[:1]))
    return path


@pytest.fixture
def deployed(sagebrush, model, name):
    sagebrush("deploy", model, "--name", name)
    yield name
    if name in [entry["EndpointName"] for entry in json.loads(sagebrush("endpoints", "--json").stdout)]:
        sagebrush("delete", name)


def test_a_bare_onnx_file(sagebrush, deployed, row):
    done = sagebrush("invoke", deployed, row)
    assert len(models.csv_values(done.stdout)) == 1
    same = sagebrush("invoke", deployed, "-", "--content-type", "text/csv", stdin=row.read_bytes())
    assert same.stdout == done.stdout
    as_json = sagebrush("invoke", deployed, row, "--accept", "application/json").stdout
    assert json.loads(as_json)
    timing = sagebrush("invoke", deployed, row, "--timing").stderr.decode()
    assert "model" in timing


def test_a_folder(sagebrush, tmp_path, name, row):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(models.forest())
    sagebrush("deploy", folder, "--name", name)
    sagebrush("invoke", name, row)
    sagebrush("delete", name)


def test_an_archive(sagebrush, tmp_path, name, row):
    packed = tmp_path / "model.tar.gz"
    packed.write_bytes(support.archive({"model.onnx": models.logistic()}))
    endpoint = json.loads(sagebrush("deploy", packed, "--name", name, "--json").stdout)
    assert endpoint["EndpointStatus"] == "InService"
    sagebrush("invoke", name, row)
    sagebrush("delete", name)


def test_deploying_again(sagebrush, deployed, model, tmp_path):
    """The same model changes nothing, another one does: one endpoint is left, in service."""
    assert b"nothing new" in sagebrush("deploy", model, "--name", deployed).stdout
    other = tmp_path / "other.onnx"
    other.write_bytes(models.forest())
    assert b"updated" in sagebrush("deploy", other, "--name", deployed).stdout
    listed = json.loads(sagebrush("endpoints", "--json").stdout)
    mine = [entry for entry in listed if entry["EndpointName"] == deployed]
    assert [entry["EndpointStatus"] for entry in mine] == ["InService"]


def test_a_folder_with_code(sagebrush, tmp_path, name):
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "inference.py").write_text(
        "def model_fn(model_dir): return None\n"
        "def transform_fn(model, data, content_type, accept): return {'length': len(data)}\n"
    )
    sagebrush("deploy", folder, "--name", name)
    done = sagebrush("invoke", name, "-", "--content-type", "text/plain", stdin=b"12345")
    assert json.loads(done.stdout) == {"length": 5}
    sagebrush("delete", name)


def test_a_model_that_cannot_be_served(sagebrush, tmp_path, name):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    done = sagebrush("deploy", bad, "--name", name, code=1)
    assert b"model.onnx" in done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr
    sagebrush("delete", name)


def test_looking_at_endpoints(sagebrush, deployed):
    listed = json.loads(sagebrush("endpoints", "--json").stdout)
    assert deployed in [entry["EndpointName"] for entry in listed]
    assert deployed.encode() in sagebrush("endpoints").stdout
    described = json.loads(sagebrush("describe", deployed, "--json").stdout)
    assert (described["EndpointName"], described["EndpointStatus"]) == (deployed, "InService")
    shown = sagebrush("describe", deployed).stdout
    assert b"InService" in shown
    [image] = described["ProductionVariants"][0]["DeployedImages"]
    assert f"{image['SpecifiedImage']} -> {image['ResolvedImage']}".encode() in shown


def test_logs(sagebrush, deployed, row):
    sagebrush("invoke", deployed, row)
    lines = sagebrush("logs", deployed, "--json").stdout.splitlines()
    assert lines
    for event in map(json.loads, lines):
        assert event["message"]
        assert event["timestamp"] > 1_700_000_000_000
    assert sagebrush("logs", deployed).stdout


def test_delete_cleans_up(sagebrush, sagemaker, deployed):
    sagebrush("delete", deployed)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=deployed)
    assert sagemaker.list_models(NameContains=deployed)["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains=deployed)["EndpointConfigs"] == []
    for command in (["describe"], ["delete"]):
        done = sagebrush(*command, deployed, code=1)
        assert b"Could not find endpoint" in done.stderr


# The environment for other clients.


def test_env_in_bash(sagebrush, endpoint_url, tmp_path):
    script = tmp_path / "env.sh"
    script.write_bytes(sagebrush("env").stdout)
    done = subprocess.run(
        ["bash", "-euc", f'eval "$(cat {script})"; env'],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    wanted = support.aws_variables(endpoint_url)
    assert {name: seen.get(name) for name in wanted} == wanted
    as_json = json.loads(sagebrush("env", "--json").stdout)
    assert {name: seen[name] for name in as_json} == as_json


def test_write_config(sagebrush, endpoint_url, tmp_path):
    """A client with nothing in its environment finds the server by ~/.aws/config."""
    config = tmp_path / ".aws/config"
    config.parent.mkdir()
    config.write_text("[profile other]\nregion = eu-west-1\n")
    sagebrush("env", "--write-config")
    first = config.read_text()
    assert "[profile other]\nregion = eu-west-1\n" in first
    sagebrush("env", "--write-config")
    assert config.read_text() == first
    code = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False,
    )
    assert done.stdout.strip() == support.ACCOUNT, done


# Exit codes.


def test_nobody_listens(sagebrush):
    address = f"127.0.0.1:{support.free_port()}"
    done = sagebrush("endpoints", code=69, SAGEBRUSH_LISTEN=address)
    assert address.encode() in done.stderr
    assert done.stderr.count(b"\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SAGEBRUSH_LISTEN", "here"),
        ("SAGEBRUSH_LISTEN", "0.0.0.0:0"),
        ("SAGEBRUSH_ACCOUNT_ID", "12"),
        ("SAGEBRUSH_LOG_FORMAT", "xml"),
        ("SAGEBRUSH_CONFIG", "/no/such/file.toml"),
    ],
)
def test_a_bad_setting(sagebrush, setting, value):
    done = sagebrush("serve", code=64, **{setting: value})
    assert done.stderr.count(b"\n") == 1, done.stderr


def test_another_address_needs_keys(sagebrush, tmp_path):
    listen = ["--listen", "0.0.0.0:0", "--data-dir", tmp_path / "data"]
    done = sagebrush("serve", *listen, code=64, SAGEBRUSH_LISTEN=None)
    assert b"access-key" in done.stderr
    assert not (tmp_path / "data").exists()


def test_bad_usage(sagebrush):
    sagebrush("make-coffee", code=2)
    sagebrush("invoke", code=2)


def test_help_and_version(sagebrush):
    assert b"serve" in sagebrush("--help").stdout
    assert sagebrush("--version").stdout.startswith(b"sagebrush ")


def test_five_alarms_for_an_endpoint(sagebrush, deployed, client):
    topic = "arn:aws:sns:us-east-1:123456789012:nobody"
    shown = sagebrush("alarms", deployed, "--topic", topic, "--max-latency-ms", "50").stdout.decode()
    assert "more than 50 ms" in shown
    cloudwatch = client("cloudwatch")
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=f"{deployed}/")["MetricAlarms"]
    kinds = [alarm["AlarmName"].rsplit("/", 1)[1] for alarm in alarms]
    assert kinds == ["cpu", "duration-p95", "errors-5xx", "invocations", "model-latency-p99"]
    assert {alarm["AlarmActions"][0] for alarm in alarms} == {topic}
    [latency] = [alarm for alarm in alarms if alarm.get("ExtendedStatistic") == "p99"]
    assert latency["Threshold"] == 50_000.0
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in alarms])
    assert b"ValidationException" in sagebrush("alarms", "nothing", code=1).stderr
