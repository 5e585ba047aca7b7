"""Batch transform with boto3: what is read, what is written, and what is said of what failed."""

import gzip
import json
import time

import pytest
from botocore.exceptions import ClientError

import models
import support
from deployment import Deployment
from transforms import LENGTHS, Transforms, lengths, many_lines


@pytest.fixture
def transforms(client, bucket):
    return Transforms(client, bucket)


@pytest.fixture
def model(client, name, bucket):
    """`model(files)`: makes a model and returns its name."""
    deployment = Deployment(client, name, bucket)
    yield deployment.model
    deployment.clean()


def lengths_model(model, **options):
    return model({"code/inference.py": LENGTHS}, image=support.PYTHON, **options)


def test_rows_joined_with_their_inferences(transforms, model, name):
    made = model({"model.onnx": models.logistic()})
    rows = models.ROWS[:50]
    text = "".join(f"id{i},{models.csv([row])}\n" for i, row in enumerate(rows))
    transforms.put("in/iris.csv", text)
    transforms.create(
        name, made, BatchStrategy="MultiRecord",
        DataProcessing={
            "InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,5]",
        },
    )
    waiter = transforms.sagemaker.get_waiter("transform_job_completed_or_stopped")
    started = time.monotonic()
    waiter.wait(TransformJobName=name)
    assert time.monotonic() - started < 20, "the first look was not final"
    described = transforms.describe(name)
    assert described["TransformJobStatus"] == "Completed", described
    assert described["TransformJobArn"].endswith(f":transform-job/{name}")
    assert described["TransformEndTime"] >= described["TransformStartTime"]
    assert described["DataProcessing"]["JoinSource"] == "Input"
    assert transforms.keys("out/") == ["out/iris.csv.out"]
    written = transforms.get("out/iris.csv.out").decode().splitlines()
    labels, _ = models.reference(models.logistic(), rows)
    assert len(written) == len(rows)
    for i, line in enumerate(written):
        fields = line.split(",")
        assert fields[0] == f"id{i}"
        assert float(fields[1]) == labels[i]


def test_several_objects_below_a_prefix(transforms, model, name):
    made = lengths_model(model)
    texts = {f"{folder}part-{i}.csv": many_lines(40, i) for i in range(4) for folder in ("", "a/")}
    for key, text in texts.items():
        transforms.put(f"in/{key}", text)
    transforms.put("in/a/", b"")
    transforms.put("inside", "not below the prefix\n")
    transforms.put("in/empty.csv", b"")
    transforms.create(name, made, BatchStrategy="SingleRecord", instances=2)
    transforms.completed(name)
    assert set(transforms.keys("out/")) == {f"out/{key}.out" for key in [*texts, "empty.csv"]}
    for key, text in texts.items():
        assert transforms.get(f"out/{key}.out").decode() == lengths(text)
    assert transforms.get("out/empty.csv.out") == b""
    said = "\n".join(transforms.log(name))
    assert "MaxPayloadInMB=6, BatchStrategy=SINGLE_RECORD" in said
    assert f"s3://{transforms.bucket}/in/a/part-3.csv: written to" in said


def test_gzip_and_a_manifest(transforms, model, name):
    made = lengths_model(model)
    text = many_lines(500)
    transforms.put("data/x.csv.gz", gzip.compress(text.encode()))
    transforms.put("data/deep/y.csv.gz", gzip.compress(b"one\n") + gzip.compress(b"three\n"))
    transforms.put("data/left-out.csv.gz", b"no gzip")
    prefix = {"prefix": f"s3://{transforms.bucket}/data/"}
    manifest = json.dumps([prefix, "x.csv.gz", "deep/y.csv.gz"])
    transforms.put("list.manifest", manifest)
    transforms.create(name, made, source="list.manifest", kind="ManifestFile", gzip=True)
    transforms.completed(name)
    assert sorted(transforms.keys("out/")) == ["out/deep/y.csv.gz.out", "out/x.csv.gz.out"]
    assert transforms.get("out/x.csv.gz.out").decode() == lengths(text)
    assert transforms.get("out/deep/y.csv.gz.out") == b"3\n5\n"


