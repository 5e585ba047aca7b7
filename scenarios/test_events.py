"""Rules, their targets and events, by an unmodified boto3."""

import json

import pytest

import conftest
import models
import support
from deployment import Deployment
from test_messaging import Webhook, arn_of, receive, subscribe
from transforms import Transforms

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402


@pytest.fixture
def events(client):
    return client("events")


@pytest.fixture
def rule(events, name):
    """`rule(pattern, arn, ...)`: makes a rule with targets; the last argument is their input."""
    made = []

    def make(pattern, *arns, **target):
        made.append(f"{name}-{len(made)}")
        arn = events.put_rule(Name=made[-1], EventPattern=json.dumps(pattern))["RuleArn"]
        targets = [{"Id": f"t{n}", "Arn": to} | target for n, to in enumerate(arns)]
        assert events.put_targets(Rule=made[-1], Targets=targets)["FailedEntryCount"] == 0
        return arn

    yield make
    for one in made:
        targets = events.list_targets_by_rule(Rule=one)["Targets"]
        events.remove_targets(Rule=one, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=one)


@pytest.fixture
def queue(client, name):
    """The URL and the ARN of a queue."""
    sqs = client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield url, arn_of(sqs, url)
    sqs.delete_queue(QueueUrl=url)


def put(events, source, detail_type="Test", **detail):
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
    answer = events.put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0, answer
    return answer["Entries"][0]["EventId"]


def bodies(sqs, url):
    messages = receive(sqs, url)
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in messages]


def test_a_transform_job_is_followed(client, events, rule, queue, name, bucket):
    url, arn = queue
    kind = "SageMaker Transform Job State Change"
    rule({"source": ["aws.sagemaker"], "detail-type": [kind],
          "detail": {"TransformJobName": [{"prefix": name}]}}, arn)
    deployment, transforms = Deployment(client, name, bucket), Transforms(client, bucket)
    transforms.put("in/rows.csv", models.csv(models.ROWS[:5]))
    transforms.create(name, deployment.model({"model.onnx": models.logistic()}))
    transforms.completed(name)
    seen = []

    def told():
        seen.extend(bodies(client("sqs"), url))
        return {event["detail"]["TransformJobStatus"] for event in seen} >= {"Completed"}

    support.wait_for(told, "the end of the job among the events")
    last = next(one for one in seen if one["detail"]["TransformJobStatus"] == "Completed")
    assert last["resources"] == [last["detail"]["TransformJobArn"]]
    assert (last["version"], last["account"], last["region"]) == ("0", support.ACCOUNT,
                                                                   support.REGION)
    # Every event of the server also stands in a log.
    noted = client("logs").filter_log_events(
        logGroupName="/aws/events/sagemaker",
        filterPattern=f'{{ $.detail.TransformJobName = "{name}" }}',
    )["events"]
    assert last in [json.loads(event["message"]) for event in noted]
    deployment.clean()


def test_objects_are_told_of_if_a_rule_wants_it(client, rule, queue, bucket):
    s3, sqs = client("s3"), client("sqs")
    s3.put_object(Bucket=bucket, Key="in/early", Body=b"x")
    pattern = {"source": ["aws.s3"], "detail": {
        "bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "in/"}]},
    }}
    rule(pattern, queue[1])
    made = s3.put_object(Bucket=bucket, Key="in/a", Body=b"123")
    s3.put_object(Bucket=bucket, Key="out/a", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="in/b", CopySource=f"{bucket}/in/a")
    s3.delete_object(Bucket=bucket, Key="in/a")
    s3.delete_object(Bucket=bucket, Key="in/none")
    told = []

    def all_told():
        told.extend(bodies(sqs, queue[0]))
        return len(told) >= 3

    support.wait_for(all_told, "three events")
    found = {(it["detail-type"], it["detail"]["object"]["key"]): it["detail"] for it in told}
    assert set(found) == {
        ("Object Created", "in/a"), ("Object Created", "in/b"), ("Object Deleted", "in/a")
    }
    created = found["Object Created", "in/a"]
    assert created["object"]["size"] == 3
    assert created["object"]["etag"] == made["ETag"].strip('"')
    assert created["request-id"] == made["ResponseMetadata"]["RequestId"]
    assert (created["reason"], created["source-ip-address"]) == ("PutObject", "127.0.0.1")
    assert found["Object Created", "in/b"]["reason"] == "CopyObject"
    assert found["Object Deleted", "in/a"]["deletion-type"] == "Permanently Deleted"


