"""CloudWatch by boto3: metrics are put, over each protocol that a client may speak."""

import datetime

import boto3
import pytest
from botocore.exceptions import ClientError

from conftest import make_clients


PROTOCOLS = ["json", "smithy-rpc-v2-cbor", "query"]


@pytest.fixture
def cloudwatch(client):
    return client("cloudwatch")


@pytest.fixture(params=PROTOCOLS)
def any_cloudwatch(request, endpoint_url, monkeypatch):
    """A client of each protocol of the service's model; boto3 by itself takes one of them."""
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (request.param,))
    made = make_clients(boto3, endpoint_url)("cloudwatch")
    assert made.meta.service_model.resolved_protocol == request.param
    return made


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def put(cloudwatch, namespace, *data):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=list(data))


def refused(code, call, **arguments):
    """The message that `call` is refused with."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    assert refusal.value.response["Error"]["Code"] == code, refusal.value
    return refusal.value.response["Error"]["Message"]


def test_an_input_that_boto3_packs_is_read(any_cloudwatch, name):
    values = [value + 0.5 for value in range(150)]
    data = [{"MetricName": f"m{i}", "Values": values, "Counts": values} for i in range(100)]
    put(any_cloudwatch, name, *data)


def test_a_wrong_value_is_told_in_cloudwatchs_words(any_cloudwatch, name):
    cloudwatch = any_cloudwatch

    def check(code, message, **datum):
        data = [{"MetricName": "m", **datum}]
        told = refused(code, cloudwatch.put_metric_data, Namespace=name, MetricData=data)
        assert message in told

    check("InvalidParameterValue", "The value NaN for parameter MetricData.member.1.Value is invalid.",
          Value=float("nan"))
    check("InvalidParameterValue", "two weeks", Value=1.0, Timestamp=datetime.datetime(2001, 1, 1))
    check("InvalidParameterValue", "same size", Values=[1.0], Counts=[1.0, 2.0])
    check("InvalidParameterValue", "StorageResolution", Value=1.0, StorageResolution=7)
    check("InvalidParameterCombination", "mutually exclusive", Value=1.0, Values=[1.0])
    check("MissingParameter", "MetricData.member.1.Value is required")
    check("ValidationError", "failed to satisfy constraint", Value=1.0, Unit="Parsecs")
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException):
        put(cloudwatch, name, {"MetricName": "m", "Value": float("inf")})
