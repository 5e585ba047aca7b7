"""From a model's archive in S3 to answers, by plain boto3."""

import io
import json

import numpy as np
import pytest
from botocore.exceptions import ClientError

import support
import models


def counted(client, operation):
    """A list that grows with each call of the operation."""
    calls = []
    client.meta.events.register(
        f"before-call.*.{operation}", lambda **_: calls.append(operation), unique_id=object()
    )
    return calls


@pytest.mark.parametrize("make", [models.logistic, models.forest])
def test_csv_json_and_npy_answer_like_python(deploy, runtime, make):
    model = make()
    endpoint = deploy({"model.onnx": model})
    rows = models.ROWS[::15]
    labels, probabilities = models.reference(model, rows)

    answer = invoke(runtime, endpoint, models.csv(rows), "text/csv", "text/csv")
    assert answer["ContentType"].startswith("text/csv")
    values = models.csv_values(answer["Body"].read())
    assert_holds(values, labels, probabilities)

    body = json.dumps({"instances": rows.tolist()})
    answer = invoke(runtime, endpoint, body, "application/json", "application/json")
    predictions = json.loads(answer["Body"].read())["predictions"]
    assert_holds(np.array([flat(entry) for entry in predictions]), labels, probabilities)

    packed = io.BytesIO()
    np.save(packed, rows)
    answer = invoke(runtime, endpoint, packed.getvalue(), "application/x-npy", "application/json")
    predictions = json.loads(answer["Body"].read())["predictions"]
    assert_holds(np.array([flat(entry) for entry in predictions]), labels, probabilities)


def flat(entry):
    """All numbers of an answer's row, in order."""
    if isinstance(entry, dict):
        entry = list(entry.values())
    if isinstance(entry, list):
        return [number for part in entry for number in flat(part)]
    return [float(entry)]


def assert_holds(values, labels, probabilities):
    """A row has the label, the probabilities, or the label and then the probabilities."""
    wanted = {
        1: labels.reshape(-1, 1),
        3: probabilities,
        4: np.hstack([labels.reshape(-1, 1), probabilities]),
    }
    assert values.shape[1] in wanted, values
    np.testing.assert_allclose(values, wanted[values.shape[1]], atol=1e-4)


def invoke(runtime, endpoint, body, content_type, accept):
    return runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType=content_type, Accept=accept
    )


def test_an_npy_answer(deploy, runtime):
    model = models.logistic()
    endpoint = deploy({"model.onnx": model})
    answer = invoke(
        runtime, endpoint, models.csv(models.ROWS[:3]), "text/csv", "application/x-npy"
    )
    assert answer["ContentType"].startswith("application/x-npy")
    values = np.load(io.BytesIO(answer["Body"].read()))
    assert len(values) == 3


def test_one_row_in_one_answer_out(deploy, runtime):
    endpoint = deploy({"model.onnx": models.logistic()})
    answer = invoke(runtime, endpoint, models.csv(models.ROWS[:1]), "text/csv", "text/csv")
    assert len(models.csv_values(answer["Body"].read())) == 1
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_the_first_describe_is_final(client, deploy):
    """boto3's waiter would sleep for 30 s after a look that is not."""
    sagemaker = client("sagemaker", config={"user_agent_extra": "counted"})
    describes = counted(sagemaker, "DescribeEndpoint")
    name = deploy.create({"model.onnx": models.logistic()})
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    assert len(describes) == 1
    sagemaker.delete_endpoint(EndpointName=name)
    del describes[:]
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
    assert len(describes) == 1


