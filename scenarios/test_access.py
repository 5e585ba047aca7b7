"""Access keys, roles and their policies: who may do what, at every door."""

import json
import re
import tomllib
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

import conftest
import models
import support

boto3 = pytest.importorskip("boto3")

DENIED = {"AccessDenied", "AccessDeniedException", "403"}
ANYBODY = {"Statement": {
    "Effect": "Allow", "Principal": {"AWS": support.ACCOUNT}, "Action": "sts:AssumeRole",
}}


def allow(actions, resources="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def deny(actions, resources="*", **more):
    return {"Effect": "Deny", "Action": actions, "Resource": resources, **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def arn(kind, name):
    return f"arn:aws:sagemaker:{support.REGION}:{support.ACCOUNT}:{kind}/{name}"


def code_of(call, **arguments):
    """The code of the error that the call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def assert_denied(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert response["Error"]["Code"] in DENIED, response
    return response["Error"]["Message"]


class Users:
    """Makes users and roles, and deletes them afterwards."""

    def __init__(self, client, name):
        self.client, self.iam, self.name = client, client("iam"), name
        self.users, self.roles = [], []

    def user(self, *statements, suffix=""):
        """Clients of a new user who has one policy of these statements."""
        name = f"{self.name}{suffix}"
        self.iam.create_user(UserName=name)
        self.users.append(name)
        if statements:
            self.put(*statements, user=name)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return self.clients(key["AccessKeyId"], key["SecretAccessKey"])

    def clients(self, key, secret, token=None):
        credentials = {
            "aws_access_key_id": key,
            "aws_secret_access_key": secret,
            "aws_session_token": token,
        }
        return lambda service, **more: self.client(service, **credentials, **more)

    def put(self, *statements, user=None):
        self.iam.put_user_policy(
            UserName=user or self.name, PolicyName="p", PolicyDocument=document(*statements)
        )

    def role(self, *statements, trust=ANYBODY):
        """The ARN of a new role."""
        made = self.iam.create_role(
            RoleName=self.name, AssumeRolePolicyDocument=json.dumps(trust)
        )
        self.roles.append(self.name)
        self.iam.put_role_policy(
            RoleName=self.name, PolicyName="p", PolicyDocument=document(*statements)
        )
        return made["Role"]["Arn"]

    def assume(self, clients, role, **more):
        """Clients of a session of the role."""
        assumed = clients("sts").assume_role(RoleArn=role, RoleSessionName="scenario", **more)
        keys = assumed["Credentials"]
        return self.clients(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    def clean(self):
        for user in self.users:
            for key in self.iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
                self.iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
            for policy in self.iam.list_user_policies(UserName=user)["PolicyNames"]:
                self.iam.delete_user_policy(UserName=user, PolicyName=policy)
            attached = self.iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]
            for policy in attached:
                self.iam.detach_user_policy(UserName=user, PolicyArn=policy["PolicyArn"])
            self.iam.delete_user(UserName=user)
        for role in self.roles:
            self.iam.delete_role_policy(RoleName=role, PolicyName="p")
            self.iam.delete_role(RoleName=role)


@pytest.fixture
def users(client, name):
    made = Users(client, name)
    yield made
    made.clean()


def test_a_user_may_invoke_one_endpoint_alone(users, deploy):
    model = models.logistic()
    one, other = deploy({"model.onnx": model}), deploy({"model.onnx": model}, suffix="-other")
    ann = users.user(allow("sagemaker:InvokeEndpoint", arn("endpoint", one)))
    runtime = ann("sagemaker-runtime")
    call = {"Body": models.csv(models.ROWS[:1]), "ContentType": "text/csv"}
    assert runtime.invoke_endpoint(EndpointName=one, **call)["Body"].read()
    message = assert_denied(runtime.invoke_endpoint, EndpointName=other, **call)
    user = f"arn:aws:iam::{support.ACCOUNT}:user/{users.name}"
    assert message == (
        f"User: {user} is not authorized to perform: sagemaker:InvokeEndpoint on resource: "
        f"{arn('endpoint', other)} because no identity-based policy allows the "
        "sagemaker:InvokeEndpoint action"
    )
    assert_denied(runtime.invoke_endpoint_with_response_stream, EndpointName=one, **call)
    assert_denied(
        runtime.invoke_endpoint_async, EndpointName=one, InputLocation="s3://b/k"
    )
    assert_denied(ann("sagemaker").describe_endpoint, EndpointName=one)
    assert_denied(ann("sagemaker").delete_endpoint, EndpointName=one)

    users.put(
        allow("sagemaker:*"), deny("sagemaker:InvokeEndpoint", arn("endpoint", f"{users.name}*"))
    )
    message = assert_denied(runtime.invoke_endpoint, EndpointName=one, **call)
    assert message.endswith("with an explicit deny in an identity-based policy")
    assert ann("sagemaker").describe_endpoint(EndpointName=one)["EndpointStatus"] == "InService"


def test_a_prefix_of_a_bucket(users, bucket, s3):
    for key in ("home/ann/a", "home/ann/b", "home/bob/a"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    of_bucket = f"arn:aws:s3:::{bucket}"
    ann = users.user(
        allow("s3:ListBucket", of_bucket, Condition={"StringLike": {"s3:prefix": "home/ann/*"}}),
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], f"{of_bucket}/home/ann/*"),
        deny("s3:*", f"{of_bucket}/home/ann/b"),
    )("s3")
    listed = ann.list_objects_v2(Bucket=bucket, Prefix="home/ann/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["home/ann/a", "home/ann/b"]
    assert_denied(ann.list_objects_v2, Bucket=bucket)
    assert_denied(ann.list_objects_v2, Bucket=bucket, Prefix="home/")
    assert_denied(ann.list_buckets)
    assert ann.get_object(Bucket=bucket, Key="home/ann/a")["Body"].read() == b"home/ann/a"
    assert_denied(ann.get_object, Bucket=bucket, Key="home/ann/b")
    assert_denied(ann.head_object, Bucket=bucket, Key="home/bob/a")
    ann.put_object(Bucket=bucket, Key="home/ann/c", Body=b"c")
    assert_denied(ann.put_object, Bucket=bucket, Key="home/bob/c", Body=b"c")
    # Who copies reads, and who deletes several deletes each.
    stolen = {"Bucket": bucket, "Key": "home/bob/a"}
    assert_denied(ann.copy_object, Bucket=bucket, Key="home/ann/d", CopySource=stolen)
    several = {"Objects": [{"Key": "home/ann/c"}, {"Key": "home/bob/a"}]}
    assert_denied(ann.delete_objects, Bucket=bucket, Delete=several)
    assert s3.get_object(Bucket=bucket, Key="home/ann/c")["Body"].read() == b"c"


def test_a_presigned_url_is_as_good_as_its_key(users, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    ann = users.user(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/a"))("s3")
    url = ann.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a"})
    assert urllib.request.urlopen(url, timeout=10).read() == b"a"
    users.put(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/b"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=10)
    assert caught.value.code == 403
    assert b"<Code>AccessDenied</Code>" in caught.value.read()


def test_an_inactive_key_is_refused_at_the_next_call(users):
    ann = users.user(allow("sagemaker:ListModels"))
    assert "Models" in ann("sagemaker").list_models()
    key = users.iam.list_access_keys(UserName=users.name)["AccessKeyMetadata"][0]["AccessKeyId"]
    for status, is_refused in (("Inactive", True), ("Active", False)):
        users.iam.update_access_key(UserName=users.name, AccessKeyId=key, Status=status)
        if is_refused:
            assert code_of(ann("sagemaker").list_models) == "UnrecognizedClientException"
            assert code_of(ann("s3").list_buckets) == "InvalidAccessKeyId"
        else:
            assert "Models" in ann("sagemaker").list_models()
    users.iam.delete_access_key(UserName=users.name, AccessKeyId=key)
    assert code_of(ann("sagemaker").list_models) == "UnrecognizedClientException"


def test_a_trusted_proxy_says_who_calls_and_how(server, name):
    server.stop()
    server.environment["SAGEBRUSH_TRUSTED_PROXIES"] = "127.0.0.1"
    server.start()
    client = conftest.make_clients(boto3, server.url)
    users = Users(client, name)
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    office = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    everything = ["s3:*", "sagemaker:*"]
    ann = users.user(allow(everything, Condition=office), deny(everything, Condition=plain))
    headers = {}

    def forward(request, **_):
        request.headers.update(headers)

    calls = [ann("s3").list_buckets, ann("sagemaker").list_models]
    for call in calls:
        call.__self__.meta.events.register("before-send", forward)
    secure = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https"}
    forged = {"X-Forwarded-For": "203.0.113.7, 6.6.6.6", "X-Forwarded-Proto": "https"}
    for refused in ({}, forged, secure | {"X-Forwarded-Proto": "http"}):
        headers.clear()
        headers.update(refused)
        for call in calls:
            assert_denied(call)
    headers.update(secure)
    for call in calls:
        call()

    def sources():
        found = client("cloudtrail").lookup_events(LookupAttributes=[
            {"AttributeKey": "EventName", "AttributeValue": "ListBuckets"}
        ])["Events"]
        return [json.loads(event["CloudTrailEvent"])["sourceIPAddress"] for event in found]

    support.wait_for(lambda: sources()[:1] == ["203.0.113.7"], "the caller's address")

    # Who is not named is not believed.
    server.stop()
    server.environment["SAGEBRUSH_TRUSTED_PROXIES"] = "192.0.2.1"
    server.start()
    for call in calls:
        assert_denied(call)


def test_who_am_i(users):
    ann = users.user()
    arn_of_user = f"arn:aws:iam::{support.ACCOUNT}:user/{users.name}"
    assert ann("sts").get_caller_identity()["Arn"] == arn_of_user
    users.put(allow("iam:GetUser", "arn:aws:iam::*:user/${aws:username}"))
    assert ann("iam").get_user()["User"]["Arn"] == arn_of_user
    assert ann("iam").get_user(UserName=users.name)["User"]["UserName"] == users.name
    users.user(suffix="-other")
    assert_denied(ann("iam").get_user, UserName=f"{users.name}-other")


def test_an_assumed_role(users, bucket, s3):
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    s3.put_object(Bucket=bucket, Key="b", Body=b"b")
    role = users.role(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/*"))
    ann = users.user()
    assert_denied(ann("sts").assume_role, RoleArn=role, RoleSessionName="scenario")
    users.put(allow("sts:AssumeRole"))
    reader = users.assume(ann, role)("s3")
    assert reader.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
    message = assert_denied(reader.put_object, Bucket=bucket, Key="a", Body=b"")
    assert f"assumed-role/{users.name}/scenario is not authorized" in message

    policy = document(allow("s3:*", f"arn:aws:s3:::{bucket}/a"))
    narrow = users.assume(ann, role, Policy=policy)("s3")
    assert narrow.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
    assert "no session policy allows" in assert_denied(narrow.get_object, Bucket=bucket, Key="b")
    assert_denied(narrow.put_object, Bucket=bucket, Key="a", Body=b"")

    # A role that nobody made may do everything, so a user may not become one.
    assert_denied(ann("sts").assume_role, RoleArn=support.ROLE, RoleSessionName="scenario")
    service = {"Statement": {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }}
    users.iam.update_assume_role_policy(
        RoleName=users.name, PolicyDocument=json.dumps(service)
    )
    assert_denied(ann("sts").assume_role, RoleArn=role, RoleSessionName="scenario")


def test_a_role_must_be_passed(users):
    role = users.role(allow("s3:GetObject"))
    ann = users.user(allow("sagemaker:CreateModel"))
    call = {"ModelName": users.name, "PrimaryContainer": {"Image": support.IMAGE}}
    assert "iam:PassRole" in assert_denied(
        ann("sagemaker").create_model, ExecutionRoleArn=role, **call
    )
    of_sagemaker = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    users.put(allow("sagemaker:CreateModel"), allow("iam:PassRole", role, Condition=of_sagemaker))
    assert_denied(ann("sagemaker").create_model, ExecutionRoleArn=support.ROLE, **call)
    assert_denied(ann("sagemaker").create_model, **call)
    assert ann("sagemaker").create_model(ExecutionRoleArn=role, **call)["ModelArn"]
    users.client("sagemaker").delete_model(ModelName=users.name)


READER = """
import json
import os

import boto3
from botocore.exceptions import ClientError

def model_fn(model_dir):
    return boto3.client("s3")

def predict_fn(data, s3):
    try:
        return s3.get_object(**data)["Body"].read().decode()
    except ClientError as error:
        return error.response["Error"]["Code"]
"""


def test_a_role_limits_its_endpoint(users, client, name, bucket, s3, deploy):
    for key in ("open", "closed"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    role = users.role(allow("s3:GetObject", f"arn:aws:s3:::{bucket}/open"))
    options = {"image": support.PYTHON, "role": role}
    files = {"code/inference.py": READER}
    reason = deploy.failing(files, **options)
    assert f"s3:GetObject on resource: arn:aws:s3:::{bucket}/{name}/model.tar.gz" in reason

    users.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(
        allow("s3:GetObject", [f"arn:aws:s3:::{bucket}/open", f"arn:aws:s3:::{bucket}/*.tar.gz"])
    ))
    endpoint = deploy(files, suffix="-b", **options)

    def read(key):
        answer = client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint, ContentType="application/json",
            Body=json.dumps({"Bucket": bucket, "Key": key}),
        )
        return json.loads(answer["Body"].read())

    assert read("open") == "open"
    assert read("closed") == "AccessDenied"
    # A change is seen by the code that runs already.
    users.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(
        allow("s3:GetObject", f"arn:aws:s3:::{bucket}/closed")
    ))
    assert read("open") == "AccessDenied"
    assert read("closed") == "closed"


def test_a_role_limits_asynchronous_inputs(users, client, name, bucket, s3, deploy):
    for key in ("in/open", "secret"):
        s3.put_object(
            Bucket=bucket, Key=key, Body=models.csv(models.ROWS[:1]), ContentType="text/csv"
        )
    of_bucket = f"arn:aws:s3:::{bucket}"
    role = users.role(
        allow("s3:GetObject", [f"{of_bucket}/in/*", f"{of_bucket}/*.tar.gz"]),
        allow("s3:PutObject", f"{of_bucket}/out/*"),
    )
    output = {"OutputConfig": {
        "S3OutputPath": f"s3://{bucket}/out", "S3FailurePath": f"s3://{bucket}/out/failed",
    }}
    endpoint = deploy({"model.onnx": models.logistic()}, role=role, asynchronous=output)

    def ended(key):
        """Whether the call has an output, and what it says."""
        places = client("sagemaker-runtime").invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=f"s3://{bucket}/{key}"
        )
        kinds = ("OutputLocation", "FailureLocation")
        keys = {kind: places[kind].removeprefix(f"s3://{bucket}/") for kind in kinds}

        def look():
            listed = s3.list_objects_v2(Bucket=bucket, Prefix="out/").get("Contents", [])
            there = {entry["Key"] for entry in listed}
            return next((kind for kind in kinds if keys[kind] in there), None)

        kind = support.wait_for(look, "the end of the call")
        body = s3.get_object(Bucket=bucket, Key=keys[kind])["Body"].read().decode()
        return kind == "OutputLocation", body

    assert ended("in/open")[0]
    has_output, reason = ended("secret")
    assert not has_output
    assert "is not authorized to perform: s3:GetObject" in reason


def test_attached_policies_and_simulation(users):
    ann = users.user()
    made = users.iam.create_policy(
        PolicyName=users.name, PolicyDocument=document(allow("logs:Describe*"))
    )["Policy"]
    users.iam.attach_user_policy(UserName=users.name, PolicyArn=made["Arn"])
    assert "logGroups" in ann("logs").describe_log_groups()
    read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    users.iam.attach_user_policy(UserName=users.name, PolicyArn=read_only)
    assert "Buckets" in ann("s3").list_buckets()
    simulated = users.iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{support.ACCOUNT}:user/{users.name}",
        ActionNames=["s3:GetObject", "s3:PutObject", "logs:DescribeLogGroups"],
    )["EvaluationResults"]
    assert [result["EvalDecision"] for result in simulated] == [
        "allowed", "implicitDeny", "allowed",
    ]
    assert code_of(users.iam.delete_policy, PolicyArn=made["Arn"]) == "DeleteConflict"
    users.iam.detach_user_policy(UserName=users.name, PolicyArn=made["Arn"])
    users.iam.delete_policy(PolicyArn=made["Arn"])
    assert_denied(ann("logs").describe_log_groups)
    version = users.iam.get_policy_version(PolicyArn=read_only, VersionId="v1")["PolicyVersion"]
    assert version["Document"]["Statement"][0]["Action"] == ["s3:Get*", "s3:List*"]


def test_what_is_no_policy_is_refused_by_name(users):
    users.user()
    for statement, named in (
        (allow("s3:*", Condition={"BinaryEquals": {"k": "v"}}), "BinaryEquals"),
        (allow("GetObject"), "Action"),
        ({"Effect": "Allow", "Action": "s3:*"}, "Resource"),
    ):
        with pytest.raises(ClientError) as caught:
            users.put(statement)
        assert caught.value.response["Error"]["Code"] == "MalformedPolicyDocument"
        assert named in caught.value.response["Error"]["Message"]


def test_keys_and_policies_outlive_a_kill(server, name):
    boto3 = pytest.importorskip("boto3")
    import conftest

    users = Users(conftest.make_clients(boto3, server.url), name)
    ann = users.user(allow("sagemaker:ListModels"))
    server.kill()
    server.start()
    assert "Models" in ann("sagemaker").list_models()
    assert_denied(ann("sagemaker").list_endpoints)
    key = users.iam.list_access_keys(UserName=name)["AccessKeyMetadata"][0]["AccessKeyId"]
    assert key.startswith("AKIA")


# What each operation of S3 must have beyond a bucket and a key to be understood.
NEEDED = {
    "copy_object": {"CopySource": "bucket/k"},
    "upload_part_copy": {"CopySource": "bucket/k"},
    "delete_objects": {"Delete": {"Objects": [{"Key": "k"}]}},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "put_object_tagging": {"Tagging": {"TagSet": []}},
    "put_bucket_tagging": {"Tagging": {"TagSet": []}},
    "put_bucket_cors": {"CORSConfiguration": {
        "CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}],
    }},
    "put_bucket_lifecycle_configuration": {"LifecycleConfiguration": {
        "Rules": [{"ID": "r", "Status": "Enabled", "Prefix": "p", "Expiration": {"Days": 1}}],
    }},
    "put_bucket_policy": {"Policy": "{}"},
    "put_bucket_encryption": {"ServerSideEncryptionConfiguration": {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
    }},
    "put_public_access_block": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}},
    "put_bucket_ownership_controls": {"OwnershipControls": {
        "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}],
    }},
    "get_object_attributes": {"ObjectAttributes": ["ETag"]},
    "complete_multipart_upload": {"MultipartUpload": {"Parts": [{"ETag": "e", "PartNumber": 1}]}},
}
INVOKED = {
    "InvokeEndpoint": {"EndpointName": "e", "Body": b""},
    "InvokeEndpointWithResponseStream": {"EndpointName": "e", "Body": b""},
    "InvokeEndpointAsync": {"EndpointName": "e", "InputLocation": "s3://bucket/k"},
}
COMMON = {"Bucket": "bucket", "Key": "k", "UploadId": "u", "PartNumber": 1}


def test_every_operation_is_refused_without_a_policy(users):
    nobody = users.user()
    unchecked = nobody("sts")  # `GetCallerIdentity` needs no permission.
    assert unchecked.get_caller_identity()["Account"] == support.ACCOUNT
    served = tomllib.loads((support.ROOT / "xtask/operations.toml").read_text())
    lax = {"config": {"parameter_validation": False}}
    refused = 0
    for service, operations in served.items():
        made = nobody(service, **lax)
        methods = {api: method for method, api in made.meta.method_to_api_mapping.items()}
        for operation in set(operations) - {"GetCallerIdentity"}:
            arguments = INVOKED.get(operation, {})
            assert_denied(getattr(made, methods[operation]), **arguments)
            refused += 1
    assert refused > 70


def test_every_operation_of_s3_is_refused_without_a_policy(users):
    s3 = users.user()("s3")
    listed = (support.ROOT / "crates/objects/src/front.rs").read_text()
    served = re.findall(r"^    (\w+):\s+\w+Input\s+->", listed, re.MULTILINE)
    assert len(served) > 45
    for name in served:
        operation = s3.meta.service_model.operation_model(s3.meta.method_to_api_mapping[name])
        required = operation.input_shape.required_members
        arguments = {member: COMMON[member] for member in required if member in COMMON}
        assert_denied(getattr(s3, name), **arguments | NEEDED.get(name, {}))
