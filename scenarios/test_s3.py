"""Buckets and objects, as boto3 uses them."""

import hashlib
import io
import os
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

import support
import raw


def refused(call, code, status=None):
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    assert response["Error"]["Code"] == code, response
    if status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    return response


def keys(listing):
    return [entry["Key"] for entry in listing.get("Contents", [])]


# Buckets.


def test_a_bucket_comes_and_goes(s3, name):
    refused(lambda: s3.head_bucket(Bucket=name), "404", 404)
    s3.create_bucket(Bucket=name)
    s3.head_bucket(Bucket=name)
    assert name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket=name)
    assert name not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    refused(lambda: s3.delete_bucket(Bucket=name), "NoSuchBucket", 404)


def test_a_full_bucket_is_not_deleted(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    refused(lambda: s3.delete_bucket(Bucket=bucket), "BucketNotEmpty", 409)


def test_a_bad_bucket_name_is_refused(s3, endpoint_url):
    status, _, body = raw.signed(
        endpoint_url, "s3", "PUT", "/A_B", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    )
    assert (status, b"InvalidBucketName" in body) == (400, True), body


def test_get_bucket_location(s3, bucket):
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] in (None, support.REGION)


# Objects.


def test_put_get_head_delete(s3, bucket):
    body = os.urandom(10_000)
    put = s3.put_object(
        Bucket=bucket, Key="folder/ä b+c.bin", Body=body, ContentType="application/x-thing",
        Metadata={"colour": "blue"}, CacheControl="max-age=60",
    )
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="folder/ä b+c.bin")
    assert got["Body"].read() == body
    assert (got["ContentType"], got["Metadata"]) == ("application/x-thing", {"colour": "blue"})
    head = s3.head_object(Bucket=bucket, Key="folder/ä b+c.bin")
    assert (head["ContentLength"], head["ETag"]) == (len(body), put["ETag"])
    assert head["CacheControl"] == "max-age=60"
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["folder/ä b+c.bin"]
    s3.delete_object(Bucket=bucket, Key="folder/ä b+c.bin")
    refused(lambda: s3.head_object(Bucket=bucket, Key="folder/ä b+c.bin"), "404", 404)
    s3.delete_object(Bucket=bucket, Key="folder/ä b+c.bin")  # Not there: no error.


def test_an_empty_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    got = s3.get_object(Bucket=bucket, Key="empty")
    assert (got["ContentLength"], got["Body"].read()) == (0, b"")


def test_the_default_checksum_is_kept(s3, bucket):
    """boto3 sends a CRC by default, for streams as the trailer of an aws-chunked body."""
    body = os.urandom(200_000)
    put = s3.put_object(Bucket=bucket, Key="a", Body=io.BytesIO(body))
    assert put["ChecksumCRC32"]
    got = s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    assert got["Body"].read() == body  # botocore compares the checksum as it reads.


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_by_algorithm(s3, bucket, algorithm):
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"hello", ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_a_wrong_checksum_stores_nothing(s3, bucket):
    call = lambda: s3.put_object(Bucket=bucket, Key="a", Body=b"hello", ChecksumCRC32="AAAAAA==")
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] in ("BadDigest", "InvalidRequest")
    refused(lambda: s3.head_object(Bucket=bucket, Key="a"), "404")


def test_a_wrong_md5_stores_nothing(s3, bucket):
    wrong = "1B2M2Y8AsgTpgAmY7PhCfg=="  # Of nothing.
    refused(
        lambda: s3.put_object(Bucket=bucket, Key="a", Body=b"hello", ContentMD5=wrong), "BadDigest", 400
    )
    refused(lambda: s3.head_object(Bucket=bucket, Key="a"), "404")


def test_copy(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"hello", Metadata={"n": "1"})
    source = {"Bucket": bucket, "Key": "a b"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    kept = s3.get_object(Bucket=bucket, Key="kept")
    assert (kept["Body"].read(), kept["Metadata"]) == (b"hello", {"n": "1"})
    s3.copy_object(
        Bucket=bucket, Key="new", CopySource=source, Metadata={"n": "2"}, MetadataDirective="REPLACE"
    )
    assert s3.head_object(Bucket=bucket, Key="new")["Metadata"] == {"n": "2"}
    missing = {"Bucket": bucket, "Key": "gone"}
    refused(lambda: s3.copy_object(Bucket=bucket, Key="x", CopySource=missing), "NoSuchKey", 404)


@pytest.mark.parametrize(
    ("asked", "wanted", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
        ("bytes=-100", b"0123456789", "bytes 0-9/10"),
    ],
)
def test_ranges(s3, bucket, asked, wanted, content_range):
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="a", Range=asked)
    assert (got["Body"].read(), got["ContentRange"]) == (wanted, content_range)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_behind_the_end(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"0123456789")
    refused(lambda: s3.get_object(Bucket=bucket, Key="a", Range="bytes=10-"), "InvalidRange", 416)


