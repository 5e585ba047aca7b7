"""What the scenarios of asynchronous inference share."""

import json

from botocore.exceptions import ClientError

import support

# What a call asks of the model is in its payload.
MODEL = """
import json, os, signal, time

def model_fn(model_dir):
    return model_dir

def input_fn(data, content_type):
    return (data, content_type)

def predict_fn(given, model):
    data, content_type = given
    if len(data) > 100_000:
        return {"length": len(data)}
    asked = json.loads(data)
    time.sleep(asked.get("seconds", 0))
    if asked.get("fail"):
        raise ValueError("this call was to fail")
    if asked.get("die"):
        # Once, or each time: the marker outlives the process.
        marker = f"/tmp/{asked['die']}"
        if asked.get("always") or not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"echo": asked, "content_type": content_type}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def config(bucket, *, concurrent=None, **notification):
    output = {
        "S3OutputPath": f"s3://{bucket}/out/",
        "S3FailurePath": f"s3://{bucket}/failed",
    }
    if notification:
        output["NotificationConfig"] = notification
    clients = {"MaxConcurrentInvocationsPerInstance": concurrent} if concurrent else {}
    return {"OutputConfig": output} | ({"ClientConfig": clients} if clients else {})


def place(uri):
    """Bucket and key of an `s3://` URI."""
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    return {"Bucket": bucket, "Key": key}


def read(s3, uri):
    """The object, or `None` if it is not there."""
    try:
        return s3.get_object(**place(uri))
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket"), error
        return None


def result(s3, accepted, deadline=60):
    """`("output" or "failure", the object)` of an accepted call, once it is there."""

    def look():
        for kind, uri in (
            ("output", accepted["OutputLocation"]), ("failure", accepted["FailureLocation"])
        ):
            if (found := read(s3, uri)) is not None:
                return kind, found
        return None

    return support.wait_for(look, f"a result of {accepted['InferenceId']}", deadline)


class Ears:
    """A topic for results and one for failures, both with a queue that hears them."""

    def __init__(self, client, name):
        self.sns, self.sqs = client("sns"), client("sqs")
        self.good, self.good_queue = self._pair(f"{name}-good")
        self.bad, self.bad_queue = self._pair(f"{name}-bad")

    def _pair(self, name):
        topic = self.sns.create_topic(Name=name)["TopicArn"]
        queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        self.sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"],
            ReturnSubscriptionArn=True,
        )
        return topic, queue

    def hear(self, queue):
        """The next result that the queue is told of."""

        def receive():
            return self.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages")

        [message] = support.wait_for(receive, "a message")
        self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return json.loads(json.loads(message["Body"])["Message"])
