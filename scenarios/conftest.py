"""Fixtures: the endpoint under test, clients of it, names that nobody else uses."""

import os
import uuid

import pytest

import support


@pytest.fixture(scope="session")
def endpoint_url(tmp_path_factory):
    """`AWS_ENDPOINT_URL`, or the address of a server started for this run."""
    if url := os.environ.get("AWS_ENDPOINT_URL"):
        yield url
        return
    server = support.Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server.url
    assert server.stop() == 0, server.log.read_text()[-4000:]


@pytest.fixture
def server(tmp_path):
    """A server of the test's own, to be killed and started again."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs a server that may be killed")
    own = support.Server(tmp_path / "data").start()
    yield own
    if own.process.poll() is None:
        own.stop()


@pytest.fixture
def name():
    """A name that no other test uses, fit for buckets and endpoints."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def client(endpoint_url):
    """`client("s3")`: an unmodified boto3 client that tries once."""
    boto3 = pytest.importorskip("boto3")
    return make_clients(boto3, endpoint_url)


def make_clients(boto3, url):
    from botocore.config import Config

    made = {}

    def client(service, **settings):
        key = (service, repr(sorted(settings.items())))
        if key not in made:
            config = Config(**({"retries": {"total_max_attempts": 1}} | settings.pop("config", {})))
            defaults = {
                "endpoint_url": url,
                "region_name": support.REGION,
                "aws_access_key_id": support.KEY,
                "aws_secret_access_key": support.SECRET,
                "config": config,
            }
            made[key] = boto3.client(service, **(defaults | settings))
        return made[key]

    return client


@pytest.fixture
def s3(client):
    return client("s3")


@pytest.fixture
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture
def runtime(client):
    return client("sagemaker-runtime")


@pytest.fixture
def bucket(s3, name):
    """An empty bucket; emptied and deleted afterwards."""
    s3.create_bucket(Bucket=name)
    yield name
    empty(s3, name)
    s3.delete_bucket(Bucket=name)


def empty(s3, bucket):
    for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


@pytest.fixture
def deploy(client, name, bucket):
    """`deploy(files)` or `deploy(archive=bytes)`: makes an endpoint and returns its name."""
    from deployment import Deployment

    deployment = Deployment(client, name, bucket)
    yield deployment
    deployment.clean()
