"""Invocations and their errors, as the scenarios look at them."""

import json

import pytest
from botocore.exceptions import ClientError

import support

JSON = "application/json"


def invoke(runtime, endpoint, body=b"{}", content_type=JSON, accept=None, **more):
    """The answer to one call; its `Body` is read already."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if accept is not None:
        more["Accept"] = accept
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType=content_type, **more
    )
    answer["Body"] = answer["Body"].read()
    return answer


def ask(runtime, endpoint, body=b"{}", **more):
    """What a model that answers JSON says."""
    return json.loads(invoke(runtime, endpoint, body, **more)["Body"])


def refused(runtime, endpoint, body=b"{}", **more):
    """The response to a call that must fail."""
    with pytest.raises(ClientError) as caught:
        invoke(runtime, endpoint, body, **more)
    return caught.value.response


def model_error(runtime, endpoint, body=b"{}", status=500, **more):
    """The `OriginalMessage` of a call that the model must fail with `status`."""
    response = refused(runtime, endpoint, body, **more)
    assert response["Error"]["Code"] == "ModelError", response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status, response
    return response["OriginalMessage"]


def validation_error(runtime, endpoint, body=b"{}", **more):
    """The message of a call that must be refused before it reaches a model."""
    response = refused(runtime, endpoint, body, **more)
    assert response["Error"]["Code"] == "ValidationError", response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return response["Error"]["Message"]


def log_lines(client, endpoint):
    """All that the endpoint's containers printed so far."""
    logs = client("logs")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}"
    )
    try:
        return [event["message"] for page in pages for event in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []  # Nothing was printed yet.


def wait_until_printed(client, endpoint, text):
    """Waits for a line that contains `text`; returns all lines."""

    def lines():
        found = log_lines(client, endpoint)
        return found if any(text in line for line in found) else None

    return support.wait_for(lines, f"{text!r} in the log", 10)