def test_describe_echoes_what_was_sent(sagemaker, s3, bucket, name):
    s3.put_object(
        Bucket=bucket, Key="m.tar.gz", Body=support.archive({"model.onnx": models.logistic()})
    )
    container = {
        "Image": support.IMAGE,
        "ModelDataUrl": f"s3://{bucket}/m.tar.gz",
        "Environment": {"A": "1", "B": "two"},
        "ContainerHostname": "first",
        "Mode": "SingleModel",
    }
    model = {
        "ModelName": name, "PrimaryContainer": container, "ExecutionRoleArn": support.ROLE,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
    }
    created = sagemaker.create_model(**model)
    described = sagemaker.describe_model(ModelName=name)
    assert described["ModelArn"] == created["ModelArn"]
    assert created["ModelArn"] == f"arn:aws:sagemaker:{support.REGION}:{support.ACCOUNT}:model/{name}"
    assert {key: described[key] for key in model} == model

    variant = {
        "VariantName": "blue", "ModelName": name, "InitialInstanceCount": 2,
        "InstanceType": "ml.m5.large", "InitialVariantWeight": 0.5,
        "ContainerStartupHealthCheckTimeoutInSeconds": 120,
        "ModelDataDownloadTimeoutInSeconds": 300,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }
    capture = {
        "EnableCapture": False, "InitialSamplingPercentage": 20,
        "DestinationS3Uri": f"s3://{bucket}/capture", "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    config = {
        "EndpointConfigName": name, "ProductionVariants": [variant], "DataCaptureConfig": capture,
    }
    sagemaker.create_endpoint_config(**config)
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert {key: described[key] for key in config} == config

    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    described = sagemaker.describe_endpoint(EndpointName=name)
    assert (described["EndpointName"], described["EndpointConfigName"]) == (name, name)
    [seen] = described["ProductionVariants"]
    assert (seen["VariantName"], seen["CurrentInstanceCount"]) == ("blue", 2)
    assert (seen["CurrentWeight"], seen["DesiredWeight"]) == (0.5, 0.5)
    assert seen["DeployedImages"][0]["SpecifiedImage"] == support.IMAGE
    assert described["CreationTime"] <= described["LastModifiedTime"]
    assert "FailureReason" not in described

    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)
    for look, what in [
        (lambda: sagemaker.describe_endpoint(EndpointName=name), "Could not find endpoint"),
        (
            lambda: sagemaker.describe_endpoint_config(EndpointConfigName=name),
            "Could not find endpoint configuration",
        ),
        (lambda: sagemaker.describe_model(ModelName=name), "Could not find model"),
    ]:
        with pytest.raises(ClientError) as caught:
            look()
        error = caught.value.response["Error"]
        assert error["Code"] == "ValidationException"
        assert error["Message"].startswith(what), error


def test_a_folder_of_files_instead_of_an_archive(s3, sagemaker, runtime, bucket, name):
    """`ModelDataSource` with a prefix, uncompressed."""
    s3.put_object(Bucket=bucket, Key="m/model.onnx", Body=models.logistic())
    source = {
        "S3Uri": f"s3://{bucket}/m/", "S3DataType": "S3Prefix", "CompressionType": "None",
    }
    container = {"Image": support.IMAGE, "ModelDataSource": {"S3DataSource": source}}
    sagemaker.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn=support.ROLE
    )
    variant = {
        "VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    answer = invoke(runtime, name, models.csv(models.ROWS[:2]), "text/csv", "text/csv")
    assert len(models.csv_values(answer["Body"].read())) == 2
    sagemaker.delete_endpoint(EndpointName=name)


def test_a_model_repository_of_triton(deploy, runtime):
    """The newest version of the repository's only model."""
    model = models.logistic()
    files = {
        "iris/config.pbtxt": 'name: "iris"\nplatform: "onnxruntime_onnx"\n',
        "iris/1/model.onnx": models.logistic(0.01),
        "iris/2/model.onnx": model,
    }
    image = "007439368137.dkr.ecr.us-east-2.amazonaws.com/sagemaker-tritonserver:24.09-py3"
    environment = {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "iris"}
    endpoint = deploy(files, image=image, environment=environment)
    rows = models.ROWS[::15]
    answer = invoke(runtime, endpoint, models.csv(rows), "text/csv", "text/csv")
    assert_holds(models.csv_values(answer["Body"].read()), *models.reference(model, rows))


def test_weights_and_target_variant(sagemaker, runtime, deploy, name):
    """Two models behind one endpoint; the header names one of them."""
    first = deploy.model({"model.onnx": models.logistic()}, suffix="-a")
    second = deploy.model({"model.onnx": models.forest()}, suffix="-b")
    variants = [
        {
            "VariantName": variant, "ModelName": model, "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large", "InitialVariantWeight": weight,
        }
        for variant, model, weight in [("a", first, 1.0), ("b", second, 0.0)]
    ]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    deploy.configs.append(name)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.endpoints.append(name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    call = {
        "EndpointName": name, "Body": models.csv(models.ROWS[:1]), "ContentType": "text/csv"
    }
    seen = {runtime.invoke_endpoint(**call)["InvokedProductionVariant"] for _ in range(20)}
    assert seen == {"a"}
    assert runtime.invoke_endpoint(**call, TargetVariant="b")["InvokedProductionVariant"] == "b"
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(**call, TargetVariant="c")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
