"""Topics and queues by an unmodified boto3."""

import hashlib
import hmac
import http.server
import json
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest

import conftest
import support

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError, ReadTimeoutError  # noqa: E402

QUICK = json.dumps({"healthyRetryPolicy": {
    "numRetries": 3, "numNoDelayRetries": 1, "minDelayTarget": 1, "maxDelayTarget": 1,
}})


class Webhook:
    """A server that keeps what is posted, and answers as it is told."""

    def __init__(self, certificate=None):
        self.posted = []
        self.answers = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posted.append((dict(self.headers.items()), body))
                status = hook.answers.pop(0) if hook.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, kind):
        return [(headers, body) for headers, body in self.posted
                if headers["x-amz-sns-message-type"] == kind]

    def messages(self):
        return [json.loads(body)["Message"] for _, body in self.of("Notification")]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhook():
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture
def sns(client):
    return client("sns")


@pytest.fixture
def sqs(client):
    return client("sqs")


@pytest.fixture
def topic(sns, name):
    arn = sns.create_topic(Name=name)["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def queue(sqs, name):
    """`queue()` or `queue("other", VisibilityTimeout="1")`: the URL of a new queue."""
    made = []

    def make(suffix="queue", **attributes):
        made.append(sqs.create_queue(QueueName=f"{name}-{suffix}", Attributes=attributes)["QueueUrl"])
        return made[-1]

    yield make
    for url in made:
        sqs.delete_queue(QueueUrl=url)


def arn_of(sqs, url):
    names = ["QueueArn"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]["QueueArn"]


def receive(sqs, url, **more):
    wish = {"WaitTimeSeconds": 10, "MaxNumberOfMessages": 10} | more
    return sqs.receive_message(QueueUrl=url, **wish).get("Messages", [])


def drain(sqs, url, bodies):
    """Receives and deletes until all of `bodies` were there; others may be, too."""
    seen = defaultdict(int)

    def more():
        for message in receive(sqs, url, WaitTimeSeconds=1):
            seen[message["Body"]] += 1
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies <= seen.keys()

    support.wait_for(more, f"{len(bodies)} messages", 60)
    return seen


def subscribe(sns, topic, webhook, **attributes):
    """Subscribes the webhook and follows the link, which nobody signs."""
    answer = sns.subscribe(TopicArn=topic, Protocol=webhook.url.partition(":")[0],
                           Endpoint=webhook.url,
                           Attributes=attributes, ReturnSubscriptionArn=True)
    asked = support.wait_for(lambda: webhook.of("SubscriptionConfirmation"), "the question")
    with urllib.request.urlopen(json.loads(asked[-1][1])["SubscribeURL"]) as confirmed:
        assert answer["SubscriptionArn"] in confirmed.read().decode()
    return answer["SubscriptionArn"]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    assert refusal.value.response["Error"]["Code"] == code
    return refusal.value


def test_a_queue_keeps_what_it_is_sent(sqs, queue, name):
    url = queue(VisibilityTimeout="60")
    assert url.endswith(f"/{support.ACCOUNT}/{name}-queue")
    assert sqs.get_queue_url(QueueName=f"{name}-queue")["QueueUrl"] == url
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [url]
    # boto3 checks the sums of what it sends and receives.
    attributes = {
        "text": {"DataType": "String", "StringValue": "é"},
        "number": {"DataType": "Number", "StringValue": "3.5"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="é" * 10, MessageAttributes=attributes)
    assert sent["MD5OfMessageBody"] == hashlib.md5(("é" * 10).encode()).hexdigest()
    [got] = receive(sqs, url, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert (got["MessageId"], got["Body"]) == (sent["MessageId"], "é" * 10)
    assert got["MessageAttributes"] == attributes
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "0"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert receive(sqs, url, WaitTimeSeconds=0) == []
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
    [again] = receive(sqs, url, AttributeNames=["ApproximateReceiveCount"])
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_batches_have_an_outcome_for_each_entry(sqs, queue):
    url = queue()
    entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(9)]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=[*entries, {"Id": "bad", "MessageBody": ""}])
    assert len(sent["Successful"]) == 9
    assert [(it["Id"], it["SenderFault"]) for it in sent["Failed"]] == [("bad", True)]
    got = receive(sqs, url)
    assert sorted(message["Body"] for message in got) == [f"m{n}" for n in range(9)]
    handles = [{"Id": str(n), "ReceiptHandle": it["ReceiptHandle"]} for n, it in enumerate(got)]
    hidden = [{**handle, "VisibilityTimeout": 100} for handle in handles]
    assert len(sqs.change_message_visibility_batch(QueueUrl=url, Entries=hidden)["Successful"]) == 9
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=handles)["Successful"]) == 9
    refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", sqs.send_message_batch,
            QueueUrl=url, Entries=[entries[0], entries[0]])


