"""The SageMaker SDK 3, unmodified, with what `sagebrush env` prints."""

import json

import pytest

import support
import sdk_common

pytest.importorskip("sagemaker.core.resources", reason="needs the virtualenv of SDK 3")

PROGRAM = """
import json
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.helper.session_helper import Session

session = Session()
bucket = session.default_bucket()
data = session.upload_data("model.tar.gz", bucket=bucket, key_prefix="sdk3")
container = ContainerDefinition(image="sagebrush/onnx", model_data_url=data)
model = Model.create(
    model_name={name!r}, primary_container=container, execution_role_arn={role!r}
)
variant = ProductionVariant(
    variant_name="AllTraffic", model_name={name!r}, initial_instance_count=1,
    instance_type="ml.m5.large",
)
config = EndpointConfig.create(endpoint_config_name={name!r}, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name={name!r}, endpoint_config_name={name!r})
{wait}
endpoint.refresh()
assert endpoint.endpoint_status == "InService", endpoint
assert Model.get({name!r}).primary_container.image == "sagebrush/onnx"
answer = endpoint.invoke(body={row!r}, content_type="text/csv", accept="application/json")
text = answer.body.read().decode()
assert {name!r} in [one.endpoint_name for one in Endpoint.get_all(name_contains={name!r})]
endpoint.delete()
config.delete()
model.delete()
print(json.dumps({{"bucket": bucket, "answer": json.loads(text)}}))
"""


def test_the_means_of_proof(endpoint_url, tmp_path):
    assert sdk_common.proves_the_proxy_refuses(endpoint_url, tmp_path / "proof")


