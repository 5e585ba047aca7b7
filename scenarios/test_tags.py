"""Tags of models, endpoint configurations and endpoints."""

import pytest
from botocore.exceptions import ClientError

import support
import models


def tags_of(sagemaker, arn):
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def as_list(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@pytest.fixture
def arn(sagemaker, name):
    created = sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=support.ROLE,
        PrimaryContainer={"Image": support.IMAGE}, Tags=as_list({"made": "here"}),
    )
    yield created["ModelArn"]
    sagemaker.delete_model(ModelName=name)


def test_tags_come_and_go(sagemaker, arn):
    assert tags_of(sagemaker, arn) == {"made": "here"}
    answer = sagemaker.add_tags(ResourceArn=arn, Tags=as_list({"made": "there", "n": "1"}))
    assert {tag["Key"]: tag["Value"] for tag in answer["Tags"]} == {"made": "there", "n": "1"}
    assert tags_of(sagemaker, arn) == {"made": "there", "n": "1"}
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["made", "never there"])
    assert tags_of(sagemaker, arn) == {"n": "1"}


def test_an_endpoint_and_its_config_have_tags(sagemaker, deploy):
    name = deploy({"model.onnx": models.logistic()})
    for arn in [
        sagemaker.describe_endpoint(EndpointName=name)["EndpointArn"],
        sagemaker.describe_endpoint_config(EndpointConfigName=name)["EndpointConfigArn"],
    ]:
        assert tags_of(sagemaker, arn) == {}
        sagemaker.add_tags(ResourceArn=arn, Tags=as_list({"a": "1"}))
        assert tags_of(sagemaker, arn) == {"a": "1"}


def test_fifty_are_enough(sagemaker, arn):
    sagemaker.add_tags(ResourceArn=arn, Tags=as_list({f"k{i}": "v" for i in range(49)}))
    with pytest.raises(ClientError) as caught:
        sagemaker.add_tags(ResourceArn=arn, Tags=as_list({"one": "more"}))
    assert caught.value.response["Error"]["Code"] in ("ValidationException", "ResourceLimitExceeded")
    assert len(tags_of(sagemaker, arn)) == 50


def test_tags_added_at_once_are_all_kept(sagemaker, arn):
    outcomes = support.in_threads(
        8, lambda i: sagemaker.add_tags(ResourceArn=arn, Tags=as_list({f"k{i}": str(i)}))
    )
    assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
    assert tags_of(sagemaker, arn) == {"made": "here"} | {f"k{i}": str(i) for i in range(8)}


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:sagemaker:{support.REGION}:{support.ACCOUNT}:model/no-such-model",
        f"arn:aws:sagemaker:eu-west-1:{support.ACCOUNT}:model/x",
        f"arn:aws:sagemaker:{support.REGION}:999999999999:model/x",
        f"arn:aws:s3:::{'x' * 10}",
        "nonsense",
    ],
)
def test_arns_that_name_nothing(sagemaker, arn):
    with pytest.raises(ClientError) as caught:
        sagemaker.list_tags(ResourceArn=arn)
    code = caught.value.response["Error"]["Code"]
    assert code in ("ValidationException", "ResourceNotFound"), code
