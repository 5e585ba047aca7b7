"""What is refused, and in which words."""

import datetime
import json

import pytest
from botocore.exceptions import ClientError

import support
import models
import raw


def error_of(call):
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response


def control(url, operation, body, **how):
    """A raw call of the control plane: status and the error's two fields."""
    status, headers, answer = raw.signed(
        url, "sagemaker", "POST", "/", body, raw.target(operation), **how
    )
    assert headers["content-type"].startswith("application/x-amz-json-1.1"), headers
    parsed = json.loads(answer)
    return status, parsed["__type"].split("#")[-1], parsed.get("message", parsed.get("Message"))


# Requests that are not well formed.


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"ModelName": 3}', b"\xff\xfe"])
def test_a_body_that_is_not_the_model_s_json(endpoint_url, body):
    status, code, _ = control(endpoint_url, "DescribeModel", body)
    assert (status, code in ("SerializationException", "ValidationException")) == (400, True), code


def test_an_operation_that_nobody_knows(endpoint_url):
    status, code, message = control(endpoint_url, "MakeCoffee", b"{}")
    assert (status, code) == (400, "UnknownOperationException")
    assert "MakeCoffee" in message


def test_an_operation_of_sagemaker_that_is_not_served(sagemaker):
    code, _, _ = error_of(lambda: sagemaker.list_pipelines())
    assert code == "UnknownOperationException"


def test_a_target_of_another_service(endpoint_url):
    headers = {"X-Amz-Target": "Nonsense.Op", "Content-Type": "application/x-amz-json-1.1"}
    status, _, body = raw.signed(endpoint_url, "sagemaker", "POST", "/", b"{}", headers)
    assert status == 400
    assert b"UnknownOperationException" in body


def test_a_required_member_is_missing(endpoint_url):
    status, code, message = control(endpoint_url, "DescribeModel", b"{}")
    assert (status, code) == (400, "ValidationException")
    assert "modelName" in message or "ModelName" in message


# Names.


HOSTILE = ["../x", "a/b", "a\x00b", "x" * 64, "x" * 10_000, "-a", "a-", "ä", "", "a b", "a\n"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda name: repr(name[:12]))
def test_hostile_names_are_refused(endpoint_url, hostile):
    body = json.dumps({"ModelName": hostile, "ExecutionRoleArn": support.ROLE})
    for operation in ("CreateModel", "DescribeModel"):
        status, code, message = control(endpoint_url, operation, body.encode())
        assert (status, code) == (400, "ValidationException"), message


@pytest.mark.parametrize("path", ["..%2Fx", "a%00b", "x" * 10_000, "%2e%2e", "-a"])
def test_hostile_names_in_the_path(endpoint_url, path):
    headers = {"content-type": "text/csv"}
    status, _, body = raw.signed(
        endpoint_url, "sagemaker", "POST", f"/endpoints/{path}/invocations", b"1", headers
    )
    assert 400 <= status < 500, (status, body)


def test_unknown_names(sagemaker, runtime, name):
    for call, what in [
        (lambda: sagemaker.describe_model(ModelName=name), "Could not find model"),
        (lambda: sagemaker.delete_model(ModelName=name), "Could not find model"),
        (lambda: sagemaker.describe_endpoint(EndpointName=name), "Could not find endpoint"),
        (lambda: sagemaker.delete_endpoint(EndpointName=name), "Could not find endpoint"),
        (
            lambda: sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name),
            "Could not find endpoint",
        ),
        (
            lambda: sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name),
            "Could not find endpoint configuration",
        ),
    ]:
        code, message, response = error_of(call)
        assert (code, message[: len(what)]) == ("ValidationException", what)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    code, message, _ = error_of(lambda: runtime.invoke_endpoint(EndpointName=name, Body=b"1"))
    assert (code, name in message) == ("ValidationError", True)


# Calls that a model cannot answer.


