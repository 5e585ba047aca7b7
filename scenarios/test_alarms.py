"""Alarms by an unmodified boto3: put, raised by metrics, told to topics, kept over a kill."""

import datetime
import json

import pytest

import conftest
import support

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402

PROTOCOLS = ["json", "smithy-rpc-v2-cbor", "query"]


@pytest.fixture
def cloudwatch(client, name):
    """Alarms whose names begin with `name` are deleted afterwards."""
    made = client("cloudwatch")
    yield made
    clean(made, name)


@pytest.fixture(params=PROTOCOLS)
def any_cloudwatch(request, endpoint_url, name, monkeypatch):
    """A client of each protocol of the service's model."""
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (request.param,))
    made = conftest.make_clients(boto3, endpoint_url)("cloudwatch")
    yield made
    clean(made, name)


@pytest.fixture
def told(client, name):
    """A topic, and a function that receives what it was told."""
    topic = Topic(client, name)
    yield topic
    topic.close()


class Topic:
    def __init__(self, client, name):
        self.sns, self.sqs = client("sns"), client("sqs")
        self.arn = self.sns.create_topic(Name=name)["TopicArn"]
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        names = ["QueueArn"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        queue = attributes["Attributes"]["QueueArn"]
        self.sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=queue)

    def receive(self, wait=20):
        """Subjects and bodies."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url, WaitTimeSeconds=wait, MaxNumberOfMessages=10
        )
        received = []
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            notice = json.loads(message["Body"])
            received.append((notice["Subject"], json.loads(notice["Message"])))
        return received

    def close(self):
        self.sns.delete_topic(TopicArn=self.arn)
        self.sqs.delete_queue(QueueUrl=self.url)


def clean(cloudwatch, name):
    for kind in ["CompositeAlarm", "MetricAlarm"]:
        pages = cloudwatch.get_paginator("describe_alarms")
        for page in pages.paginate(AlarmNamePrefix=name, AlarmTypes=[kind]):
            for alarm in reversed(page["CompositeAlarms"]):
                cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"]])
            if names := [alarm["AlarmName"] for alarm in page["MetricAlarms"]]:
                cloudwatch.delete_alarms(AlarmNames=names)


def put(cloudwatch, name, **more):
    settings = {
        "AlarmName": name, "Namespace": name, "MetricName": "Errors", "Statistic": "Sum",
        "Period": 10, "EvaluationPeriods": 1, "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    }
    cloudwatch.put_metric_alarm(**(settings | more))


def describe(cloudwatch, name, kind="MetricAlarm"):
    answer = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=[kind])
    [alarm] = answer[f"{kind}s"]
    return alarm


def set_state(cloudwatch, name, state):
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")


def wait_for_state(cloudwatch, name, state, kind="MetricAlarm"):
    def reached():
        alarm = describe(cloudwatch, name, kind)
        return alarm if alarm["StateValue"] == state else None

    return support.wait_for(reached, f"{name} in {state}")


def test_a_metric_raises_an_alarm_and_a_topic_is_told(cloudwatch, told, name):
    put(cloudwatch, name, AlarmActions=[told.arn], AlarmDescription="too many")
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=[name])
    data = [{"MetricName": "Errors", "Value": 11.0, "Unit": "Count", "StorageResolution": 1}]
    cloudwatch.put_metric_data(Namespace=name, MetricData=data)
    alarm = wait_for_state(cloudwatch, name, "ALARM")
    assert alarm["StateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [11.0")
    assert json.loads(alarm["StateReasonData"])["recentDatapoints"] == [11.0]
    age = datetime.datetime.now(datetime.timezone.utc) - alarm["StateTransitionedTimestamp"]
    assert age < datetime.timedelta(minutes=1)
    [(subject, body)] = told.receive()
    assert subject == f'ALARM: "{name}" in US East (N. Virginia)'
    assert body["AlarmArn"] == alarm["AlarmArn"]
    assert (body["NewStateValue"], body["AlarmDescription"]) == ("ALARM", "too many")
    assert body["Trigger"]["MetricName"] == "Errors"

    def history():
        pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
            AlarmName=name, ScanBy="TimestampAscending", PaginationConfig={"PageSize": 1}
        )
        return [item["HistorySummary"] for page in pages for item in page["AlarmHistoryItems"]]

    done = f"Successfully executed action {told.arn}"
    seen = support.wait_for(lambda: done in history() and history(), "the action in the history")
    assert seen[0] == f'Alarm "{name}" created'
    assert any(summary.endswith("to ALARM") for summary in seen)


def test_an_expression_raises_an_alarm(cloudwatch, name):
    def part(metric):
        metric = {"Namespace": name, "MetricName": metric}
        stat = {"Metric": metric, "Period": 10, "Stat": "Maximum"}
        return {"Id": metric["MetricName"], "MetricStat": stat, "ReturnData": False}

    cloudwatch.put_metric_alarm(
        AlarmName=name, EvaluationPeriods=1, Threshold=5.0,
        ComparisonOperator="GreaterThanThreshold",
        Metrics=[{"Id": "sum", "Expression": "one + other"}, part("one"), part("other")],
    )
    cloudwatch.put_metric_data(
        Namespace=name,
        MetricData=[
            {"MetricName": metric, "Value": 3, "StorageResolution": 1} for metric in ["one", "other"]
        ],
    )
    wait_for_state(cloudwatch, name, "ALARM")
    with pytest.raises(ClientError, match="ANOMALY_DETECTION_BAND"):
        cloudwatch.put_metric_alarm(
            AlarmName=f"{name}-band", EvaluationPeriods=1, Threshold=5.0,
            ComparisonOperator="GreaterThanThreshold",
            Metrics=[{"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(one)"}, part("one")],
        )


def test_a_composite_alarm_follows_its_children(cloudwatch, told, name):
    children = [f"{name}-a", f"{name}-b"]
    for child in children:
        put(cloudwatch, child, TreatMissingData="ignore")
        set_state(cloudwatch, child, "OK")
    rule = f'ALARM("{children[0]}") AND NOT OK({children[1]})'
    cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=rule, AlarmActions=[told.arn])
    waiter = cloudwatch.get_waiter("composite_alarm_exists")
    waiter.wait(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])
    wait_for_state(cloudwatch, name, "OK", "CompositeAlarm")
    for child in children:
        set_state(cloudwatch, child, "ALARM")
    wait_for_state(cloudwatch, name, "ALARM", "CompositeAlarm")
    [(subject, body)] = told.receive()
    assert subject.startswith(f'ALARM: "{name}"') and body["AlarmRule"] == rule
    below = cloudwatch.describe_alarms(ChildrenOfAlarmName=name)["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in below] == children
    with pytest.raises(cloudwatch.exceptions.ClientError) as refusal:
        cloudwatch.delete_alarms(AlarmNames=children)
    assert refusal.value.response["Error"]["Code"] == "ResourceConflict"


def test_every_protocol_says_the_same(any_cloudwatch, name):
    cloudwatch = any_cloudwatch
    dimensions = [{"Name": "EndpointName", "Value": "digits"}]
    put(cloudwatch, name, Dimensions=dimensions, Tags=[{"Key": "team", "Value": "vision"}])
    alarm = describe(cloudwatch, name)
    assert alarm["Dimensions"] == dimensions and alarm["Threshold"] == 10.0
    assert isinstance(alarm["AlarmConfigurationUpdatedTimestamp"], datetime.datetime)
    tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "vision"}]
    found = cloudwatch.describe_alarms_for_metric(
        Namespace=name, MetricName="Errors", Dimensions=dimensions
    )
    assert [alarm["AlarmName"] for alarm in found["MetricAlarms"]] == [name]
    cloudwatch.disable_alarm_actions(AlarmNames=[name])
    assert describe(cloudwatch, name)["ActionsEnabled"] is False


def test_refusals_are_in_cloudwatchs_words(any_cloudwatch, name):
    cloudwatch = any_cloudwatch

    def check(code, text, call, **arguments):
        with pytest.raises(ClientError) as refusal:
            call(**arguments)
        error = refusal.value.response["Error"]
        assert error["Code"] == code and text in error["Message"], error

    check("ValidationError", "multiple of 60", put, cloudwatch=cloudwatch, name=name, Period=15)
    function = "arn:aws:lambda:us-east-1:123456789012:function:f"
    check("ValidationError", function, put, cloudwatch=cloudwatch, name=name, OKActions=[function])
    check("ValidationError", "Error in AlarmRule", cloudwatch.put_composite_alarm,
          AlarmName=name, AlarmRule="ALARM(")
    check("InvalidNextToken", "", cloudwatch.describe_alarms, NextToken="x")
    check("ResourceNotFound", name, set_state, cloudwatch=cloudwatch, name=name, state="OK")
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        set_state(cloudwatch, name, "OK")


def test_pages_are_whole(cloudwatch, name):
    names = [f"{name}-{n:02}" for n in range(12)]
    for one in reversed(names):
        put(cloudwatch, one)
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=name, PaginationConfig={"PageSize": 5}
    )
    listed = [[alarm["AlarmName"] for alarm in page["MetricAlarms"]] for page in pages]
    assert [len(page) for page in listed] == [5, 5, 2]
    assert sum(listed, []) == names


def test_a_kill_loses_no_change_and_tells_none_twice(tmp_path, name):
    server = support.Server(tmp_path / "data").start()
    try:
        client = conftest.make_clients(boto3, server.url)
        cloudwatch, told = client("cloudwatch"), Topic(client, name)
        names = [f"{name}-{n}" for n in range(8)]
        for one in names:
            put(cloudwatch, one, AlarmActions=[told.arn], TreatMissingData="ignore")
        for one in names:
            set_state(cloudwatch, one, "ALARM")
        server.kill()
        server.start()
        seen = []

        def all_told():
            seen.extend(body["AlarmName"] for _, body in told.receive(wait=1))
            return len(seen) >= len(names)

        support.wait_for(all_told, "all changes")
        server.kill()
        server.start()
        assert {describe(cloudwatch, one)["StateValue"] for one in names} == {"ALARM"}
        assert told.receive(wait=3) == []
        assert sorted(seen) == names
    finally:
        server.stop()