def test_what_is_wrong_has_the_name_that_clients_know(sqs, sns, queue, topic):
    url = queue()
    error = refused("AWS.SimpleQueueService.NonExistentQueue", sqs.send_message,
                    QueueUrl=url + "-not", MessageBody="m")
    assert isinstance(error, sqs.exceptions.QueueDoesNotExist)
    refused("QueueAlreadyExists", sqs.create_queue, QueueName=url.rsplit("/", 1)[1],
            Attributes={"VisibilityTimeout": "7"})
    refused("InvalidParameterValue", sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=url, ReceiptHandle="x")
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="m" * 262_145)
    refused("AWS.SimpleQueueService.UnsupportedOperation", sqs.create_queue, QueueName="a.fifo",
            Attributes={"FifoQueue": "true"})
    error = refused("NotFound", sns.publish, TopicArn=topic + "-not", Message="m")
    assert isinstance(error, sns.exceptions.NotFoundException)
    refused("InvalidParameter", sns.publish, TopicArn=topic, Message="m" * 262_145)
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="https",
            Endpoint="http://127.0.0.1/")
    refused("InvalidParameter", sns.set_topic_attributes, TopicArn=topic,
            AttributeName="KmsMasterKeyId", AttributeValue="x")
    refused("InvalidParameter", sns.confirm_subscription, TopicArn=topic, Token="x")


def test_a_receiver_waits_for_a_message(sqs, queue, client):
    url = queue()
    got = []
    other = client("sqs", config={"read_timeout": 30})
    waiting = threading.Thread(target=lambda: got.extend(receive(other, url, WaitTimeSeconds=20)))
    start = time.monotonic()
    waiting.start()
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=1)
    waiting.join()
    assert [message["Body"] for message in got] == ["late"]
    assert 0.9 < time.monotonic() - start < 15


def test_who_hangs_up_takes_no_message_along(sqs, queue, client):
    url = queue()
    hasty = client("sqs", config={"read_timeout": 1})
    with pytest.raises(ReadTimeoutError):
        receive(hasty, url, WaitTimeSeconds=20)
    sqs.send_message(QueueUrl=url, MessageBody="m")
    assert [message["Body"] for message in receive(sqs, url)] == ["m"]


def test_a_server_that_stops_lets_nobody_wait(server):
    sqs = conftest.make_clients(boto3, server.url)("sqs")
    url = sqs.create_queue(QueueName="waited")["QueueUrl"]
    got = []
    waiting = threading.Thread(target=lambda: got.append(receive(sqs, url, WaitTimeSeconds=20)))
    waiting.start()
    time.sleep(0.3)  # Nothing tells from outside that a call waits.
    start = time.monotonic()
    assert server.stop() == 0
    waiting.join()
    assert got == [[]] and time.monotonic() - start < 8


def test_an_unfinished_message_comes_back_and_is_put_aside_in_the_end(sqs, queue):
    dead = queue("dead")
    policy = {"deadLetterTargetArn": arn_of(sqs, dead), "maxReceiveCount": 2}
    url = queue(VisibilityTimeout="1", RedrivePolicy=json.dumps(policy))
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    for n in ("1", "2"):
        [got] = receive(sqs, url, AttributeNames=["ApproximateReceiveCount"])
        assert got["Attributes"]["ApproximateReceiveCount"] == n
    assert receive(sqs, url, WaitTimeSeconds=2) == []
    [got] = receive(sqs, dead, AttributeNames=["All"])
    assert (got["Body"], got["Attributes"]["DeadLetterQueueSourceArn"]) == (
        "poison", arn_of(sqs, url))
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


def test_a_purged_queue_is_empty_and_of_further_use(sqs, queue):
    url = queue()
    sqs.send_message(QueueUrl=url, MessageBody="before")
    sqs.purge_queue(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody="after")
    assert [message["Body"] for message in receive(sqs, url)] == ["after"]


