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
