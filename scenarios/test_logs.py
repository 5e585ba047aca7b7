"""CloudWatch Logs of clients, and access logs, by an unmodified boto3."""

import json
import subprocess
import time

import pytest

import conftest
import models
import support
from deployment import Deployment

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402


@pytest.fixture
def logs(client):
    return client("logs")


@pytest.fixture
def group(logs, name):
    """A log group with the stream `one`."""
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    yield name
    logs.delete_log_group(logGroupName=name)


def now():
    return int(time.time() * 1000)


def put(logs, group, *messages, at=None):
    at = at or now()
    events = [{"timestamp": at, "message": message} for message in messages]
    return logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)


def found(logs, group, **wish):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **wish)
    return [event["message"] for page in pages for event in page["events"]]


def refused(call, code):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code, error.value


def test_lines_come_back_in_order_and_by_pattern(logs, group):
    lines = [json.dumps({"level": level, "n": n})
             for n, level in enumerate(["INFO", "ERROR", "WARN", "ERROR"])]
    put(logs, group, *lines, "not JSON, ERROR")
    read = logs.get_log_events(logGroupName=group, logStreamName="one", startFromHead=True)
    assert [event["message"] for event in read["events"]] == [*lines, "not JSON, ERROR"]
    for pattern, expected in {
        '{ $.level = "ERROR" && $.n > 1 }': lines[3:],
        '{ $.level = "W*" || $.n = 0 }': [lines[0], lines[2]],
        "ERROR -JSON": [lines[1], lines[3]],
        "?WARN ?INFO": [lines[0], lines[2]],
        '"not JSON"': ["not JSON, ERROR"],
        "nothing": [],
    }.items():
        assert found(logs, group, filterPattern=pattern) == expected, pattern
    refused(lambda: found(logs, group, filterPattern="[a, b]"), "InvalidParameterException")


def test_the_rules_of_a_batch(logs, group):
    hour = 3600 * 1000
    late = put(logs, group, "too new", at=now() + 3 * hour)
    assert late["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 0}
    old = put(logs, group, "too old", at=now() - 15 * 24 * hour)
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    full = "x" * ((1 << 20) - 26)
    put(logs, group, full)
    assert found(logs, group) == [full]
    refused(lambda: put(logs, group, full + "x"), "InvalidParameterException")
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    expired = put(logs, group, "expired", at=now() - 8 * 24 * hour)
    assert expired["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    described = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert described[0]["retentionInDays"] == 7
    refused(lambda: logs.put_retention_policy(logGroupName=group, retentionInDays=2),
            "InvalidParameterException")


def test_groups_streams_and_tags(logs, group):
    refused(lambda: logs.create_log_group(logGroupName=group), "ResourceAlreadyExistsException")
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"team": "vision", "stage": "test"})
    logs.untag_resource(resourceArn=arn, tagKeys=["stage"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "vision"}
    logs.delete_log_stream(logGroupName=group, logStreamName="one")
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []
    refused(lambda: put(logs, group, "x"), "ResourceNotFoundException")
    refused(lambda: logs.delete_log_group(logGroupName=f"{group}-none"),
            "ResourceNotFoundException")
    refused(lambda: logs.start_query(logGroupName=group, startTime=0, endTime=1, queryString="x"),
            "UnknownOperationException")


def test_what_was_acknowledged_survives_a_kill(server, name):
    logs = conftest.make_clients(boto3, server.url)("logs")
    logs.create_log_group(logGroupName=name, tags={"a": "b"})
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    for n in range(20):
        put(logs, name, f"line {n}")
    server.kill()
    server.start()
    assert found(logs, name) == [f"line {n}" for n in range(20)]
    assert logs.list_tags_log_group(logGroupName=name)["tags"] == {"a": "b"}


def test_the_command_line_prints_any_group(logs, group, endpoint_url):
    put(logs, group, "a line")
    logs.create_log_group(logGroupName=f"/{group}")
    logs.create_log_stream(logGroupName=f"/{group}", logStreamName="one")
    put(logs, f"/{group}", "another line")
    printed = subprocess.run(
        [support.binary(), "logs", f"/{group}"], check=True, capture_output=True, text=True,
        env=support.clean_environment(SAGEBRUSH_LISTEN=endpoint_url.removeprefix("http://")),
    )
    logs.delete_log_group(logGroupName=f"/{group}")
    assert printed.stdout.rstrip().endswith("one another line")


def test_each_call_of_an_endpoint_has_a_line(tmp_path, name):
    options = ["--access-logs", "true", "--audit-data-events", "true"]
    server = support.Server(tmp_path / "data", *options).start()
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket=name)
    Deployment(client, name, name)({"model.onnx": models.logistic()})
    runtime, logs, body = client("sagemaker-runtime"), client("logs"), models.csv(models.ROWS[:1])
    good = runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)
    answer = good["Body"].read()
    with pytest.raises(ClientError):
        runtime.invoke_endpoint(EndpointName=name, ContentType="text/nonsense", Body=b"x")
    group = f"/aws/sagemaker/Endpoints/{name}/access"

    def lines():
        groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        return len(found(logs, group)) == 2 if groups else False

    support.wait_for(lines, "two lines in the access log")
    [line] = map(json.loads, found(logs, group, filterPattern="{ $.status = 200 }"))
    assert line["requestId"] == good["ResponseMetadata"]["RequestId"]
    assert (line["endpoint"], line["variant"]) == (name, "AllTraffic")
    assert (line["bytesIn"], line["bytesOut"]) == (len(body), len(answer))
    assert (line["accessKey"], line["sourceIp"]) == (support.KEY, "127.0.0.1")
    assert line["millis"] >= line["timing"]["model"] >= 0
    [bad] = map(json.loads, found(logs, group, filterPattern="{ $.status >= 400 }"))
    assert bad["operation"] == "InvokeEndpoint"
    audited = client("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "InvokeEndpoint"}]
    )["Events"]
    assert json.loads(audited[-1]["CloudTrailEvent"])["eventCategory"] == "Data"
    assert len(audited) == 2
    # An endpoint's logs stay when it is gone.
    client("sagemaker").delete_endpoint(EndpointName=name)
    assert len(found(logs, group)) == 2
    assert server.stop() == 0
