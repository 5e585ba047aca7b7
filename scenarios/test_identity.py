"""STS and IAM, as far as SageMaker's SDKs ask."""

import json
import re

import pytest
from botocore.exceptions import ClientError

import support


def test_caller_identity(client):
    identity = client("sts").get_caller_identity()
    assert identity["Account"] == support.ACCOUNT
    # The SDK reads the role's name out of an assumed role's ARN.
    assert re.fullmatch(
        rf"arn:aws:sts::{support.ACCOUNT}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+", identity["Arn"]
    )
    assert identity["UserId"]


def test_an_assumed_role_can_call(client):
    assumed = client("sts").assume_role(RoleArn=support.ROLE, RoleSessionName="scenario")
    keys = assumed["Credentials"]
    assert assumed["AssumedRoleUser"]["Arn"].endswith("assumed-role/SageMakerRole/scenario")
    settings = {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }
    assert "Models" in client("sagemaker", **settings).list_models()
    assert "Buckets" in client("s3", **settings).list_buckets()
    wrong = settings | {"aws_session_token": "wrong"}
    with pytest.raises(ClientError) as caught:
        client("sagemaker", **wrong).list_models()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)


def test_a_role_trusts_sagemaker(client):
    role = client("iam").get_role(RoleName="SageMakerRole")["Role"]
    assert (role["RoleName"], role["Arn"]) == ("SageMakerRole", support.ROLE)
    assert "sagemaker.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"])


def test_everything_is_allowed(client):
    pages = client("iam").get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=support.ROLE, ActionNames=["s3:GetObject", "sagemaker:CreateModel"]
    )
    decisions = {
        result["EvalActionName"]: result["EvalDecision"]
        for page in pages for result in page["EvaluationResults"]
    }
    assert decisions == {"s3:GetObject": "allowed", "sagemaker:CreateModel": "allowed"}


def test_other_operations_are_unknown(client):
    for call in (client("iam").list_groups, client("sts").get_session_token):
        with pytest.raises(ClientError) as caught:
            call()
        response = caught.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400, response
        assert response["Error"]["Code"] != "AccessDeniedException", response
