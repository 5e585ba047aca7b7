"""The SageMaker SDK 2, unmodified, with what `sagebrush env` prints."""

import json

import pytest

import support
import sdk_common

pytest.importorskip("sagemaker.model", reason="needs the virtualenv of SDK 2")

PROGRAM = """
import json
import sagemaker
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.deserializers import JSONDeserializer

session = sagemaker.Session()
bucket = session.default_bucket()
data = session.upload_data("model.tar.gz", bucket=bucket, key_prefix="sdk2")
model = Model(
    image_uri="sagebrush/onnx", model_data=data, role={role!r}, name={name!r},
    sagemaker_session=session, predictor_cls=Predictor,
)
predictor = model.deploy(
    1, "ml.m5.large", endpoint_name={name!r}, wait=False,
    serializer=CSVSerializer(), deserializer=JSONDeserializer(),
)
{wait}
answer = predictor.predict({row!r}, initial_args={{"Accept": "application/json"}})
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps({{"bucket": bucket, "data": data, "answer": answer}}))
"""


def test_the_means_of_proof(endpoint_url, tmp_path):
    assert sdk_common.proves_the_proxy_refuses(endpoint_url, tmp_path / "proof")


def test_deploy_predict_delete(endpoint_url, tmp_path, name):
    code = PROGRAM.format(
        role=support.ROLE, name=name, row=sdk_common.ROW, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["data"] == f"s3://{said['bucket']}/sdk2/model.tar.gz"
    assert said["answer"]["predictions"], said
    assert_gone(endpoint_url, name)


def assert_gone(url, name):
    import boto3
    from conftest import make_clients

    sagemaker = make_clients(boto3, url)("sagemaker")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
    assert sagemaker.list_models(NameContains=name)["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []
