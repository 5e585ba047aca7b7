"""Asynchronous inference by plain boto3."""

import base64
import json
import re
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

import asynchronous
import models
import support

JSON = "application/json"


@pytest.fixture
def endpoint(deploy, bucket):
    """A Python endpoint that does what its calls ask."""
    return deploy(
        support.inference_py(asynchronous.MODEL), image=support.PYTHON,
        asynchronous=asynchronous.config(bucket, concurrent=4),
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "2"},
    )


def ask(runtime, endpoint, body, **more):
    return runtime.invoke_endpoint_async(
        EndpointName=endpoint, Body=json.dumps(body).encode(), ContentType=JSON, **more
    )


def answer(s3, accepted, want="output"):
    kind, found = asynchronous.result(s3, accepted)
    body = found["Body"].read()
    assert kind == want, body
    return body


def test_predict(deploy, bucket, s3, sagemaker, runtime):
    asked = asynchronous.config(bucket)
    endpoint = deploy({"model.onnx": models.logistic()}, asynchronous=asked)
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["AsyncInferenceConfig"] == asked
    sagemaker.delete_endpoint_config(EndpointConfigName=endpoint)
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["AsyncInferenceConfig"] == asked
    s3.put_object(Bucket=bucket, Key="in/rows.csv", Body=models.csv(models.ROWS[:7]))
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket}/in/rows.csv", ContentType="text/csv",
        Accept="text/csv",
    )
    assert accepted["ResponseMetadata"]["HTTPStatusCode"] == 202
    inference_id = accepted["InferenceId"]
    assert accepted["OutputLocation"] == f"s3://{bucket}/out/{inference_id}.out"
    assert accepted["FailureLocation"] == f"s3://{bucket}/failed/{inference_id}-error.out"
    kind, found = asynchronous.result(s3, accepted)
    assert kind == "output"
    assert found["ContentType"].startswith("text/csv")
    assert len(models.csv_values(found["Body"].read())) == 7


def test_inline_payload_and_names_of_ones_own(endpoint, bucket, s3, runtime):
    accepted = ask(
        runtime, endpoint, {"n": 1}, InferenceId="mine-1", S3OutputPathExtension="tenant/a",
        Filename="result.json",
    )
    assert accepted["InferenceId"] == "mine-1"
    assert accepted["OutputLocation"] == f"s3://{bucket}/out/tenant/a/result.json"
    assert accepted["FailureLocation"] == f"s3://{bucket}/failed/mine-1-error.out"
    said = json.loads(answer(s3, accepted))
    assert said == {"echo": {"n": 1}, "content_type": JSON}
    largest = {"fill": "x" * (128_000 - len('{"fill": ""}'))}
    assert json.loads(answer(s3, ask(runtime, endpoint, largest)))["length"] == 128_000


def test_a_failure_is_an_object_with_the_models_own_words(endpoint, s3, runtime):
    said = answer(s3, ask(runtime, endpoint, {"fail": True}), "failure")
    assert b"this call was to fail" in said


def test_a_call_may_take_no_longer_than_it_says(endpoint, s3, runtime):
    slow = ask(runtime, endpoint, {"seconds": 30}, InvocationTimeoutSeconds=1)
    assert b"timed out" in answer(s3, slow, "failure")


def test_a_call_whose_worker_dies_is_tried_again(endpoint, name, s3, runtime):
    once = ask(runtime, endpoint, {"die": name})
    assert json.loads(answer(s3, once))["echo"] == {"die": name}
    always = ask(runtime, endpoint, {"die": f"{name}-2", "always": True})
    assert b"signal 9" in answer(s3, always, "failure")


@pytest.mark.parametrize(
    ("bucket_of", "key", "words"),
    [(None, "nowhere.csv", b"no such object"), ("no-such-bucket", "a", b"no such bucket")],
)
def test_an_input_that_is_not_there(endpoint, bucket, s3, runtime, bucket_of, key, words):
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket_of or bucket}/{key}"
    )
    assert words in answer(s3, accepted, "failure")


def test_an_input_that_is_deleted_before_its_turn(endpoint, bucket, s3, runtime):
    slow = [ask(runtime, endpoint, {"seconds": 1}) for _ in range(8)]
    s3.put_object(Bucket=bucket, Key="in/gone", Body=b"{}")
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket}/in/gone"
    )
    s3.delete_object(Bucket=bucket, Key="in/gone")
    assert b"no such object" in answer(s3, accepted, "failure")
    for one in slow:
        answer(s3, one)


def test_an_output_that_cannot_be_stored(deploy, bucket, s3, runtime):
    config = asynchronous.config(bucket)
    config["OutputConfig"]["S3OutputPath"] = "s3://no-such-bucket/out"
    endpoint = deploy({"model.onnx": models.logistic()}, asynchronous=config)
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, Body=models.csv(models.ROWS[:1]), ContentType="text/csv"
    )
    said = answer(s3, accepted, "failure")
    assert b"The output cannot be stored" in said


def test_a_large_input_is_not_kept_in_memory(server, tmp_path):
    import boto3

    import conftest
    from deployment import Deployment

    client = conftest.make_clients(boto3, server.url)
    s3, runtime = client("s3"), client("sagemaker-runtime")
    s3.create_bucket(Bucket="large")
    endpoint = Deployment(client, "large", "large")(
        support.inference_py(asynchronous.MODEL), image=support.PYTHON,
        asynchronous=asynchronous.config("large"),
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    s3.upload_file(str(path), "large", "in/large")
    answer(s3, ask(runtime, endpoint, {}))
    before = memory(server.process.pid)
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation="s3://large/in/large", ContentType="text/plain"
    )
    most, found = before, None
    while found is None:
        most = max(most, memory(server.process.pid))
        found = asynchronous.read(s3, accepted["OutputLocation"])
        failed = asynchronous.read(s3, accepted["FailureLocation"])
        assert failed is None, failed["Body"].read()
    assert json.loads(found["Body"].read()) == {"length": 200 << 20}
    assert most - before < 64 << 20, (before, most)


def memory(pid):
    """The bytes of a process that are not a file's."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1]) << 10


def refused(operation, **what):
    with pytest.raises(ClientError) as caught:
        operation(**what)
    error = caught.value.response["Error"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


def test_what_is_refused_at_the_door(endpoint, deploy, bucket, runtime):
    other = deploy({"model.onnx": models.logistic()}, suffix="-real-time")
    at = f"s3://{bucket}/k"
    for what, words in [
        ({}, "Exactly one of Body and InputLocation"),
        ({"Body": b"1", "InputLocation": at}, "Exactly one of Body and InputLocation"),
        ({"Body": b"1" * 128_001}, "less than or equal to 128000"),
        ({"InputLocation": "https://example.com/a"}, "is not served here"),
        ({"InputLocation": f"s3://{bucket}"}, "no object in it"),
        ({"InputLocation": "nonsense"}, "'inputLocation' failed"),
        ({"InputLocation": at, "RequestTTLSeconds": 59}, "greater than or equal to 60"),
        ({"InputLocation": at, "InvocationTimeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"InputLocation": at, "Filename": "a.b.c"}, "'filename' failed"),
    ]:
        code, said = refused(unchecked(runtime).invoke_endpoint_async, EndpointName=endpoint, **what)
        assert code == "ValidationError" and words in said, (what, said)
    code, said = refused(runtime.invoke_endpoint, EndpointName=endpoint, Body=b"1")
    assert code == "ValidationError" and "takes asynchronous calls only" in said
    code, said = refused(runtime.invoke_endpoint_async, EndpointName=other, Body=b"1")
    assert code == "ValidationError" and "takes no asynchronous calls" in said
    code, said = refused(runtime.invoke_endpoint_async, EndpointName="nobody", Body=b"1")
    assert code == "ValidationError" and "not found" in said


def unchecked(runtime):
    """A client that sends what its model forbids."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "sagemaker-runtime", endpoint_url=runtime.meta.endpoint_url, region_name=support.REGION,
        aws_access_key_id=support.KEY, aws_secret_access_key=support.SECRET,
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )


