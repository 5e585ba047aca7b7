"""Sticky sessions: calls of a session go to the instance that began it."""

import datetime
import re
import urllib.parse

import pytest

import calls
import support

PROGRAM = support.ROOT / "scenarios/byo/sessions.py"

# The same as the program does, in `inference.py`.
MODEL = """
import uuid

SESSIONS = {}

def model_fn(model_dir):
    return SESSIONS

def transform_fn(sessions, data, content_type, accept, context):
    session = context.session_id
    if session == "NEW_SESSION":
        session = str(uuid.uuid4())
        sessions[session] = []
        expires = "2000" if data == "old" else "2100"
        context.set_response_header(
            0, "X-Amzn-SageMaker-New-Session-Id", f"{session}; Expires={expires}-01-01T00:00:00Z"
        )
    words = sessions.get(session, ["no session"])
    words.append(data)
    if data == "close":
        del sessions[session]
        context.set_response_header(0, "X-Amzn-SageMaker-Closed-Session-Id", session)
    return " ".join(words), "text/csv"
"""
# What a worker holds in its memory, no other one has.
ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}


@pytest.fixture(params=["program", "inference.py"])
def endpoint(request, deploy):
    """An endpoint of three instances."""
    if request.param == "program":
        argument = urllib.parse.quote(str(PROGRAM), safe="/")
        return deploy(image=f"process://{support.python()}?arg={argument}", instances=3)
    return stateful(deploy, instances=3)


def stateful(deploy, **options):
    return deploy(
        support.inference_py(MODEL), image=support.PYTHON, environment=ONE_WORKER, **options
    )


def say(runtime, endpoint, text, session):
    return calls.invoke(runtime, endpoint, text, "text/csv", SessionId=session)


def refusal(runtime, endpoint, session):
    return calls.validation_error(
        runtime, endpoint, "more", content_type="text/csv", SessionId=session
    )


def begin(runtime, endpoint, text="one"):
    """Begins a session; returns its id."""
    answer = say(runtime, endpoint, text, "NEW_SESSION")
    assert answer["Body"].decode() == text
    session, expires = re.fullmatch(r"(.+); Expires=(.+)", answer["NewSessionId"]).groups()
    datetime.datetime.strptime(expires, "%Y-%m-%dT%H:%M:%SZ")
    return session


def test_a_session_stays_where_it_began(endpoint, runtime):
    sessions = [begin(runtime, endpoint) for _ in range(6)]
    for session in sessions:
        assert say(runtime, endpoint, "two", session)["Body"] == b"one two"
    for session in sessions:
        answer = say(runtime, endpoint, "three", session)
        assert answer["Body"] == b"one two three"
        assert "NewSessionId" not in answer
    closed = sessions[0]
    answer = say(runtime, endpoint, "close", closed)
    assert (answer["Body"], answer["ClosedSessionId"]) == (b"one two three close", closed)
    message = refusal(runtime, endpoint, closed)
    assert message.startswith(f"Session {closed} of endpoint {endpoint} not found")
    assert say(runtime, endpoint, "four", sessions[1])["Body"] == b"one two three four"


def test_sessions_end_with_their_time_and_their_instance(deploy, sagemaker, runtime):
    endpoint = stateful(deploy)
    old = begin(runtime, endpoint, "old")
    assert "not found" in refusal(runtime, endpoint, old)
    session = begin(runtime, endpoint)
    assert say(runtime, endpoint, "two", session)["Body"] == b"one two"
    assert "not found" in refusal(runtime, endpoint, "made-up")

    other = deploy.config(
        support.inference_py(MODEL), suffix="-other", image=support.PYTHON,
        environment=ONE_WORKER,
    )
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
    assert deploy.settled(endpoint)["EndpointConfigName"] == other
    assert "is gone" in refusal(runtime, endpoint, session)
    assert begin(runtime, endpoint)


def test_parts_in_a_session(deploy, runtime):
    endpoint = stateful(deploy, instances=2)
    session = begin(runtime, endpoint)
    asked = {"EndpointName": endpoint, "Body": "two", "ContentType": "text/csv"}
    answer = runtime.invoke_endpoint_with_response_stream(**asked, SessionId=session)
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    assert b"".join(parts) == b"one two"
    with pytest.raises(runtime.exceptions.ValidationError) as caught:
        runtime.invoke_endpoint_with_response_stream(**asked, SessionId="NEW_SESSION")
    assert "InvokeEndpoint" in str(caught.value)