@pytest.fixture(scope="module")
def iris(client, endpoint_url):
    from deployment import Deployment

    s3, bucket = client("s3"), "errors-scenario"
    s3.create_bucket(Bucket=bucket)
    deployment = Deployment(client, bucket, bucket)
    yield deployment({"model.onnx": models.logistic()})
    deployment.clean()
    s3.delete_object(Bucket=bucket, Key=f"{bucket}/model.tar.gz")
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a,b,c,d", "text/csv"),
        (b"1,2,3", "text/csv"),
        (b"1,2,3,4\n1,2", "text/csv"),
        (b"", "text/csv"),
        (b"{", "application/json"),
        (b'{"instances": [[1, 2]]}', "application/json"),
        (b'{"instances": "x"}', "application/json"),
        (b"not npy", "application/x-npy"),
        (b"\x93NUMPY\x01\x00\xff\xff", "application/x-npy"),
        (b"1,2,3,4", "application/x-unheard-of"),
        (b"\x89PNG\r\n\x1a\nbroken", "image/png"),
    ],
)
def test_a_bad_payload_is_the_client_s_fault(runtime, iris, body, content_type):
    code, message, response = error_of(
        lambda: runtime.invoke_endpoint(EndpointName=iris, Body=body, ContentType=content_type)
    )
    assert code == "ModelError", message
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert 400 <= response["OriginalStatusCode"] < 500, response
    assert response["OriginalMessage"]
    assert message.startswith(f"Received client error ({response['OriginalStatusCode']})"), message
    assert response["LogStreamArn"]


def test_nan_in_csv(runtime, iris):
    """NaN is a number for a model: the answer is an answer or a refusal, never a failure."""
    call = lambda: runtime.invoke_endpoint(
        EndpointName=iris, Body=b"NaN,1,2,3", ContentType="text/csv", Accept="application/json"
    )
    try:
        answer = call()["Body"].read()
    except ClientError as error:
        assert 400 <= error.response["OriginalStatusCode"] < 500, error.response
    else:
        def refuse(word):
            raise AssertionError(f"{word} is not JSON: {answer!r}")

        json.loads(answer, parse_constant=refuse)


def test_7_mb_is_too_much(endpoint_url, iris):
    """boto3 checks nothing here; AWS refuses more than 6,291,456 bytes."""
    status, _, body = raw.signed(
        endpoint_url, "sagemaker", "POST", f"/endpoints/{iris}/invocations", b"1" * 7_000_000,
        {"content-type": "text/csv"},
    )
    assert (status, b"6291456" in body) in [(400, True), (413, True)], (status, body)


def test_an_accept_that_nothing_makes(runtime, iris):
    code, _, response = error_of(
        lambda: runtime.invoke_endpoint(
            EndpointName=iris, Body=b"1,2,3,4", ContentType="text/csv", Accept="image/png"
        )
    )
    assert (code, 400 <= response["OriginalStatusCode"] < 500) == ("ModelError", True)


# Models that cannot be served.


def failed(deploy, sagemaker):
    seen = deploy.settled()
    assert seen["EndpointStatus"] == "Failed", seen
    assert deploy.name in [
        entry["EndpointName"]
        for entry in sagemaker.list_endpoints(NameContains=deploy.name, StatusEquals="Failed")["Endpoints"]
    ]
    return seen["FailureReason"]


