"""Containers in series, and containers that are called directly."""

import json

import numpy as np
import pytest
from botocore.exceptions import ClientError

import calls
import models
import support

# A row of names and numbers in, a CSV row for the model out.
BEFORE = """
import json

def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    row = json.loads(data)
    if row == "fail":
        raise ValueError("the first one fails")
    if row == "short":
        return "1.0,2.0", "text/csv"
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    return ",".join(str(row[name]) for name in names), "text/csv"
"""
# The model's answer in, words out.
AFTER = """
import json

def model_fn(model_dir):
    return ["setosa", "versicolor", "virginica"]

def transform_fn(model, data, content_type, accept, context):
    text = data if isinstance(data, str) else bytes(data).decode()
    seen = {"content_type": content_type, "accept": accept, "data": text}
    seen["attributes"] = context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
    return json.dumps(seen), "application/json"
"""
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def three(hostnames=(None, None, None)):
    return [
        {"files": files, "image": image, "hostname": hostname}
        for (files, image), hostname in zip(
            [
                (support.inference_py(BEFORE), support.PYTHON),
                ({"model.onnx": models.logistic()}, support.IMAGE),
                (support.inference_py(AFTER), support.PYTHON),
            ],
            hostnames, strict=True,
        )
    ]


def row(values):
    return dict(zip(NAMES, map(float, values), strict=True))


def test_three_in_series(deploy, runtime):
    endpoint = deploy(containers=three())
    for values in models.ROWS[::50]:
        answer = calls.invoke(
            runtime, endpoint, row(values), accept="text/csv", CustomAttributes="trace=1"
        )
        # The caller's accept is the last container's; the content type is what it says it is.
        assert answer["ContentType"].startswith("application/json")
        seen = json.loads(answer["Body"])
        assert (seen["accept"], seen["attributes"]) == ("text/csv", "trace=1")
        # What one answers the next gets, under the type that the one before gave it.
        label, probabilities = models.reference(models.logistic(), [values])
        found = numbers(seen["data"])
        wanted = {1: label, 3: probabilities[0], 4: np.hstack([label, probabilities[0]])}
        np.testing.assert_allclose(found, wanted[len(found)], atol=1e-4)


def numbers(text):
    """The numbers of a row, as CSV or as JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return [float(value) for value in text.strip().split(",")]
    return _flat(json.loads(text))


def _flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _flat(part)]
    return [float(value)]


def test_the_failing_container_is_named(deploy, runtime):
    endpoint = deploy(containers=three())
    for body, status, who in [('"fail"', 500, "container-1"), ('"short"', 400, "container-2")]:
        response = calls.refused(runtime, endpoint, body)
        assert response["Error"]["Code"] == "ModelError", response
        assert response["OriginalStatusCode"] // 100 == status // 100, response
        assert f"from {who} with message" in response["Error"]["Message"], response
    assert calls.ask(runtime, endpoint, row(models.ROWS[0]))


def test_the_failing_container_is_named_by_its_hostname(deploy, runtime):
    endpoint = deploy(containers=three(["prepare", "classify", "explain"]))
    response = calls.refused(runtime, endpoint, '"short"')
    assert "from classify with message" in response["Error"]["Message"], response


def test_a_container_that_cannot_start(deploy):
    containers = three(["prepare", "classify", "explain"])
    containers[1]["files"] = {"notes.txt": "no model"}
    reason = deploy.failing(containers=containers)
    assert "model.onnx" in reason and "classify" in reason, reason


def test_each_container_is_described(deploy, sagemaker):
    endpoint = deploy(containers=three())
    [variant] = sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    images = [image["SpecifiedImage"] for image in variant["DeployedImages"]]
    assert images == [support.PYTHON, support.IMAGE, support.PYTHON]
    described = sagemaker.describe_model(ModelName=endpoint)
    assert [one["Image"] for one in described["Containers"]] == images
    assert "PrimaryContainer" not in described


# Direct calls.


def echo(word):
    return support.inference_py(
        f"def model_fn(d):\n    pass\ndef predict_fn(data, model):\n    return [{word!r}, data]\n"
    )


@pytest.fixture
def direct(deploy):
    return deploy(
        containers=[
            {"files": echo("a"), "image": support.PYTHON, "hostname": "first"},
            {"files": echo("b"), "image": support.PYTHON, "hostname": "second"},
            {"files": {"model.onnx": models.logistic()}, "hostname": "third"},
        ],
        execution="Direct",
    )


def test_direct_calls(direct, runtime, sagemaker):
    for word, hostname in [("a", "first"), ("b", "second"), ("a", "first")]:
        answer = calls.ask(runtime, direct, [1], TargetContainerHostname=hostname)
        assert answer == [word, [1]]
    answer = calls.invoke(
        runtime, direct, models.csv(models.ROWS[:1]), "text/csv", "text/csv",
        TargetContainerHostname="third",
    )
    assert len(models.csv_values(answer["Body"])) == 1
    described = sagemaker.describe_model(ModelName=direct)
    assert described["InferenceExecutionConfig"] == {"Mode": "Direct"}


def test_direct_calls_need_a_container_that_is_there(direct, runtime):
    for more in ({"TargetContainerHostname": "fourth"}, {"TargetContainerHostname": "FIRST"}, {}):
        message = calls.validation_error(runtime, direct, [1], **more)
        assert message, more
    message = calls.validation_error(runtime, direct, [1])
    assert "TargetContainerHostname" in message, message


def test_an_error_of_a_container_called_directly(direct, runtime):
    response = calls.refused(runtime, direct, b"{not json", TargetContainerHostname="second")
    assert response["Error"]["Code"] == "ModelError", response
    assert "from second with message" in response["Error"]["Message"], response


def test_a_hostname_where_there_is_one_container_only(deploy, runtime):
    endpoint = deploy(echo("a"), image=support.PYTHON)
    message = calls.validation_error(runtime, endpoint, [1], TargetContainerHostname="first")
    assert message


# What CreateModel refuses.


@pytest.mark.parametrize(
    ("containers", "execution"),
    [
        ([{"image": support.PYTHON}] * 16, None),
        # Direct calls need names to be called by, each another one.
        ([{"image": support.PYTHON}, {"image": support.PYTHON}], "Direct"),
        ([{"image": support.PYTHON, "hostname": "same"}] * 2, "Direct"),
        # No process can have such a variable.
        ([{"image": support.PYTHON, "environment": {"NAME": "a\0b"}}], None),
    ],
)
def test_models_that_cannot_be(deploy, containers, execution):
    with pytest.raises(ClientError) as caught:
        deploy.model(containers=containers, execution=execution)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