def test_configurations_that_are_refused(bucket, name, sagemaker, deploy):
    def create(config):
        return refused(
            sagemaker.create_endpoint_config, EndpointConfigName=name, AsyncInferenceConfig=config,
            ProductionVariants=[{
                "VariantName": "v", "ModelName": model, "InitialInstanceCount": 1,
                "InstanceType": "ml.m5.large",
            }],
        )

    model = deploy.model({"model.onnx": models.logistic()})
    output = {"S3OutputPath": f"s3://{bucket}"}
    for config, words in [
        ({"OutputConfig": {}}, "no S3OutputPath"),
        ({"OutputConfig": {"S3OutputPath": "https://b/c"}}, "must be an S3 URI"),
        ({"OutputConfig": output | {"S3FailurePath": "https://b"}}, "S3FailurePath"),
        (
            {"OutputConfig": output, "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1001}},
            "less than or equal to 1000",
        ),
        (
            {"OutputConfig": output | {"NotificationConfig": {"SuccessTopic": "mail"}}},
            "regular expression pattern",
        ),
    ]:
        code, said = create(config)
        assert code == "ValidationException" and words in said, (config, said)


def test_multi_model_endpoints_are_not_asynchronous(deploy, bucket, sagemaker):
    config = deploy.config(
        url=f"s3://{bucket}/models/", multi_model=True, asynchronous=asynchronous.config(bucket)
    )
    code, said = refused(
        sagemaker.create_endpoint, EndpointName=config, EndpointConfigName=config
    )
    assert code == "ValidationException" and "AsyncInferenceConfig is not served" in said


def test_calls_of_an_endpoint_that_is_deleted_fail(endpoint, deploy, s3, runtime):
    calls = [ask(runtime, endpoint, {"seconds": 2}) for _ in range(12)]
    deploy.delete(endpoint)
    results = [asynchronous.result(s3, accepted) for accepted in calls]
    failures = [found["Body"].read() for kind, found in results if kind == "failure"]
    assert failures, results
    assert all(b"The endpoint was deleted" in said for said in failures), failures


def test_what_is_counted_and_logged(endpoint, client, endpoint_url, s3, runtime):
    good, bad = ask(runtime, endpoint, {}), ask(runtime, endpoint, {"fail": True})
    answer(s3, good), answer(s3, bad, "failure")

    def counted():
        with urllib.request.urlopen(f"{endpoint_url}/metrics") as page:
            text = page.read().decode()
        ours = [line for line in text.splitlines() if f'endpoint="{endpoint}"' in line]
        value = {line.split("{")[0]: line.rsplit(" ", 1)[1] for line in ours}
        assert "sagebrush_invocations_total" not in value
        wanted = {
            "sagebrush_async_invocations_processed_total": "1",
            "sagebrush_async_invocation_failures_total": "1",
            "sagebrush_async_approximate_backlog_size": "0",
            "sagebrush_async_has_backlog_without_capacity": "0",
            "sagebrush_async_time_in_backlog_seconds_count": "2",
        }
        return wanted.items() <= value.items()

    support.wait_for(counted, "the metrics")
    logs = client("logs")

    def logged():
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        events = logs.filter_log_events(logGroupName=group)["events"]
        lines = [one["message"] for one in events if one["logStreamName"].endswith("/data-log")]
        return any(good["InferenceId"] in line and "succeeded" in line for line in lines) and any(
            bad["InferenceId"] in line and "this call was to fail" in line for line in lines
        )

    support.wait_for(logged, "the lines in the log")


def test_results_are_told(deploy, bucket, name, client, s3, runtime):
    ears = asynchronous.Ears(client, name)
    config = asynchronous.config(
        bucket, SuccessTopic=ears.good, ErrorTopic=ears.bad,
        IncludeInferenceResponseIn=["SUCCESS_NOTIFICATION_TOPIC"],
    )
    endpoint = deploy(
        support.inference_py(asynchronous.MODEL), image=support.PYTHON, asynchronous=config
    )
    s3.put_object(Bucket=bucket, Key="in/1", Body=b'{"n": 1}')
    good = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket}/in/1", ContentType=JSON
    )
    told = ears.hear(ears.good_queue)
    body = answer(s3, good)
    assert base64.b64decode(told.pop("responseBody")["content"]) == body
    received, ended = told.pop("receivedTime"), told.pop("eventTime")
    assert received <= ended
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ended)
    assert told == {
        "awsRegion": support.REGION,
        "invocationStatus": "Completed",
        "requestParameters": {
            "contentType": JSON, "endpointName": endpoint,
            "inputLocation": f"s3://{bucket}/in/1",
        },
        "responseParameters": {"contentType": JSON, "outputLocation": good["OutputLocation"]},
        "inferenceId": good["InferenceId"],
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    bad = ask(runtime, endpoint, {"fail": True})
    told = ears.hear(ears.bad_queue)
    assert told["inferenceId"] == bad["InferenceId"]
    assert told["invocationStatus"] == "Failed"
    assert "this call was to fail" in told["failureReason"]
    assert "responseBody" not in told


def test_without_keys_of_ones_own(endpoint, bucket, client, runtime):
    """A payload that is larger than a call's may be, and its result, through presigned URLs."""
    s3 = client("s3")
    large = b"1," * 5_000_000
    at = {"Bucket": bucket, "Key": "in/large", "ContentType": "text/csv"}
    put = s3.generate_presigned_url("put_object", at, 60)
    headers = {"Content-Type": "text/csv"}
    urllib.request.urlopen(urllib.request.Request(put, large, headers, method="PUT")).close()
    accepted = runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{bucket}/in/large", ContentType="text/csv"
    )
    place = asynchronous.place(accepted["OutputLocation"])
    get = s3.generate_presigned_url("get_object", place, 60)

    def look():
        try:
            with urllib.request.urlopen(get) as found:
                return found.read()
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None

    assert json.loads(support.wait_for(look, "the output")) == {"length": len(large)}