def test_conditional_reads(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"hello")
    etag, modified = put["ETag"], s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    s3.get_object(Bucket=bucket, Key="a", IfMatch=etag)
    s3.get_object(Bucket=bucket, Key="a", IfNoneMatch='"other"')
    refused(lambda: s3.get_object(Bucket=bucket, Key="a", IfNoneMatch=etag), "304", 304)
    refused(
        lambda: s3.get_object(Bucket=bucket, Key="a", IfMatch='"other"'), "PreconditionFailed", 412
    )
    refused(lambda: s3.get_object(Bucket=bucket, Key="a", IfModifiedSince=modified), "304", 304)


def test_conditional_writes(s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")
    refused(
        lambda: s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*"),
        "PreconditionFailed", 412,
    )
    s3.put_object(Bucket=bucket, Key="a", Body=b"3", IfMatch=first["ETag"])
    refused(
        lambda: s3.put_object(Bucket=bucket, Key="a", Body=b"4", IfMatch=first["ETag"]),
        "PreconditionFailed", 412,
    )
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"3"


def test_one_of_many_conditional_writes_wins(s3, bucket):
    put = lambda i: s3.put_object(Bucket=bucket, Key="a", Body=b"%d" % i, IfNoneMatch="*")
    outcomes = support.in_threads(16, put)
    winners = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, dict)]
    assert len(winners) == 1, outcomes
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"%d" % winners[0]
    for outcome in outcomes:
        if not isinstance(outcome, dict):
            code = outcome.response["Error"]["Code"]
            assert code in ("PreconditionFailed", "ConditionalRequestConflict"), outcome