def test_a_truncated_archive(sagemaker, deploy):
    whole = support.archive({"model.onnx": models.forest()})
    deploy.create(archive=whole[: len(whole) // 2])
    assert "archive" in failed(deploy, sagemaker).lower()


def test_an_archive_that_is_none(sagemaker, deploy):
    deploy.create(archive=b"hello")
    assert failed(deploy, sagemaker)


def test_an_archive_without_a_model(sagemaker, deploy):
    deploy.create({"notes.txt": b"x"})
    reason = failed(deploy, sagemaker)
    assert "model.onnx" in reason and "notes.txt" in reason


def test_a_model_that_is_no_onnx(sagemaker, deploy):
    deploy.create({"model.onnx": b"not a model"})
    assert "model.onnx" in failed(deploy, sagemaker)


@pytest.mark.parametrize("escape", ["../outside.txt", "/etc/outside.txt", "a/../../outside.txt"])
def test_an_archive_that_climbs_out(sagemaker, deploy, escape):
    deploy.create({"model.onnx": models.logistic(), escape: b"x"})
    assert failed(deploy, sagemaker)


def test_a_missing_artifact(sagemaker, deploy, bucket):
    model = deploy.model(url=f"s3://{bucket}/gone.tar.gz")
    variant = {
        "VariantName": "v", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"
    }
    sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=[variant])
    deploy.configs.append(model)
    sagemaker.create_endpoint(EndpointName=model, EndpointConfigName=model)
    deploy.endpoints.append(model)
    assert "gone.tar.gz" in failed(deploy, sagemaker)


def test_an_unknown_image(sagemaker, deploy):
    deploy.create({"model.onnx": models.logistic()}, image="registry.example/no/such:1")
    assert "registry.example/no/such:1" in failed(deploy, sagemaker)


def test_a_failed_endpoint_can_only_be_deleted(sagemaker, runtime, deploy):
    name = deploy.create({"notes.txt": b"x"})
    failed(deploy, sagemaker)
    code, _, _ = error_of(lambda: runtime.invoke_endpoint(EndpointName=name, Body=b"1"))
    assert code == "ValidationError"
    code, _, _ = error_of(
        lambda: sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
    )
    assert code == "ValidationException"
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)


# Who may call.


def describe(url, **how):
    return control(url, "ListModels", b"{}", **how)


def test_a_wrong_secret(endpoint_url):
    status, code, _ = describe(endpoint_url, secret="wrong")
    assert (status in (400, 403), code) == (True, "InvalidSignatureException")


def test_an_unknown_key(endpoint_url):
    status, code, _ = describe(endpoint_url, key="nobody")
    assert (status in (400, 403), code) == (True, "UnrecognizedClientException")


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_clock_that_is_wrong(endpoint_url, minutes):
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    status, code, _ = describe(endpoint_url, date=then)
    assert status in (400, 403)
    assert code in ("InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed")


def test_a_clock_that_is_a_little_wrong(endpoint_url):
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    status, _, _ = raw.signed(
        endpoint_url, "sagemaker", "POST", "/", b"{}", raw.target("ListModels"), date=then
    )
    assert status == 200


def test_no_signature(endpoint_url):
    status, _, body = raw.send(endpoint_url, "POST", "/", b"{}", raw.target("ListModels"))
    assert status in (400, 403)
    assert b"MissingAuthenticationToken" in body


def test_a_changed_body(endpoint_url):
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("POST", endpoint_url + "/", headers=raw.target("ListModels"), data=b"{}")
    SigV4Auth(Credentials(support.KEY, support.SECRET), "sagemaker", support.REGION).add_auth(request)
    headers = dict(request.headers.items())
    status, _, body = raw.send(endpoint_url, "POST", "/", b'{"MaxResults":1}', headers)
    assert status in (400, 403)
    assert b"InvalidSignatureException" in body


# Many at once.


def test_one_of_sixteen_creates_wins(client, name):
    """All others are told so in the words that the SDKs look for."""
    clients = [client("sagemaker", config={"user_agent_extra": str(i)}) for i in range(16)]

    def create(i):
        return clients[i].create_model(
            ModelName=name, ExecutionRoleArn=support.ROLE, PrimaryContainer={"Image": support.IMAGE}
        )

    outcomes = support.in_threads(16, create)
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1, outcomes
    for outcome in outcomes:
        if not isinstance(outcome, dict):
            error = outcome.response["Error"]
            assert error["Code"] == "ValidationException"
            assert error["Message"].startswith("Cannot create already existing model"), error
    clients[0].delete_model(ModelName=name)


def test_endpoint_names_that_differ_in_case_only(sagemaker, deploy):
    name = deploy({"model.onnx": models.logistic()})
    code, message, _ = error_of(
        lambda: sagemaker.create_endpoint(EndpointName=name.upper(), EndpointConfigName=name)
    )
    assert (code, message.startswith("Cannot create already existing endpoint")) == (
        "ValidationException", True,
    )
