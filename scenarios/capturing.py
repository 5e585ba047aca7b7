"""What the scenarios of data capture share."""

import json

import support


def config(bucket, *, percentage=100, modes=("Input", "Output"), enabled=True):
    return {
        "EnableCapture": enabled,
        "InitialSamplingPercentage": percentage,
        "DestinationS3Uri": f"s3://{bucket}/captured",
        "CaptureOptions": [{"CaptureMode": mode} for mode in modes],
        "CaptureContentTypeHeader": {
            "CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"],
        },
    }


def keys(s3, bucket, endpoint):
    """The keys of the endpoint's captured objects, in order."""
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"captured/{endpoint}/"
    )
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def lines(s3, bucket, endpoint):
    """All calls that are captured so far."""
    bodies = [
        s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        for key in keys(s3, bucket, endpoint)
    ]
    assert all(body.endswith("\n") for body in bodies)
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def at_least(s3, bucket, endpoint, n, deadline=6):
    """The captured calls, once there are `n`: 5 s after the last one they are there."""

    def look():
        found = lines(s3, bucket, endpoint)
        return found if len(found) >= n else None

    return support.wait_for(look, f"{n} captured calls of {endpoint}", deadline)