def test_topics_are_listed_tagged_and_described(sns, topic, name):
    assert sns.create_topic(Name=name)["TopicArn"] == topic
    pages = sns.get_paginator("list_topics").paginate()
    assert topic in [it["TopicArn"] for page in pages for it in page["Topics"]]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Results")
    attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (attributes["DisplayName"], attributes["Owner"]) == ("Results", support.ACCOUNT)
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "b"}])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "a", "Value": "b"}]
    sns.untag_resource(ResourceArn=topic, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == []


def test_a_message_comes_to_every_subscription(sns, sqs, topic, queue, webhook):
    plain, raw = queue(), queue("raw")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn_of(sqs, plain))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn_of(sqs, raw),
                  Attributes={"RawMessageDelivery": "true"})
    subscription = subscribe(sns, topic, webhook)
    attributes = {"kind": {"DataType": "String", "StringValue": "result"}}
    sent = sns.publish(TopicArn=topic, Subject="S", Message="m\n<&>", MessageAttributes=attributes)

    [got] = receive(sqs, plain)
    body = json.loads(got["Body"])
    assert (body["Type"], body["Message"], body["Subject"]) == ("Notification", "m\n<&>", "S")
    assert (body["TopicArn"], body["MessageId"]) == (topic, sent["MessageId"])
    assert body["MessageAttributes"] == {"kind": {"Type": "String", "Value": "result"}}
    [got] = receive(sqs, raw, MessageAttributeNames=["All"])
    assert (got["Body"], got["MessageAttributes"]) == ("m\n<&>", attributes)
    [(headers, posted)] = support.wait_for(lambda: webhook.of("Notification"), "the webhook")
    posted = json.loads(posted)
    assert posted["Message"] == body["Message"] and posted["Timestamp"] == body["Timestamp"]
    assert headers["x-amz-sns-subscription-arn"] == subscription
    assert headers["x-amz-sns-message-id"] == sent["MessageId"]

    # The link at the end of the message ends the subscription.
    urllib.request.urlopen(posted["UnsubscribeURL"]).close()
    left = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert sorted(it["Protocol"] for it in left) == ["sqs", "sqs"]


def test_what_is_posted_is_signed(sns, topic, webhook):
    subscribe(sns, topic, webhook)
    sns.publish(TopicArn=topic, Message="m")
    [(headers, body)] = support.wait_for(lambda: webhook.of("Notification"), "the webhook")
    secret = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SagebrushSigningSecret"]
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-sagebrush-signature"] == f"sha256={expected}"


def test_who_has_not_confirmed_gets_nothing(sns, topic, webhook):
    answer = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=webhook.url)
    assert answer["SubscriptionArn"] == "pending confirmation"
    asked = support.wait_for(lambda: webhook.of("SubscriptionConfirmation"), "the question")
    [listed] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert listed["SubscriptionArn"] == "PendingConfirmation"
    sns.publish(TopicArn=topic, Message="too early")
    token = json.loads(asked[0][1])["Token"]
    arn = sns.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    sns.publish(TopicArn=topic, Message="in time")
    support.wait_for(webhook.messages, "the webhook")
    assert webhook.messages() == ["in time"]
    # Without a signature nobody but the owner ends it.
    url = f"{sns.meta.endpoint_url}/?Action=Unsubscribe&SubscriptionArn={arn['SubscriptionArn']}"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url)
    assert refusal.value.code == 403
    sns.unsubscribe(SubscriptionArn=arn["SubscriptionArn"])
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_a_webhook_that_fails_is_asked_again(sns, topic, webhook):
    subscribe(sns, topic, webhook, DeliveryPolicy=QUICK)
    webhook.answers = [500, 503]
    sns.publish(TopicArn=topic, Message="m")
    support.wait_for(lambda: len(webhook.messages()) == 3, "the third attempt")
    ids = {headers["x-amz-sns-message-id"] for headers, _ in webhook.of("Notification")}
    assert len(ids) == 1


@pytest.mark.parametrize("answers", [[500] * 4, [302], [404]])
def test_what_cannot_be_delivered_is_put_aside(sns, sqs, topic, queue, webhook, answers):
    dead = queue("dead")
    policy = json.dumps({"deadLetterTargetArn": arn_of(sqs, dead)})
    subscribe(sns, topic, webhook, DeliveryPolicy=QUICK, RedrivePolicy=policy)
    webhook.answers = list(answers)
    sns.publish(TopicArn=topic, Message="m")
    [got] = receive(sqs, dead, WaitTimeSeconds=20)
    assert json.loads(got["Body"])["Message"] == "m"
    assert len(webhook.messages()) == len(answers)


