"""Transform jobs by plain boto3, over a model that a deployment made."""

import io

from botocore.exceptions import ClientError

import support

# Answers each line with its number of characters; a line `fail` is an error of the model.
LENGTHS = """
import json, os, time

def model_fn(model_dir):
    return float(os.environ.get("NAP", "0"))

def input_fn(data, content_type):
    return data if isinstance(data, str) else data.decode()

def predict_fn(data, nap):
    time.sleep(nap)
    lines = data.split("\\n")
    if "fail" in lines:
        raise ValueError("a line says fail")
    return [len(line) for line in lines]

def output_fn(lengths, accept):
    if accept == "application/jsonlines":
        return "\\n".join(json.dumps({"length": length}) for length in lengths)
    return "\\n".join(map(str, lengths))
"""


class Transforms:
    def __init__(self, client, bucket):
        self.sagemaker, self.s3, self.logs = client("sagemaker"), client("s3"), client("logs")
        self.bucket = bucket

    def put(self, key, body):
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def get(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def has(self, key):
        try:
            self.s3.head_object(Bucket=self.bucket, Key=key)
            return True
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
            return False

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def create(self, name, model, *, source="in/", output="out", kind="S3Prefix", split="Line",
               content_type="text/csv", accept="text/csv", assemble="Line", gzip=False,
               instances=1, **members):
        self.sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model,
            TransformInput={
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": kind,
                        "S3Uri": f"s3://{self.bucket}/{source}",
                    },
                },
                "ContentType": content_type,
                "CompressionType": "Gzip" if gzip else "None",
                "SplitType": split,
            },
            TransformOutput={
                "S3OutputPath": f"s3://{self.bucket}/{output}",
                "AssembleWith": assemble,
                "Accept": accept,
            },
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": instances},
            **members,
        )

    def describe(self, name):
        return self.sagemaker.describe_transform_job(TransformJobName=name)

    def ended(self, name, deadline=90):
        """The description of the job once it has ended."""

        def seen():
            described = self.describe(name)
            ended = described["TransformJobStatus"] not in ("InProgress", "Stopping")
            return described if ended else None

        return support.wait_for(seen, f"the end of {name}", deadline)

    def completed(self, name, deadline=90):
        described = self.ended(name, deadline)
        assert described["TransformJobStatus"] == "Completed", described.get("FailureReason")
        return described

    def failed(self, name, deadline=90):
        described = self.ended(name, deadline)
        assert described["TransformJobStatus"] == "Failed", described
        return described["FailureReason"]

    def log(self, name):
        group = "/aws/sagemaker/TransformJobs"
        streams = self.logs.describe_log_streams(
            logGroupName=group, logStreamNamePrefix=f"{name}/"
        )["logStreams"]
        events = []
        for stream in streams:
            page = self.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )
            events += [event["message"] for event in page["events"]]
        return events


def many_lines(n, first=0):
    text = io.StringIO()
    for i in range(first, first + n):
        text.write(f"{i}," + "x" * (i % 17) + "\n")
    return text.getvalue()


def lengths(text):
    return "".join(f"{len(line)}\n" for line in text.splitlines())
