"""Who did what, by an unmodified boto3."""

import json
import time
import urllib.request

import pytest

import conftest
import support

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402

SECRET = "hunter2-do-not-tell"


@pytest.fixture
def trail(client):
    return client("cloudtrail")


def look_up(trail, key=None, value=None, **wish):
    if key:
        wish["LookupAttributes"] = [{"AttributeKey": key, "AttributeValue": value}]
    pages = trail.get_paginator("lookup_events").paginate(**wish)
    return [event for page in pages for event in page["Events"]]


def told(event):
    return json.loads(event["CloudTrailEvent"])


def wait_for_events(trail, key, value, n):
    """The events found by an attribute, newest first, once there are `n`."""

    def found():
        events = look_up(trail, key, value)
        return events if len(events) >= n else None

    return support.wait_for(found, f"{n} events of {value}")


def create(sagemaker, name):
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=support.ROLE, Tags=[{"Key": "password", "Value": SECRET}],
        PrimaryContainer={"Image": support.PYTHON, "Environment": {"DATABASE": SECRET}},
    )


def test_a_call_is_told_without_its_secrets(sagemaker, trail, name):
    create(sagemaker, name)
    with pytest.raises(ClientError):
        create(sagemaker, name)
    sagemaker.describe_model(ModelName=name)
    sagemaker.delete_model(ModelName=name)
    events = wait_for_events(trail, "ResourceName", name, 4)
    assert [(event["EventName"], event["ReadOnly"]) for event in events] == [
        ("DeleteModel", "false"), ("DescribeModel", "true"),
        ("CreateModel", "false"), ("CreateModel", "false"),
    ]
    assert SECRET not in json.dumps(events, default=str)
    refused, created = map(told, events[2:])
    assert created["requestParameters"]["modelName"] == name
    assert list(created["requestParameters"]["primaryContainer"]["environment"]) == ["DATABASE"]
    assert created["responseElements"]["modelArn"].endswith(f":model/{name}")
    assert created["eventSource"] == "sagemaker.amazonaws.com"
    assert created["sourceIPAddress"] == "127.0.0.1"
    assert created["userAgent"].startswith("Boto3/")
    assert created["userIdentity"]["accessKeyId"] == support.KEY
    assert (refused["errorCode"], "errorCode" in created) == ("ValidationException", False)
    resources = [(one["ResourceType"], one["ResourceName"]) for one in events[3]["Resources"]]
    assert ("AWS::SageMaker::Model", name) in resources


def test_whoever_assumes_a_role_is_known_by_the_session(client, endpoint_url, trail, name):
    keys = client("sts").assume_role(RoleArn=support.ROLE, RoleSessionName=name)["Credentials"]
    as_role = boto3.client(
        "sagemaker", endpoint_url=endpoint_url, region_name=support.REGION,
        aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    as_role.list_models()
    [event] = wait_for_events(trail, "Username", name, 1)
    assert (event["EventName"], event["AccessKeyId"]) == ("ListModels", keys["AccessKeyId"])
    assert told(event)["userIdentity"]["arn"].endswith(f"/SageMakerRole/{name}")
    assert keys["SecretAccessKey"] not in json.dumps(look_up(trail), default=str)


def test_events_are_found_by_time_and_in_pages(client, trail, name):
    sns = client("sns")
    before = time.time() - 1
    arns = [sns.create_topic(Name=f"{name}-{n}")["TopicArn"] for n in range(7)]
    for arn in arns:
        sns.publish(TopicArn=arn, Message=SECRET)
        sns.delete_topic(TopicArn=arn)
    wait_for_events(trail, "ResourceName", arns[-1], 1)
    paged = look_up(trail, "EventName", "CreateTopic", StartTime=before,
                    PaginationConfig={"PageSize": 3})
    names = [name for event in paged for name in [told(event)["requestParameters"]["name"]]]
    assert [one for one in names if one.startswith(name)] == [f"{name}-{n}" for n in range(7)][::-1]
    assert look_up(trail, "EventName", "CreateTopic", EndTime=before - 3600) == []
    assert look_up(trail, "EventName", "Publish") == [], "messages are data"
    reads = look_up(trail, "ReadOnly", "true")
    assert all(event["ReadOnly"] == "true" for event in reads)


def test_buckets_are_always_told_of_and_objects_if_wanted(server, name):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="a/b", Body=SECRET.encode())
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    client("s3").put_bucket_policy(Bucket=name, Policy=policy)
    events = wait_for_events(client("cloudtrail"), "ResourceName", name, 2)
    assert [event["EventName"] for event in events] == ["PutBucketPolicy", "CreateBucket"]
    assert told(events[0])["eventSource"] == "s3.amazonaws.com"
    assert (told(events[1])["eventCategory"], events[1]["ReadOnly"]) == ("Management", "false")

    server.stop()
    server.environment["SAGEBRUSH_AUDIT_DATA_EVENTS"] = "true"
    server.start()
    s3, trail = client("s3"), client("cloudtrail")
    url = s3.generate_presigned_url("get_object", {"Bucket": name, "Key": "a/b"})
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == SECRET.encode()
    with pytest.raises(ClientError):
        s3.get_object(Bucket=name, Key="none")
    s3.delete_object(Bucket=name, Key="a/b")
    arn = f"arn:aws:s3:::{name}/a/b"
    deleted, got = wait_for_events(trail, "ResourceName", arn, 2)
    assert (deleted["EventName"], deleted["ReadOnly"]) == ("DeleteObject", "false")
    assert (got["EventName"], got["ReadOnly"], got["AccessKeyId"]) == ("GetObject", "true", support.KEY)
    parameters = told(got)["requestParameters"]
    assert (parameters["bucketName"], parameters["key"]) == (name, "a/b")
    assert told(got)["additionalEventData"]["AuthenticationMethod"] == "QueryString"
    assert "ignature" not in json.dumps(parameters) and SECRET not in json.dumps(told(got))
    missing = wait_for_events(trail, "EventName", "GetObject", 2)[0]
    assert told(missing)["errorCode"] == "NoSuchKey"
    sources = look_up(trail, "EventSource", "s3.amazonaws.com")
    assert {"DeleteObject", "GetObject", "CreateBucket"} <= {one["EventName"] for one in sources}


def test_what_was_done_is_known_after_a_kill(server, name):
    client = conftest.make_clients(boto3, server.url)
    create(client("sagemaker"), name)
    wait_for_events(client("cloudtrail"), "ResourceName", name, 1)
    server.kill()
    server.start()
    [event] = look_up(client("cloudtrail"), "EventName", "CreateModel")
    assert told(event)["requestParameters"]["modelName"] == name
