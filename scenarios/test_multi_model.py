"""Endpoints with many models in one container, and with several containers."""

import json

import pytest
from botocore.exceptions import ClientError

import models
import support

ROW = "5.1,3.5,1.4,0.2"
LIMIT = {"SAGEBRUSH_MODEL_CACHE_MODELS": "2"}


@pytest.fixture
def endpoint(sagemaker, name):
    """`endpoint(containers, **model)`: makes an endpoint of these containers."""
    made = []

    def make(suffix="", **model):
        it = f"{name}{suffix}"
        made.append(it)
        sagemaker.create_model(ModelName=it, ExecutionRoleArn=support.ROLE, **model)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": it,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
        }
        sagemaker.create_endpoint_config(EndpointConfigName=it, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=it, EndpointConfigName=it)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=it)
        return it

    yield make
    for it in made:
        sagemaker.delete_endpoint(EndpointName=it)
        sagemaker.delete_endpoint_config(EndpointConfigName=it)
        sagemaker.delete_model(ModelName=it)


def put(s3, bucket, key, model):
    body = support.archive({"model.onnx": model}) if key.endswith(".tar.gz") else model
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


def ask(runtime, endpoint, **target):
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=ROW, ContentType="text/csv", Accept="application/json", **target
    )
    return json.loads(answer["Body"].read())


def refused(code, call):
    with pytest.raises(ClientError) as refusal:
        call()
    assert refusal.value.response["Error"]["Code"] == code
    return str(refusal.value)


def test_models_come_and_go(s3, runtime, bucket, endpoint):
    for n in range(3):
        put(s3, bucket, f"models/m{n}.tar.gz", models.logistic(10.0**-n))
    put(s3, bucket, "models/plain.onnx", models.forest())
    container = {
        "Image": support.IMAGE,
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://{bucket}/models/",
        "Environment": LIMIT,
    }
    it = endpoint(PrimaryContainer=container)
    first = [ask(runtime, it, TargetModel=f"m{n}.tar.gz") for n in range(3)]
    assert len({json.dumps(answer) for answer in first}) == 3
    again = [ask(runtime, it, TargetModel=f"m{n}.tar.gz") for n in range(3)]
    assert again == first, "a model that has left is loaded again"
    assert ask(runtime, it, TargetModel="plain.onnx")
    put(s3, bucket, "models/m0.tar.gz", models.logistic(0.1))
    assert ask(runtime, it, TargetModel="m0.tar.gz") == first[1], "the newest version answers"

    missing = refused("ValidationError", lambda: ask(runtime, it, TargetModel="no.tar.gz"))
    assert f"Failed to download model data(bucket: {bucket}, key: models/no.tar.gz)." in missing
    for hostile in ("../m0.tar.gz", "/m0.tar.gz", "a//b.tar.gz"):
        refused("ValidationError", lambda: ask(runtime, it, TargetModel=hostile))
    unnamed = refused("ValidationError", lambda: ask(runtime, it))
    assert "missing a target model header" in unnamed
    s3.put_object(Bucket=bucket, Key="models/bad.tar.gz", Body=support.archive({"x": b"y"}))
    bad = refused("ModelError", lambda: ask(runtime, it, TargetModel="bad.tar.gz"))
    assert "The archive has no model.onnx" in bad


def test_several_containers(s3, runtime, sagemaker, bucket, endpoint):
    identity = (support.ROOT / "crates/onnx/tests/models/identity_float.onnx").read_bytes()
    same = put(s3, bucket, "same.tar.gz", identity)
    iris = put(s3, bucket, "iris.tar.gz", models.logistic())
    first = {"Image": support.IMAGE, "ModelDataUrl": same, "ContainerHostname": "first"}
    second = {"Image": support.IMAGE, "ModelDataUrl": iris, "ContainerHostname": "second"}
    direct = endpoint(
        "-direct", Containers=[first, second], InferenceExecutionConfig={"Mode": "Direct"}
    )
    answer = ask(runtime, direct, TargetContainerHostname="second")
    assert answer != ask(runtime, direct, TargetContainerHostname="first")
    refused("ValidationError", lambda: ask(runtime, direct, TargetContainerHostname="third"))
    refused("ValidationError", lambda: ask(runtime, direct))

    series = endpoint("-series", Containers=[first, second])
    assert ask(runtime, series) == answer
    broken = refused("ModelError", lambda: runtime.invoke_endpoint(
        EndpointName=series, Body="no numbers", ContentType="text/csv"
    ))
    assert "Received client error (400) from first with message" in broken
    wrong = refused("ValidationError", lambda: ask(runtime, series, TargetModel="m.tar.gz"))
    assert "is not a multi-model endpoint and does not support target model header" in wrong
    variant = sagemaker.describe_endpoint(EndpointName=series)["ProductionVariants"][0]
    assert len(variant["DeployedImages"]) == 2