def test_json_lines(transforms, model, name):
    made = lengths_model(model)
    transforms.put("in/x.jsonl", '{"id":1,"x":"ab"}\n\n{"id":2.50,"x":"abc"}\n')
    kind = "application/jsonlines"
    transforms.create(
        name, made, content_type=kind, accept=kind,
        DataProcessing={
            "InputFilter": "$.x", "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    )
    transforms.completed(name)
    assert transforms.get("out/x.jsonl.out").decode() == (
        '{"id":1,"SageMakerOutput":{"length": 4}}\n{"id":2.50,"SageMakerOutput":{"length": 5}}\n'
    )


def test_a_pipeline_and_records_of_tensorflow(transforms, model, name):
    code = {"code/inference.py": LENGTHS}
    made = model(containers=[{"files": code, "image": support.PYTHON} for _ in range(2)])
    written = bytes.fromhex("0500000000000000eab2043e") + b"hello" + b"\0\0\0\0"
    transforms.put("in/x.csv", "x" * 10 + "\n" + "x" * 1000 + "\n")
    transforms.put("bad/x.rec", written)
    transforms.create(name, made)
    transforms.completed(name)
    assert transforms.get("out/x.csv.out") == b"2\n4\n"
    transforms.create(f"{name}-bad", made, source="bad/", split="TFRecord")
    wanted = "bad/x.rec: record 1 is no TFRecord record: the checksum of its bytes is another"
    assert wanted in transforms.failed(f"{name}-bad")


def test_payloads_and_answers_are_captured(transforms, model, name):
    made = lengths_model(model)
    transforms.put("in/x.csv", "one\nthree\n")
    capture = {"DestinationS3Uri": f"s3://{transforms.bucket}/captured/",
               "GenerateInferenceId": True}
    transforms.create(name, made, DataCaptureConfig=capture)
    assert transforms.completed(name)["DataCaptureConfig"] == capture
    key, = transforms.keys("captured/")
    assert key.startswith(f"captured/{name}/20") and key.endswith("/x.csv.jsonl")
    line = json.loads(transforms.get(key))
    data = line["captureData"]
    assert (data["endpointInput"]["data"], data["endpointInput"]["encoding"]) == (
        "one\nthree", "CSV"
    )
    assert data["batchTransformOutput"]["data"] == "3\n5"
    assert {"eventId", "inferenceId", "inferenceTime"} == line["eventMetadata"].keys()


def test_one_bad_object_fails_the_job_and_good_outputs_stay(transforms, model, name):
    made = lengths_model(model)
    transforms.put("in/bad.csv", "good\nfail\n")
    transforms.put("in/good.csv", "good\n")
    transforms.create(
        name, made, BatchStrategy="SingleRecord",
        ModelClientConfig={"InvocationsMaxRetries": 1, "InvocationsTimeoutInSeconds": 30},
    )
    reason = transforms.failed(name)
    assert "1 of 2 objects failed" in reason
    assert f"s3://{transforms.bucket}/in/bad.csv: record 2: " in reason
    assert "a line says fail" in reason
    assert transforms.keys("out/") == ["out/good.csv.out"]
    assert sum("trying again" in line for line in transforms.log(name)) == 1


def test_what_cannot_be_read_or_written(transforms, model, name):
    made = lengths_model(model)
    transforms.put("in/x.csv", "a line\n")
    transforms.put("long/x.csv", "short\n" + "x" * (2 << 20))
    transforms.put("broken/x.rec", b"no magic number")
    transforms.put("zip/x.gz", b"no gzip")
    transforms.put("bad.manifest", "{}")
    at = f"s3://{transforms.bucket}"
    for at_fault, wanted in [
        ({"source": "nothing/"}, f'No S3 objects found under S3 URL "{at}/nothing/"'),
        ({"source": "long/", "MaxPayloadInMB": 1}, "long/x.csv: record 2 is longer than"),
        (
            {"source": "broken/", "split": "RecordIO"},
            "broken/x.rec: record 1 is no RecordIO record",
        ),
        ({"source": "zip/", "gzip": True}, "zip/x.gz: the object is not readable as gzip"),
        ({"source": "bad.manifest", "kind": "ManifestFile"}, "bad.manifest cannot be used"),
    ]:
        job = f"{name}-{len(str(at_fault))}"
        transforms.create(job, made, **at_fault)
        assert wanted in transforms.failed(job)
    transforms.bucket = "there-is-no-such-bucket"
    transforms.create(f"{name}-b", made)
    assert "there-is-no-such-bucket" in transforms.failed(f"{name}-b")


def test_what_is_refused_at_once(transforms, model, name, sagemaker):
    made = lengths_model(model)

    def refused(wanted, **members):
        with pytest.raises(ClientError, match=wanted) as caught:
            transforms.create(name, members.pop("model", made), **members)
        assert caught.value.response["Error"]["Code"] == "ValidationException"

    refused("Could not find model", model="no-such-model")
    refused("must not exceed 100", MaxConcurrentTransforms=20, MaxPayloadInMB=6)
    refused("S3DataType AugmentedManifestFile", kind="AugmentedManifestFile")
    refused("same ContentType and Accept", accept="application/json",
            DataProcessing={"JoinSource": "Input"})
    refused("same SplitType and AssembleWith", assemble="None",
            DataProcessing={"JoinSource": "Input"})
    refused("rows have columns and no names", DataProcessing={"InputFilter": "$.a"})
    refused("not a supported JSONPath", DataProcessing={"OutputFilter": "$[?(@.a)]"})
    refused("less than or equal to 16", Environment={f"V{i}": "x" for i in range(17)})
    for operation in (sagemaker.describe_transform_job, sagemaker.stop_transform_job):
        with pytest.raises(ClientError, match="Could not find transform job"):
            operation(TransformJobName="no-such-job")


def test_a_job_is_stopped_promptly_listed_and_tagged(transforms, model, name, sagemaker):
    made = lengths_model(model, environment={"NAP": "0.2"})
    transforms.put("in/x.csv", many_lines(1000))
    transforms.create(
        name, made, BatchStrategy="SingleRecord", Environment={"NAP": "5"},
        Tags=[{"Key": "team", "Value": "blue"}],
    )
    with pytest.raises(ClientError, match="Cannot create already existing transform job"):
        transforms.create(name, made)
    described = transforms.describe(name)
    assert described["TransformJobStatus"] == "InProgress"
    tags = sagemaker.list_tags(ResourceArn=described["TransformJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "blue"}]
    sagemaker.stop_transform_job(TransformJobName=name)
    started = time.monotonic()
    described = transforms.ended(name)
    assert time.monotonic() - started < 5
    assert described["TransformJobStatus"] == "Stopped"
    assert "TransformEndTime" in described
    assert transforms.keys("out/") == []
    with pytest.raises(ClientError, match="in status Stopped"):
        sagemaker.stop_transform_job(TransformJobName=name)
    listed = sagemaker.list_transform_jobs(NameContains=name, StatusEquals="Stopped")
    summary, = listed["TransformJobSummaries"]
    assert summary["TransformJobName"] == name