def test_core_resources(endpoint_url, tmp_path, name):
    row = ",".join(map(str, sdk_common.ROW))
    code = PROGRAM.format(
        role=support.ROLE, name=name, row=row, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["answer"]["predictions"], said


TRANSFORMER = """
import json
import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Model
from sagemaker.core.shapes import ContainerDefinition
from sagemaker.core.transformer import Transformer

session = Session()
bucket = session.default_bucket()
data = session.upload_data("model.tar.gz", bucket=bucket, key_prefix={name!r})
session.upload_data("rows.csv", bucket=bucket, key_prefix="{name}/in")
container = ContainerDefinition(image="sagebrush/onnx", model_data_url=data)
model = Model.create(
    model_name={name!r}, primary_container=container, execution_role_arn={role!r}
)
transformer = Transformer(
    {name!r}, 1, "ml.m5.large", strategy="MultiRecord", assemble_with="Line", accept="text/csv",
    output_path=f"s3://{{bucket}}/{name}/out", sagemaker_session=session,
)
transformer.transform(
    f"s3://{{bucket}}/{name}/in", content_type="text/csv", split_type="Line", job_name={name!r},
    input_filter="$[1:]", join_source="Input", output_filter="$[0,5]",
)
written = boto3.client("s3").get_object(Bucket=bucket, Key="{name}/out/rows.csv.out")
model.delete()
print(json.dumps(written["Body"].read().decode()))
"""


def test_transformer(endpoint_url, tmp_path, name):
    """`transform` waits by itself, and follows the job's log."""
    code = TRANSFORMER.format(role=support.ROLE, name=name)
    row = ",".join(map(str, sdk_common.ROW))
    rows = {"rows.csv": f"id0,{row}\nid1,{row}\n"}
    said = sdk_common.run_python(code, endpoint_url, tmp_path / "sdk", rows)
    assert json.loads(said) == "id0,0\nid1,0\n", said


SKLEARN = """
import json
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.helper.session_helper import Session

session = Session()
data = session.upload_data("sklearn.tar.gz", key_prefix={name!r})
container = ContainerDefinition(image={image!r}, model_data_url=data, environment={{"A": "1"}})
model = Model.create(
    model_name={name!r}, primary_container=container, execution_role_arn={role!r}
)
variant = ProductionVariant(
    variant_name="AllTraffic", model_name={name!r}, initial_instance_count=1,
    instance_type="ml.m5.large",
)
config = EndpointConfig.create(endpoint_config_name={name!r}, production_variants=[variant])
endpoint = Endpoint.create(endpoint_name={name!r}, endpoint_config_name={name!r})
{wait}
endpoint.refresh()
resolved = endpoint.production_variants[0].deployed_images[0].resolved_image
answer = endpoint.invoke(
    body=json.dumps({rows!r}), content_type="application/json", accept="application/json",
    custom_attributes="trace=1",
)
text = answer.body.read().decode()
endpoint.delete()
config.delete()
model.delete()
print(json.dumps({{"resolved": resolved, "answer": json.loads(text)}}))
"""
SKLEARN_IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


def test_core_resources_with_scikit_learn(endpoint_url, tmp_path, name):
    sdk_common.sklearn_archive(tmp_path / "sdk")
    code = SKLEARN.format(
        role=support.ROLE, name=name, rows=ROWS, image=SKLEARN_IMAGE,
        wait=sdk_common.wait_in_service(name),
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["answer"] == [0, 2]
    assert "isolation=" in said["resolved"], said


MODEL_BUILDER = """
import json
from sagemaker.serve import ModelBuilder
from sagemaker.core.helper.session_helper import Session

session = Session()
data = session.upload_data({archive!r}, key_prefix={name!r})
builder = ModelBuilder(
    image_uri={image!r}, s3_model_data_url=data, role_arn={role!r}, instance_type="ml.m5.large",
    sagemaker_session=session, env_vars={{"A": "1"}},
)
model = builder.build(model_name={name!r})
assert model.model_name == {name!r}, model
endpoint = builder.deploy(endpoint_name={name!r}, wait=False)
{wait}
answer = endpoint.invoke(body={body!r}, content_type={content_type!r}, accept="application/json")
text = answer.body.read().decode()
endpoint.delete()
model.delete()
print(json.dumps(json.loads(text)))
"""


@pytest.mark.parametrize("kind", ["onnx", "scikit-learn"])
def test_model_builder(endpoint_url, tmp_path, name, kind):
    """An image and a model's archive that are there already."""
    with_sklearn = {
        "image": SKLEARN_IMAGE, "archive": "sklearn.tar.gz", "body": json.dumps(ROWS),
        "content_type": "application/json",
    }
    with_onnx = {
        "image": support.IMAGE, "archive": "model.tar.gz", "content_type": "text/csv",
        "body": ",".join(map(str, sdk_common.ROW)),
    }
    if kind == "scikit-learn":
        sdk_common.sklearn_archive(tmp_path / "sdk")
    settings = with_sklearn if kind == "scikit-learn" else with_onnx
    code = MODEL_BUILDER.format(
        role=support.ROLE, name=name, wait=sdk_common.wait_in_service(name), **settings
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    if kind == "scikit-learn":
        assert said == [0, 2]
    else:
        assert said["predictions"], said


ASYNC = """
import json, time
import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.inference_config import AsyncInferenceConfig
from sagemaker.serve import ModelBuilder

session = Session()
bucket = session.default_bucket()
data = session.upload_data("model.tar.gz", key_prefix={name!r})
builder = ModelBuilder(
    image_uri="sagebrush/onnx", s3_model_data_url=data, role_arn={role!r},
    instance_type="ml.m5.large", sagemaker_session=session,
)
model = builder.build(model_name={name!r})
config = AsyncInferenceConfig(
    output_path=f"s3://{{bucket}}/{name}/out", failure_path=f"s3://{{bucket}}/{name}/failed"
)
endpoint = builder.deploy(endpoint_name={name!r}, wait=False, inference_config=config)
{wait}
s3 = boto3.client("s3")
s3.put_object(Bucket=bucket, Key="{name}/row.csv", Body={row!r})
accepted = endpoint.invoke_async(
    input_location=f"s3://{{bucket}}/{name}/row.csv", content_type="text/csv",
    accept="application/json",
)
key = accepted.output_location.removeprefix(f"s3://{{bucket}}/")
s3.get_waiter("object_exists").wait(
    Bucket=bucket, Key=key, WaiterConfig={{"Delay": 1, "MaxAttempts": 30}}
)
text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
endpoint.delete()
model.delete()
print(json.dumps(json.loads(text)))
"""


def test_model_builder_asynchronous(endpoint_url, tmp_path, name):
    code = ASYNC.format(
        role=support.ROLE, name=name, row=",".join(map(str, sdk_common.ROW)),
        wait=sdk_common.wait_in_service(name),
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["predictions"], said