def test_delete_many(s3, bucket):
    for i in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"x")
    named = [{"Key": f"k{i}"} for i in range(15)] + [{"Key": "gone"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted(e["Key"] for e in named)
    assert "Errors" not in answer
    assert len(keys(s3.list_objects_v2(Bucket=bucket))) == 5


# Lists.


@pytest.fixture
def tree(s3, bucket):
    for key in ["a/1", "a/2", "b", "c/d/1", "c/e", "é"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


def test_list_with_delimiter(s3, tree):
    top = s3.list_objects_v2(Bucket=tree, Delimiter="/")
    assert [prefix["Prefix"] for prefix in top["CommonPrefixes"]] == ["a/", "c/"]
    assert (keys(top), top["KeyCount"]) == (["b", "é"], 4)
    below = s3.list_objects_v2(Bucket=tree, Prefix="c/", Delimiter="/")
    assert [prefix["Prefix"] for prefix in below["CommonPrefixes"]] == ["c/d/"]
    assert keys(below) == ["c/e"]


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_list_by_pages(s3, tree, operation):
    pages = s3.get_paginator(operation).paginate(Bucket=tree, PaginationConfig={"PageSize": 2})
    found = [keys(page) for page in pages]
    assert found == [["a/1", "a/2"], ["b", "c/d/1"], ["c/e", "é"]]


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_pages_with_delimiter_show_each_prefix_once(s3, tree, operation):
    settings = {"PageSize": 1}
    pages = s3.get_paginator(operation).paginate(
        Bucket=tree, Delimiter="/", PaginationConfig=settings
    )
    seen = []
    for page in pages:
        seen += [prefix["Prefix"] for prefix in page.get("CommonPrefixes", [])] + keys(page)
    assert seen == ["a/", "b", "c/", "é"]


def test_list_after(s3, tree):
    assert keys(s3.list_objects_v2(Bucket=tree, StartAfter="b")) == ["c/d/1", "c/e", "é"]
    assert keys(s3.list_objects(Bucket=tree, Marker="c/e")) == ["é"]
    assert keys(s3.list_objects_v2(Bucket=tree, Prefix="nothing")) == []


# Multipart uploads.

PART = 5 * 1024 * 1024


def test_multipart(s3, bucket):
    parts = [os.urandom(PART), os.urandom(PART), b"tail"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big", Metadata={"n": "1"})["UploadId"]
    target = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    sent = []
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(**target, PartNumber=number, Body=body)
        sent.append({"PartNumber": number, "ETag": answer["ETag"]})
    listed = s3.list_parts(**target)
    assert [part["Size"] for part in listed["Parts"]] == [len(part) for part in parts]
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    refused(lambda: s3.head_object(Bucket=bucket, Key="big"), "404")
    done = s3.complete_multipart_upload(**target, MultipartUpload={"Parts": sent})
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="big")
    assert (got["Body"].read(), got["Metadata"]) == (b"".join(parts), {"n": "1"})
    refused(lambda: s3.list_parts(**target), "NoSuchUpload", 404)


def test_abort(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    target = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    s3.upload_part(**target, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(**target)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    refused(lambda: s3.upload_part(**target, PartNumber=2, Body=b"x"), "NoSuchUpload", 404)


def test_a_part_that_is_too_small(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    target = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    sent = [
        {"PartNumber": n, "ETag": s3.upload_part(**target, PartNumber=n, Body=b"x")["ETag"]}
        for n in (1, 2)
    ]
    complete = lambda parts: s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    refused(lambda: complete(sent), "EntityTooSmall", 400)
    refused(lambda: complete(sent[::-1]), "InvalidPartOrder", 400)
    refused(lambda: complete([{"PartNumber": 1, "ETag": '"0"'}]), "InvalidPart", 400)


def test_upload_part_copy(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=b"0123456789")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    target = {"Bucket": bucket, "Key": "copy", "UploadId": upload}
    source = {"Bucket": bucket, "Key": "source"}
    part = s3.upload_part_copy(
        **target, PartNumber=1, CopySource=source, CopySourceRange="bytes=2-5"
    )
    sent = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": sent})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"2345"


def test_upload_fileobj_of_30_mb(s3, bucket):
    """boto3's transfer manager: parts in threads, ranges in threads."""
    body = os.urandom(30_000_000)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big", ExtraArgs={"ContentType": "x/y"})
    back = io.BytesIO()
    s3.download_fileobj(bucket, "big", back)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(body).digest()
    head = s3.head_object(Bucket=bucket, Key="big")
    assert (head["ContentType"], head["ETag"].endswith('-4"')) == ("x/y", True), head["ETag"]


# Presigned URLs, through a client that knows nothing of AWS.


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned(client, bucket, version):
    s3 = client("s3", config={"signature_version": version})
    sign = lambda operation: s3.generate_presigned_url(
        operation, Params={"Bucket": bucket, "Key": "a b"}, ExpiresIn=60
    )
    put = urllib.request.Request(sign("put_object"), data=b"hello", method="PUT")
    put.add_header("content-type", "")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(sign("get_object")) as answer:
        assert answer.read() == b"hello"


def test_a_presigned_url_that_was_changed(client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "mine"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("/mine?", "/other?"))
    assert caught.value.code == 403
    assert b"SignatureDoesNotMatch" in caught.value.read()


def test_a_presigned_url_that_ran_out(client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "a"}, ExpiresIn=1
    )

    def is_refused():
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError as error:
            return error.code == 403  # Before that: 404, for there is no such object.

    support.wait_for(is_refused, "the URL expired", 10)


def presigned(url, method, body=None):
    """Status and body of a request by whoever has the URL."""
    request = urllib.request.Request(url, data=body, method=method)
    request.add_header("content-type", "")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_presigned_url_for_a_large_body(client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    sign = lambda operation, key="large": s3.generate_presigned_url(
        operation, Params={"Bucket": bucket, "Key": key}, ExpiresIn=60
    )
    body = os.urandom(50_000_000)  # Far beyond what a call may carry.
    assert presigned(sign("put_object"), "PUT", body)[0] == 200
    assert s3.head_object(Bucket=bucket, Key="large")["ContentLength"] == len(body)
    status, back = presigned(sign("get_object"), "GET")
    assert (status, hashlib.sha256(back).digest()) == (200, hashlib.sha256(body).digest())


def test_a_presigned_url_is_good_for_one_method(client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    sign = lambda operation: s3.generate_presigned_url(
        operation, Params={"Bucket": bucket, "Key": "a"}, ExpiresIn=60
    )
    for operation, method, body in [
        ("get_object", "PUT", b"y"), ("get_object", "DELETE", None), ("put_object", "GET", None),
        ("put_object", "DELETE", None),
    ]:
        status, answer = presigned(sign(operation), method, body)
        assert (status, b"SignatureDoesNotMatch" in answer) == (403, True), (method, answer)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_a_presigned_put_that_ran_out(client, bucket):
    s3 = client("s3", config={"signature_version": "s3v4"})
    sign = lambda seconds: s3.generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": "a"}, ExpiresIn=seconds
    )
    url = sign(1)
    refused = lambda: presigned(url, "PUT", b"late")[0] == 403
    support.wait_for(refused, "the URL expired", 10)
    status, answer = presigned(url, "PUT", b"late")
    assert (status, b"<Code>AccessDenied</Code>" in answer) == (403, True), answer
    assert b"expired" in answer, answer
    status, answer = presigned(sign(8 * 24 * 3600), "PUT", b"x")
    assert (status, b"AuthorizationQueryParametersError" in answer) == (400, True), answer


# Versions, tags, and what is only kept.


def test_versioning(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="a", Body=b"2")["VersionId"]
    assert first != second
    read = lambda **more: s3.get_object(Bucket=bucket, Key="a", **more)["Body"].read()
    assert (read(), read(VersionId=first)) == (b"2", b"1")
    marker = s3.delete_object(Bucket=bucket, Key="a")
    assert marker["DeleteMarker"] is True
    refused(read, "NoSuchKey", 404)
    listed = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == [second, first]
    assert [m["IsLatest"] for m in listed["DeleteMarkers"]] == [True]
    s3.delete_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    assert read() == b"2"
    refused(lambda: read(VersionId="nonsense"), "NoSuchVersion")


def test_object_tags(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="one=1&two=2")
    pairs = lambda: {
        tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"]
    }
    assert pairs() == {"one": "1", "two": "2"}
    tags = {"TagSet": [{"Key": "three", "Value": "3"}]}
    s3.put_object_tagging(Bucket=bucket, Key="a", Tagging=tags)
    assert pairs() == {"three": "3"}
    s3.delete_object_tagging(Bucket=bucket, Key="a")
    assert pairs() == {}


def test_bucket_tags(s3, bucket):
    refused(lambda: s3.get_bucket_tagging(Bucket=bucket), "NoSuchTagSet", 404)
    tags = {"TagSet": [{"Key": "team", "Value": "vision"}]}
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tags)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags["TagSet"]
    s3.delete_bucket_tagging(Bucket=bucket)
    refused(lambda: s3.get_bucket_tagging(Bucket=bucket), "NoSuchTagSet", 404)


def test_cors_round_trip(s3, bucket):
    refused(lambda: s3.get_bucket_cors(Bucket=bucket), "NoSuchCORSConfiguration", 404)
    rule = {
        "AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["http://localhost:3000"],
        "AllowedHeaders": ["*"], "MaxAgeSeconds": 60,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    s3.delete_bucket_cors(Bucket=bucket)
    refused(lambda: s3.get_bucket_cors(Bucket=bucket), "NoSuchCORSConfiguration", 404)


def test_lifecycle_round_trip(s3, bucket):
    get = lambda: s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    refused(get, "NoSuchLifecycleConfiguration", 404)
    rule = {
        "ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3},
    }
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    assert get()["Rules"] == [rule]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    refused(get, "NoSuchLifecycleConfiguration", 404)


# Errors.


def test_error_codes(s3, bucket, name):
    gone = f"{name}-gone"
    refused(lambda: s3.get_object(Bucket=bucket, Key="a"), "NoSuchKey", 404)
    refused(lambda: s3.get_object(Bucket=gone, Key="a"), "NoSuchBucket", 404)
    refused(lambda: s3.put_object(Bucket=gone, Key="a", Body=b""), "NoSuchBucket", 404)
    refused(lambda: s3.list_objects_v2(Bucket=gone), "NoSuchBucket", 404)
    refused(lambda: s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b""), "KeyTooLongError", 400)


def test_wrong_keys(client, bucket):
    for settings, code in [
        ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId"),
    ]:
        stranger = client("s3", **settings)
        refused(lambda: stranger.list_objects_v2(Bucket=bucket), code, 403)


def test_hostile_keys_stay_objects(s3, bucket):
    hostile = ["../../etc/passwd", "a/../b", "./x", "a//b", "%2e%2e%2f", "-rf", "a\tb"]
    for key in hostile:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in hostile:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), key
    listed = keys(s3.list_objects_v2(Bucket=bucket))
    assert sorted(listed) == sorted(hostile)
