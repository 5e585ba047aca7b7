"""Seconds from CreateEndpoint to the first answer of an endpoint whose code imports numpy."""

import io
import json
import sys
import tarfile
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CODE = b"""
import numpy

def model_fn(model_dir):
    return numpy.eye(3)

def predict_fn(data, model):
    return (model @ numpy.asarray(data)).tolist()
"""
ROLE = "arn:aws:iam::123456789012:role/SageMakerRole"
NAME = "bench-cold-start"
DEADLINE = 120


def main():
    url, times = sys.argv[1], int(sys.argv[2])
    settings = {
        "endpoint_url": url, "region_name": "us-east-1", "aws_access_key_id": "sagebrush",
        "aws_secret_access_key": "sagebrush", "config": Config(retries={"total_max_attempts": 1}),
    }
    sagemaker = boto3.client("sagemaker", **settings)
    runtime = boto3.client("sagemaker-runtime", **settings)
    s3 = boto3.client("s3", **settings)
    prepare(sagemaker, s3)
    took = []
    for _ in range(times):
        took.append(once(sagemaker, runtime))
        sagemaker.delete_endpoint(EndpointName=NAME)
        until(lambda: is_gone(sagemaker))
    print(json.dumps(took))


def prepare(sagemaker, s3):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(CODE)
        tar.addfile(member, io.BytesIO(CODE))
    s3.create_bucket(Bucket=NAME)
    s3.put_object(Bucket=NAME, Key="model.tar.gz", Body=packed.getvalue())
    container = {"Image": "sagebrush/python", "ModelDataUrl": f"s3://{NAME}/model.tar.gz"}
    sagemaker.create_model(ModelName=NAME, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "AllTraffic", "ModelName": NAME, "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName=NAME, ProductionVariants=[variant])


def once(sagemaker, runtime):
    began = time.perf_counter()
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    until(lambda: answers(runtime))
    return time.perf_counter() - began


def answers(runtime):
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=NAME, Body=b"[1, 2, 3]", ContentType="application/json"
        )
    except ClientError:
        return False  # Not in service yet.
    assert json.loads(answer["Body"].read()) == [1, 2, 3]
    return True


def is_gone(sagemaker):
    return not sagemaker.list_endpoints(NameContains=NAME)["Endpoints"]


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s"
        time.sleep(0.005)


if __name__ == "__main__":
    main()