def test_one_dead_webhook_holds_nobody_up(sns, sqs, topic, queue, webhook):
    url = queue()
    subscribe(sns, topic, webhook)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn_of(sqs, url),
                  Attributes={"RawMessageDelivery": "true"})
    webhook.close()
    bodies = {f"m{n}" for n in range(50)}
    for start in range(0, 50, 10):
        entries = [{"Id": str(n), "Message": f"m{n}"} for n in range(start, start + 10)]
        assert len(sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)["Successful"]) == 10
    assert drain(sqs, url, bodies).keys() == bodies


def test_a_webhook_with_tls_must_have_a_certificate_that_the_system_trusts(tmp_path):
    """The keys in `tls/` are for this test and good for nothing else."""
    tls = Path(__file__).parent / "tls"
    hook = Webhook(tls / "webhook.pem")
    server = support.Server(tmp_path / "data")
    server.environment["SSL_CERT_FILE"] = str(tls / "authority.pem")
    server.start()
    stranger = support.Server(tmp_path / "other").start()
    try:
        sns = conftest.make_clients(boto3, server.url)("sns")
        topic = sns.create_topic(Name="tls")["TopicArn"]
        subscribe(sns, topic, hook)
        sns.publish(TopicArn=topic, Message="told in private")
        support.wait_for(lambda: hook.messages() == ["told in private"], "the message")
        n_posted = len(hook.posted)
        sns = conftest.make_clients(boto3, stranger.url)("sns")
        topic = sns.create_topic(Name="tls")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=hook.url)

        def has_failed():
            with urllib.request.urlopen(f"{stranger.url}/metrics") as metrics:
                return re.search(rb"\nsagebrush_messages_failed_attempts_total [1-9]", metrics.read())

        support.wait_for(has_failed, "an attempt that fails")
        assert len(hook.posted) == n_posted
    finally:
        server.stop()
        stranger.stop()
        hook.close()


def test_kill_loses_nothing_that_was_acknowledged(server, webhook):
    clients = conftest.make_clients(boto3, server.url)
    sns, sqs = clients("sns"), clients("sqs")
    topic = sns.create_topic(Name="kept")["TopicArn"]
    url = sqs.create_queue(QueueName="kept", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn_of(sqs, url),
                  Attributes={"RawMessageDelivery": "true"})
    subscribe(sns, topic, webhook)
    webhook.answers = [500] * 100_000
    acknowledged = set()
    for round_ in range(3):
        stop = threading.Event()

        def publish(worker, round_=round_, stop=stop):
            own = conftest.make_clients(boto3, server.url)("sns")
            n = 0
            while not stop.is_set():
                body = f"{round_}-{worker}-{n}"
                try:
                    own.publish(TopicArn=topic, Message=body)
                except Exception:
                    return  # Cut off: not acknowledged.
                acknowledged.add(body)
                n += 1

        workers = [threading.Thread(target=publish, args=(worker,)) for worker in range(4)]
        for worker in workers:
            worker.start()
        wanted = 40 * (round_ + 1)
        support.wait_for(lambda wanted=wanted: len(acknowledged) > wanted, "messages")
        server.kill()
        stop.set()
        for worker in workers:
            worker.join()
        server.start()
    webhook.answers = []
    sqs = conftest.make_clients(boto3, server.url)("sqs")
    drain(sqs, url, acknowledged)
    support.wait_for(lambda: acknowledged <= set(webhook.messages()), "the webhook", 60)

    def is_noted():
        with urllib.request.urlopen(f"{server.url}/metrics") as metrics:
            return b"sagebrush_messages_waiting 0\n" in metrics.read()

    support.wait_for(is_noted, "the end of all deliveries")


def test_what_was_received_stays_hidden_after_a_kill(server):
    clients = conftest.make_clients(boto3, server.url)
    sqs = clients("sqs")
    url = sqs.create_queue(QueueName="held", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    for body in ("held", "free"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    [held] = receive(sqs, url, MaxNumberOfMessages=1)
    server.kill()
    server.start()
    sqs = conftest.make_clients(boto3, server.url)("sqs")
    [free] = receive(sqs, url)
    assert {held["Body"], free["Body"]} == {"held", "free"}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    names = ["ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    assert counts == {names[0]: "1"}
