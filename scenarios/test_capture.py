"""Data capture: calls read back from the bucket, as Model Monitor would."""

import base64
import datetime
import os
import re

import pytest

import asynchronous
import calls
import capturing
import conftest
import metrics
import support
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

# Answers with what it is asked, in parts if that is a list.
ECHO = """
import json

def model_fn(model_dir):
    return None

def input_fn(data, content_type):
    return data

def predict_fn(data, model):
    return data

def output_fn(data, accept):
    if data == "fail":
        raise ValueError("this call was to fail")
    if str(data).startswith("parts,"):
        return (part + ";" for part in data.split(",")), accept
    return data, accept
"""

SAMPLED_CALLS = int(os.environ.get("SAGEBRUSH_SAMPLED_CALLS", "400"))


def echo(deploy, **options):
    return deploy(support.inference_py(ECHO), image=support.PYTHON, **options)


def test_a_call_is_read_back_as_documented(deploy, client, bucket, sagemaker, runtime, s3):
    endpoint = echo(deploy, capture=capturing.config(bucket))
    seen = sagemaker.describe_endpoint(EndpointName=endpoint)["DataCaptureConfig"]
    assert (seen["CaptureStatus"], seen["CurrentSamplingPercentage"]) == ("Started", 100)
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    calls.invoke(
        runtime, endpoint, "1,2", "text/csv", "text/csv",
        InferenceId="inference-7", CustomAttributes="tenant=7",
    )
    [captured] = capturing.at_least(s3, bucket, endpoint, 1)
    metadata = captured.pop("eventMetadata")
    assert captured == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv", "mode": "INPUT", "data": "1,2",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "text/csv", "mode": "OUTPUT", "data": "1,2",
                "encoding": "CSV",
            },
        },
        "eventVersion": "0",
    }
    at = datetime.datetime.strptime(metadata.pop("inferenceTime"), "%Y-%m-%dT%H:%M:%SZ")
    assert before <= at.replace(tzinfo=datetime.UTC) <= datetime.datetime.now(datetime.UTC)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata.pop("eventId"))
    assert metadata == {"inferenceId": "inference-7", "customAttributes": ["tenant=7"]}
    [key] = capturing.keys(s3, bucket, endpoint)
    assert re.fullmatch(
        rf"captured/{endpoint}/AllTraffic/{at:%Y/%m/%d/%H}/\d\d-\d\d-\d\d\d-[0-9a-f-]{{36}}\.jsonl",
        key,
    )

    # Types that are not named are kept as base64; what the model failed is not kept.
    calls.invoke(runtime, endpoint, b"\x00\xff", "image/png", "image/png")
    calls.model_error(runtime, endpoint, "fail", content_type="text/csv")
    calls.ask(runtime, endpoint, {"a": 1}, accept="application/json")
    captured = capturing.at_least(s3, bucket, endpoint, 3)
    outputs = [line["captureData"]["endpointOutput"] for line in captured]
    encodings = sorted(output["encoding"] for output in outputs)
    assert encodings == ["BASE64", "CSV", "JSON"]
    [png] = [output for output in outputs if output["encoding"] == "BASE64"]
    assert base64.b64decode(png["data"]) == b"\x00\xff"
    assert all("inferenceId" not in line["eventMetadata"] for line in captured[1:])


def test_a_part_of_the_calls_is_sampled(deploy, bucket, runtime, s3, endpoint_url):
    config = capturing.config(bucket, percentage=50, modes=["Input"])
    endpoint = echo(deploy, capture=config)
    for i in range(SAMPLED_CALLS):
        calls.invoke(runtime, endpoint, str(i), "text/csv", "text/csv")

    def captured():
        found = capturing.lines(s3, bucket, endpoint)
        n = metrics.value(endpoint_url, "sagebrush_captured_total", endpoint=endpoint)
        return found if n == len(found) > SAMPLED_CALLS // 4 else None

    found = support.wait_for(captured, "the sampled calls", 12)
    # Five standard deviations: once in two million runs.
    margin = 5 * (SAMPLED_CALLS * 0.25) ** 0.5
    assert abs(len(found) - SAMPLED_CALLS / 2) < margin + 1, len(found)
    assert all(list(line["captureData"]) == ["endpointInput"] for line in found)
    inputs = [line["captureData"]["endpointInput"]["data"] for line in found]
    assert len(set(inputs)) == len(inputs)


def test_parts_are_captured_together(deploy, bucket, runtime, s3):
    endpoint = echo(deploy, capture=capturing.config(bucket))
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body="parts,1,2", ContentType="text/csv", Accept="text/csv"
    )
    said = b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"])
    assert said == b"parts;1;2;"
    [captured] = capturing.at_least(s3, bucket, endpoint, 1)
    output = captured["captureData"]["endpointOutput"]
    assert (output["data"], output["encoding"]) == ("parts;1;2;", "CSV")


def test_calls_of_a_serverless_variant_are_captured(deploy, bucket, runtime, s3):
    endpoint = echo(deploy, capture=capturing.config(bucket), serverless={})
    calls.invoke(runtime, endpoint, "4,2", content_type="text/csv", accept="text/csv")
    [captured] = capturing.at_least(s3, bucket, endpoint, 1)
    assert captured["captureData"]["endpointOutput"]["data"] == "4,2"


def test_asynchronous_calls_are_captured(deploy, bucket, runtime, s3):
    endpoint = echo(
        deploy, capture=capturing.config(bucket), asynchronous=asynchronous.config(bucket)
    )
    s3.put_object(Bucket=bucket, Key="in.csv", Body="4,2")
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket}/in.csv", ContentType="text/csv",
        Accept="text/csv",
    )
    kind, _ = asynchronous.result(s3, accepted)
    assert kind == "output"
    [captured] = capturing.at_least(s3, bucket, endpoint, 1)
    assert captured["captureData"]["endpointInput"]["data"] == "4,2"
    assert captured["captureData"]["endpointOutput"]["data"] == "4,2"
    assert captured["eventMetadata"]["inferenceId"] == accepted["InferenceId"]


def test_what_a_server_that_stops_has_captured_is_there(server, name):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket=name)
    endpoint = echo(Deployment(client, name, name), capture=capturing.config(name))
    calls.invoke(client("sagemaker-runtime"), endpoint, "1", "text/csv", "text/csv")
    assert server.stop() == 0
    server.start()
    [captured] = capturing.lines(client("s3"), name, endpoint)
    assert captured["captureData"]["endpointInput"]["data"] == "1"


def test_without_a_bucket_calls_are_answered_and_drops_are_counted(
    deploy, bucket, sagemaker, runtime, endpoint_url
):
    config = capturing.config(bucket) | {"DestinationS3Uri": f"s3://{bucket}-missing/c"}
    endpoint = echo(deploy, capture=config)
    calls.invoke(runtime, endpoint, "1", "text/csv", "text/csv")

    def dropped():
        return metrics.value(
            endpoint_url, "sagebrush_capture_dropped_total", endpoint=endpoint, reason="put"
        )

    assert support.wait_for(dropped, "the dropped call", 10) == 1

    stopped = deploy.config(suffix="-off", capture=capturing.config(bucket, enabled=False),
                            url=f"s3://{bucket}/{endpoint}/model.tar.gz", image=support.PYTHON)
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=stopped)
    assert deploy.settled(endpoint)["EndpointConfigName"] == stopped
    seen = sagemaker.describe_endpoint(EndpointName=endpoint)["DataCaptureConfig"]
    assert (seen["EnableCapture"], seen["CaptureStatus"]) == (False, "Stopped")
