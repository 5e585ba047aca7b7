"""Messages by e-mail, handed to a mail server of the test with TLS."""

import base64
import email
import email.policy
import re
import socketserver
import ssl
import threading
import urllib.request
from pathlib import Path

import pytest

import conftest
import support

boto3 = pytest.importorskip("boto3")
from botocore.exceptions import ClientError  # noqa: E402

TLS = Path(__file__).parent / "tls"


class MailServer:
    """Takes mails by STARTTLS and a login; `refusals` answers that many with 451 first."""

    def __init__(self):
        self.mails, self.logins, self.refusals = [], [], 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "webhook.pem")
        mail_server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.secured = False
                self.file = self.request.makefile("rwb")
                self.say("220 here")
                while line := self.file.readline().decode().strip():
                    if line == "QUIT":
                        return self.say("221 bye")
                    self.answer(line)

            def answer(self, line):
                if line == "STARTTLS":
                    self.say("220 go on")
                    self.request = context.wrap_socket(self.request, server_side=True)
                    self.file, self.secured = self.request.makefile("rwb"), True
                elif line.startswith("EHLO"):
                    self.say("250-here\r\n250 STARTTLS")
                elif not self.secured:
                    self.say("530 STARTTLS first")
                elif line.startswith("AUTH PLAIN "):
                    mail_server.logins.append(base64.b64decode(line.split()[-1]))
                    self.say("235 welcome")
                elif line.startswith("RCPT") and mail_server.refusals:
                    mail_server.refusals -= 1
                    self.say("451 later")
                elif line == "DATA":
                    self.say("354 go on")
                    lines = iter(self.file.readline, b".\r\n")
                    mail_server.mails.append(
                        email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    )
                    self.say("250 taken")
                else:
                    self.say("250 ok")

            def say(self, line):
                self.file.write(f"{line}\r\n".encode())
                self.file.flush()

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, address, n):
        """The first `n` mails to an address."""

        def found():
            mails = [mail for mail in self.mails if address in mail["To"]]
            return mails if len(mails) >= n else None

        return support.wait_for(found, f"{n} mails to {address}")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mail():
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def server(tmp_path, mail):
    server = support.Server(tmp_path / "data")
    server.environment |= {
        "SSL_CERT_FILE": str(TLS / "authority.pem"),
        "SAGEBRUSH_SMTP_HOST": "localhost",
        "SAGEBRUSH_SMTP_PORT": str(mail.port),
        "SAGEBRUSH_SMTP_TLS": "required",
        "SAGEBRUSH_SMTP_USER": "sagebrush",
        "SAGEBRUSH_SMTP_PASSWORD": "open sesame",
        "SAGEBRUSH_SMTP_FROM": "alarms@here.test",
    }
    server.start()
    yield server
    server.stop()


def test_an_address_that_agreed_gets_mails(server, mail):
    sns = conftest.make_clients(boto3, server.url)("sns")
    topic = sns.create_topic(Name="mails")["TopicArn"]
    mail.refusals = 1
    answer = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ann@there.test")
    assert answer["SubscriptionArn"] == "pending confirmation"
    sns.publish(TopicArn=topic, Message="too early")
    [question] = mail.of("ann@there.test", 1)
    assert question["Subject"] == "AWS Notification - Subscription Confirmation"
    assert question["From"] == "alarms@here.test"
    assert mail.logins[0] == b"\0sagebrush\0open sesame"
    follow(question)
    sns.publish(TopicArn=topic, Subject="Wärme", Message="zu heiß\n.\n" + "x" * 2000)
    _, told = mail.of("ann@there.test", 2)
    assert told["Subject"] == "Wärme"
    text = told.get_content().replace("\r\n", "\n")
    assert text.startswith("zu heiß\n.\n" + "x" * 2000 + "\n")
    follow(told)  # To unsubscribe.
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def follow(mail):
    [link] = re.findall(r"http://\S+", mail.get_content())
    with urllib.request.urlopen(link) as answer:
        assert answer.status == 200


def test_json_by_mail_and_what_is_refused(server, mail):
    sns = conftest.make_clients(boto3, server.url)("sns")
    topic = sns.create_topic(Name="mails")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email-json", Endpoint="bob@there.test")
    [question] = mail.of("bob@there.test", 1)
    assert '"Type":"SubscriptionConfirmation"' in question.get_content()

    def refused(text, **more):
        with pytest.raises(ClientError) as refusal:
            sns.subscribe(**({"TopicArn": topic, "Protocol": "email"} | more))
        assert refusal.value.response["Error"]["Code"] == "InvalidParameter"
        assert text in refusal.value.response["Error"]["Message"]

    refused("an e-mail address", Endpoint="nobody")
    refused("an e-mail address", Endpoint="a@b\r\nRCPT TO:<c@d>")
    refused("raw delivery", Endpoint="a@b.test", Attributes={"RawMessageDelivery": "true"})


def test_without_a_mail_server_mails_are_refused(client, name):
    sns = client("sns")
    topic = sns.create_topic(Name=name)["TopicArn"]
    with pytest.raises(ClientError) as refusal:
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ann@there.test")
    assert "smtp-host" in refusal.value.response["Error"]["Message"]
    sns.delete_topic(TopicArn=topic)
