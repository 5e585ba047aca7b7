"""CloudWatch by boto3: metrics are put, asked for, listed, and outlive a kill; dashboards."""

import datetime
import json

import boto3
import pytest
from botocore.exceptions import ClientError

from conftest import make_clients
from support import wait_for

PROTOCOLS = ["json", "smithy-rpc-v2-cbor", "query"]
MINUTE = datetime.timedelta(minutes=1)


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


def this_minute():
    return datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)


def put(cloudwatch, namespace, *data):
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=list(data))


def metric_query(namespace, metric, stat, query="m", **more):
    asked = {"Namespace": namespace, "MetricName": metric}
    return {"Id": query, "MetricStat": {"Metric": asked, "Period": 60, "Stat": stat}} | more


def values(cloudwatch, *queries, minutes=10, **more):
    """The values of each query that returns data, oldest first."""
    end = this_minute() + MINUTE
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=list(queries), StartTime=end - minutes * MINUTE, EndTime=end,
        ScanBy="TimestampAscending", **more,
    )
    assert {result["StatusCode"] for result in answer["MetricDataResults"]} <= {"Complete"}
    return {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}


def refused(code, call, **arguments):
    """The message that `call` is refused with."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    assert refusal.value.response["Error"]["Code"] == code, refusal.value
    return refusal.value.response["Error"]["Message"]


def test_what_is_put_is_told_by_its_statistics(any_cloudwatch, name):
    at = this_minute() - 5 * MINUTE
    dimensions = [{"Name": "EndpointName", "Value": "é <&>"}]
    put(
        any_cloudwatch, name,
        {"MetricName": "Latency", "Timestamp": at, "Unit": "Microseconds", "Dimensions": dimensions,
         "Values": [float(value) for value in range(1, 101)], "Counts": [2.0] * 100},
        {"MetricName": "Latency", "Timestamp": at + MINUTE, "Unit": "Microseconds",
         "Dimensions": dimensions,
         "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 5}},
    )
    asked = {
        "Namespace": name, "MetricName": "Latency", "Dimensions": dimensions, "Period": 60,
        "StartTime": at, "EndTime": at + 2 * MINUTE,
    }
    every = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    answer = any_cloudwatch.get_metric_statistics(Statistics=every, **asked)
    first, second = answer["Datapoints"]
    assert first == {
        "Timestamp": at, "SampleCount": 200.0, "Average": 50.5, "Sum": 10100.0, "Minimum": 1.0,
        "Maximum": 100.0, "Unit": "Microseconds",
    }
    assert (second["Average"], second["Timestamp"]) == (2.5, at + MINUTE)
    answer = any_cloudwatch.get_metric_statistics(
        ExtendedStatistics=["p50", "p99", "tm90", "PR(:50.5)"], **asked
    )
    extended = answer["Datapoints"][0]["ExtendedStatistics"]
    assert extended == {
        "p50": pytest.approx(50, rel=0.01), "p99": pytest.approx(99, rel=0.01),
        "tm90": pytest.approx(45.5, rel=0.01), "PR(:50.5)": pytest.approx(50, rel=0.02),
    }
    listed = any_cloudwatch.list_metrics(Namespace=name, RecentlyActive="PT3H")["Metrics"]
    assert listed == [{"Namespace": name, "MetricName": "Latency", "Dimensions": dimensions}]


def test_an_input_that_boto3_packs_is_read(any_cloudwatch, name):
    sent = [value + 0.5 for value in range(150)]
    data = [{"MetricName": f"m{i}", "Values": sent, "Counts": sent} for i in range(100)]
    put(any_cloudwatch, name, *data)
    found = values(any_cloudwatch, metric_query(name, "m99", "SampleCount"))
    assert sum(found["m"]) == sum(sent)


def test_a_wrong_value_is_told_in_cloudwatchs_words(any_cloudwatch, name):
    def check(code, message, **datum):
        data = [{"MetricName": "m", **datum}]
        told = refused(code, any_cloudwatch.put_metric_data, Namespace=name, MetricData=data)
        assert message in told

    nan = "The value NaN for parameter MetricData.member.1.Value is invalid."
    check("InvalidParameterValue", nan, Value=float("nan"))
    check("InvalidParameterValue", "two weeks", Value=1.0, Timestamp=datetime.datetime(2001, 1, 1))
    check("InvalidParameterCombination", "mutually exclusive", Value=1.0, Values=[1.0])
    check("MissingParameter", "MetricData.member.1.Value is required")
    check("ValidationError", "failed to satisfy constraint", Value=1.0, Unit="Parsecs")
    with pytest.raises(any_cloudwatch.exceptions.InvalidParameterValueException):
        put(any_cloudwatch, name, {"MetricName": "m", "Value": float("inf")})


def test_math_over_metrics(any_cloudwatch, name):
    at = this_minute() - 3 * MINUTE
    for minute, (calls, errors) in enumerate([(100.0, 1.0), (200.0, 10.0)]):
        put(
            any_cloudwatch, name,
            {"MetricName": "Calls", "Timestamp": at + minute * MINUTE, "Value": calls},
            {"MetricName": "Errors", "Timestamp": at + minute * MINUTE, "Value": errors},
        )
    queries = [
        metric_query(name, "Calls", "Sum", "calls", ReturnData=False),
        metric_query(name, "Errors", "Sum", "errors", ReturnData=False),
        {"Id": "rate", "Expression": "100 * errors / calls", "Label": "Error rate"},
        {"Id": "high", "Expression": "IF(rate > 2, 1, 0)"},
        {"Id": "all", "Expression": "SUM(METRICS())"},
        {"Id": "filled", "Expression": "FILL(calls, 0)"},
    ]
    found = values(any_cloudwatch, *queries, minutes=4)
    assert found == {
        "rate": [1.0, 5.0], "high": [0.0, 1.0], "all": [101.0, 210.0],
        "filled": [100.0, 200.0, 0.0, 0.0],
    }
    searching = [{"Id": "e", "Expression": "SEARCH('{N} x', 'Sum', 60)"}]
    with pytest.raises(ClientError, match="SEARCH is not supported"):
        values(any_cloudwatch, *searching)


def test_pages_by_boto3s_paginators(cloudwatch, name):
    dimensions = [[{"Name": "I", "Value": str(i)}] for i in range(600)]
    put(cloudwatch, name, *({"MetricName": "m", "Value": 1.0, "Dimensions": it} for it in dimensions))
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=name)
    listed = [metric["Dimensions"] for page in pages for metric in page["Metrics"]]
    assert sorted(map(str, listed)) == sorted(map(str, dimensions))
    at = this_minute() - 5 * MINUTE
    data = [{"MetricName": "n", "Timestamp": at + i * MINUTE, "Value": float(i)} for i in range(5)]
    put(cloudwatch, name, *data)
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[metric_query(name, "n", "Sum")], StartTime=at, EndTime=at + 5 * MINUTE,
        MaxDatapoints=2,
    )
    found = [value for page in pages for value in page["MetricDataResults"][0]["Values"]]
    assert found == [4.0, 3.0, 2.0, 1.0, 0.0]


def test_metrics_of_a_second(cloudwatch, name):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    for ago in (1, 2, 11):
        at = now - datetime.timedelta(seconds=ago)
        put(cloudwatch, name, {"MetricName": "m", "Timestamp": at, "Value": 1.0, "StorageResolution": 1})
    query = metric_query(name, "m", "Sum")
    query["MetricStat"]["Period"] = 1
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[query], StartTime=now - MINUTE, EndTime=now, ScanBy="TimestampDescending",
    )
    found = answer["MetricDataResults"][0]
    assert [(now - at).total_seconds() for at in found["Timestamps"]] == [1, 2, 11]


def test_dashboards(any_cloudwatch, name):
    body = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": "é"}}]})
    any_cloudwatch.put_dashboard(DashboardName=name, DashboardBody=body)
    found = any_cloudwatch.get_dashboard(DashboardName=name)
    assert (found["DashboardName"], found["DashboardBody"]) == (name, body)
    entry, = any_cloudwatch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
    assert (entry["DashboardArn"], entry["Size"]) == (found["DashboardArn"], len(body))
    any_cloudwatch.delete_dashboards(DashboardNames=[name])
    with pytest.raises(any_cloudwatch.exceptions.ResourceNotFound):
        any_cloudwatch.get_dashboard(DashboardName=name)
    with pytest.raises(any_cloudwatch.exceptions.DashboardInvalidInputError):
        any_cloudwatch.put_dashboard(DashboardName=name, DashboardBody="{")


def test_metrics_outlive_a_kill(server, name):
    at = this_minute() - MINUTE

    def cloudwatch():
        return make_clients(boto3, server.url)("cloudwatch")

    def sums():
        return values(cloudwatch(), metric_query(name, "m", "Sum"))["m"]

    put(cloudwatch(), name, {"MetricName": "m", "Timestamp": at, "Value": 3.0})
    journal = server.data_dir / "metrics"
    wait_for(lambda: any(it.stat().st_size for it in journal.glob("journal-*")), "a journal")
    server.kill()
    server.start()
    assert sums() == [3.0]
    put(cloudwatch(), name, {"MetricName": "m", "Timestamp": at, "Value": 4.0})
    assert server.stop() == 0
    server.start()
    assert sums() == [7.0]