def test_events_reach_a_webhook_through_a_topic(client, events, rule, name):
    """The recipe of the documentation: a rule, a topic, and an http subscription."""
    sns, webhook = client("sns"), Webhook()
    topic = sns.create_topic(Name=name)["TopicArn"]
    subscribe(sns, topic, webhook)
    transformer = {
        "InputPathsMap": {"who": "$.detail.name", "n": "$.detail.n"},
        "InputTemplate": '{"text": "<who> has <n>", "n": <n>}',
    }
    rule({"source": [name], "detail": {"n": [{"numeric": [">", 3]}]}}, topic,
         InputTransformer=transformer)
    put(events, name, name="ann", n=2)
    put(events, name, name="bob", n=5)
    support.wait_for(webhook.messages, "the event")
    assert [json.loads(text) for text in webhook.messages()] == [{"text": "bob has 5", "n": 5}]
    webhook.close()
    sns.delete_topic(TopicArn=topic)


def test_patterns_rules_and_refusals(client, events, rule, queue, name):
    url, arn = queue
    made = rule({"source": [name], "detail": {"state": [{"anything-but": "OK"}]}}, arn,
                InputPath="$.detail")
    described = events.describe_rule(Name=f"{name}-0")
    assert (described["Arn"], described["State"]) == (made, "ENABLED")
    group = f"arn:aws:logs:{support.REGION}:{support.ACCOUNT}:log-group:/aws/events/{name}"
    rule({"source": [name]}, group)
    put(events, name, state="OK")
    put(events, name, state="ALARM")
    assert bodies(client("sqs"), url) == [{"state": "ALARM"}]
    logged = support.wait_for(lambda: client("logs").filter_log_events(
        logGroupName=f"/aws/events/{name}")["events"], "events in the log group")
    assert len(logged) == 2
    events.disable_rule(Name=f"{name}-0")
    put(events, name, state="ALARM")
    events.enable_rule(Name=f"{name}-0")
    put(events, name, state="ALARM", n=2)
    assert bodies(client("sqs"), url) == [{"state": "ALARM", "n": 2}]
    pages = events.get_paginator("list_rules").paginate(NamePrefix=name)
    assert [one["Name"] for page in pages for one in page["Rules"]] == [f"{name}-0", f"{name}-1"]
    assert events.list_rule_names_by_target(TargetArn=arn)["RuleNames"] == [f"{name}-0"]
    event = {"id": "1", "account": "2", "source": name, "time": "t", "region": "r",
             "resources": [], "detail-type": "d", "detail": {"state": "x"}}
    assert events.test_event_pattern(
        EventPattern=described["EventPattern"], Event=json.dumps(event))["Result"]
    for call in [
        lambda: events.put_rule(Name=name, ScheduleExpression="rate(5 minutes)"),
        lambda: events.put_rule(Name=name, EventPattern='{"a": "b"}'),
        lambda: events.delete_rule(Name=f"{name}-0"),
        lambda: events.put_targets(Rule=f"{name}-0", Targets=[
            {"Id": "l", "Arn": f"arn:aws:lambda:us-east-1:{support.ACCOUNT}:function:f"}]),
    ]:
        with pytest.raises(ClientError):
            call()


def test_an_event_that_was_taken_survives_a_kill(server, name):
    client = conftest.make_clients(boto3, server.url)
    events, sqs = client("events"), client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": arn_of(sqs, url)}])
    ids = {put(events, name, n=n) for n in range(5)}
    server.kill()
    server.start()
    ids.add(put(events, name, n=5))
    seen = set()

    def came():
        seen.update(event["id"] for event in bodies(sqs, url))
        return seen >= ids

    support.wait_for(came, "all events")
