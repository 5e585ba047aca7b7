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


SERVERLESS = """
import json
import sagemaker
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.serverless import ServerlessInferenceConfig

session = sagemaker.Session()
data = session.upload_data("model.tar.gz", key_prefix={name!r})
model = Model(
    image_uri="sagebrush/onnx", model_data=data, role={role!r}, name={name!r},
    sagemaker_session=session, predictor_cls=Predictor,
)
predictor = model.deploy(
    serverless_inference_config=ServerlessInferenceConfig(memory_size_in_mb=1024, max_concurrency=3),
    endpoint_name={name!r}, wait=False,
    serializer=CSVSerializer(), deserializer=JSONDeserializer(),
)
{wait}
described = session.sagemaker_client.describe_endpoint(EndpointName={name!r})
answer = predictor.predict({row!r}, initial_args={{"Accept": "application/json"}})
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
config = described["ProductionVariants"][0]["CurrentServerlessConfig"]
print(json.dumps({{"config": config, "answer": answer}}))
"""


def test_serverless(endpoint_url, tmp_path, name):
    code = SERVERLESS.format(
        role=support.ROLE, name=name, row=sdk_common.ROW, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["config"] == {"MemorySizeInMB": 1024, "MaxConcurrency": 3}
    assert said["answer"]["predictions"], said
    assert_gone(endpoint_url, name)


SKLEARN = """
import json
import numpy
import sagemaker
from sagemaker.sklearn import SKLearnModel

session = sagemaker.Session()
data = session.upload_data("sklearn.tar.gz", key_prefix={name!r})
model = SKLearnModel(
    model_data=data, role={role!r}, entry_point="serve.py", framework_version="1.2-1",
    name={name!r}, sagemaker_session=session, model_server_workers=1,
)
predictor = model.deploy(1, "ml.m5.large", endpoint_name={name!r}, wait=False)
{wait}
answer = predictor.predict(numpy.array({rows!r}))
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps({{"image": model.image_uri, "env": model._script_mode_env_vars(),
                  "answer": answer.tolist()}}))
"""
# The code comes by itself, as SDK 2 packs it, and not in the model's archive.
SERVE = """
import os
import joblib

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))

def predict_fn(data, model):
    return model.predict(data) + 100
"""
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


def test_sklearn_model(endpoint_url, tmp_path, name):
    """A framework's own class: its image's URI, its code in S3, npy both ways."""
    sdk_common.sklearn_archive(tmp_path / "sdk")
    code = SKLEARN.format(
        role=support.ROLE, name=name, rows=ROWS, wait=sdk_common.wait_in_service(name)
    )
    files = {"serve.py": SERVE}
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk", files))
    assert said["answer"] == [100, 102], said
    assert said["env"]["SAGEMAKER_SUBMIT_DIRECTORY"].startswith("s3://"), said
    assert_gone(endpoint_url, name)


PYTHON_MODEL = """
import json
import sagemaker
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from sagemaker.deserializers import JSONDeserializer

session = sagemaker.Session()
data = session.upload_data("sklearn.tar.gz", key_prefix={name!r})
model = Model(
    image_uri="sagebrush/python", model_data=data, role={role!r}, name={name!r},
    sagemaker_session=session, predictor_cls=Predictor, env={{"GREETING": "hello"}},
)
predictor = model.deploy(
    1, "ml.m5.large", endpoint_name={name!r}, wait=False,
    serializer=JSONSerializer(), deserializer=JSONDeserializer(),
)
{wait}
answer = predictor.predict({rows!r})
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps(answer))
"""


def test_a_model_with_inference_py(endpoint_url, tmp_path, name):
    sdk_common.sklearn_archive(tmp_path / "sdk")
    code = PYTHON_MODEL.format(
        role=support.ROLE, name=name, rows=ROWS, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said == [0, 2]
    assert_gone(endpoint_url, name)


MULTI = """
import json
import sagemaker
from sagemaker.multidatamodel import MultiDataModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.deserializers import JSONDeserializer

session = sagemaker.Session()
prefix = f"s3://{{session.default_bucket()}}/{name}/"
many = MultiDataModel(
    name={name!r}, model_data_prefix=prefix, image_uri="sagebrush/onnx", role={role!r},
    sagemaker_session=session, predictor_cls=Predictor,
)
first = many.add_model("model.tar.gz", "first.tar.gz")
predictor = many.deploy(
    1, "ml.m5.large", endpoint_name={name!r}, wait=False,
    serializer=CSVSerializer(), deserializer=JSONDeserializer(),
)
{wait}
# A model that comes later, as a copy of what is in S3.
many.add_model(first, "deeper/second.tar.gz")
accept = {{"Accept": "application/json"}}
answers = [
    predictor.predict({row!r}, initial_args=accept, target_model=one)
    for one in ("first.tar.gz", "deeper/second.tar.gz")
]
listed = sorted(many.list_models())
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps({{"answers": answers, "listed": listed}}))
"""


def test_multi_data_model(endpoint_url, tmp_path, name):
    code = MULTI.format(
        role=support.ROLE, name=name, row=sdk_common.ROW, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["listed"] == ["deeper/second.tar.gz", "first.tar.gz"]
    first, second = said["answers"]
    assert first["predictions"] and first == second, said
    assert_gone(endpoint_url, name)


PIPELINE = """
import json
import sagemaker
from sagemaker.model import Model
from sagemaker.pipeline import PipelineModel
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from sagemaker.deserializers import JSONDeserializer
from sagemaker.sklearn import SKLearnModel

session = sagemaker.Session()
bucket = session.default_bucket()
before = SKLearnModel(
    model_data=session.upload_data("sklearn.tar.gz", key_prefix={name!r}), role={role!r},
    entry_point="before.py", framework_version="1.2-1", sagemaker_session=session,
)
model = Model(
    image_uri="sagebrush/onnx", role={role!r}, sagemaker_session=session,
    model_data=session.upload_data("model.tar.gz", key_prefix={name!r}),
)
pipeline = PipelineModel(
    [before, model], role={role!r}, name={name!r}, predictor_cls=Predictor,
    sagemaker_session=session,
)
predictor = pipeline.deploy(
    1, "ml.m5.large", endpoint_name={name!r}, wait=False,
    serializer=JSONSerializer(), deserializer=JSONDeserializer(),
)
{wait}
answer = predictor.predict(
    {{"measures": {row!r}}}, initial_args={{"Accept": "application/json"}}
)
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps(answer))
"""
BEFORE = """
import json

def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    return ",".join(map(str, json.loads(data)["measures"])), "text/csv"
"""


def test_pipeline_model(endpoint_url, tmp_path, name):
    sdk_common.sklearn_archive(tmp_path / "sdk")
    code = PIPELINE.format(
        role=support.ROLE, name=name, row=sdk_common.ROW, wait=sdk_common.wait_in_service(name)
    )
    files = {"before.py": BEFORE}
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk", files))
    assert said["predictions"], said
    assert_gone(endpoint_url, name)


TRANSFORMER = """
import json
import boto3
import sagemaker
from sagemaker.model import Model

session = sagemaker.Session()
bucket = session.default_bucket()
model = Model(
    image_uri="sagebrush/onnx", role={role!r}, name={name!r}, sagemaker_session=session,
    model_data=session.upload_data("model.tar.gz", key_prefix={name!r}),
)
session.upload_data("rows.csv", key_prefix="{name}/in")
transformer = model.transformer(
    1, "ml.m5.large", strategy="MultiRecord", assemble_with="Line", accept="text/csv",
    output_path=f"s3://{{bucket}}/{name}/out",
)
transformer.transform(
    f"s3://{{bucket}}/{name}/in", content_type="text/csv", split_type="Line", job_name={name!r},
    input_filter="$[1:]", join_source="Input", output_filter="$[0,5]", logs=True,
)
written = boto3.client("s3").get_object(Bucket=bucket, Key="{name}/out/rows.csv.out")
transformer.delete_model()
print(json.dumps(written["Body"].read().decode()))
"""


def test_transformer(endpoint_url, tmp_path, name):
    """`transform` waits by itself, and follows the job's log."""
    code = TRANSFORMER.format(role=support.ROLE, name=name)
    rows = "".join(f"id{i},{','.join(map(str, row))}\n" for i, row in enumerate(ROWS))
    said = sdk_common.run_python(code, endpoint_url, tmp_path / "sdk", {"rows.csv": rows})
    assert json.loads(said) == "id0,0\nid1,2\n", said


def assert_gone(url, name):
    import boto3
    from conftest import make_clients

    sagemaker = make_clients(boto3, url)("sagemaker")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name)
    assert sagemaker.list_models(NameContains=name)["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains=name)["EndpointConfigs"] == []


ASYNC = """
import json
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer

session = sagemaker.Session()
data = session.upload_data("model.tar.gz", key_prefix={name!r})
model = Model(
    image_uri="sagebrush/onnx", model_data=data, role={role!r}, name={name!r},
    sagemaker_session=session, predictor_cls=Predictor,
)
predictor = model.deploy(
    1, "ml.m5.large", endpoint_name={name!r}, wait=False,
    serializer=CSVSerializer(), deserializer=JSONDeserializer(),
    async_inference_config=AsyncInferenceConfig(max_concurrent_invocations_per_instance=2),
)
{wait}
waiter = WaiterConfig(delay=1, max_attempts=30)
json_please = {{"Accept": "application/json"}}
answer = predictor.predict({row!r}, initial_args=json_please, waiter_config=waiter)
later = predictor.predict_async({row!r}, initial_args=json_please, inference_id="mine")
again = later.get_result(waiter)
predictor.deserializer = sagemaker.deserializers.StringDeserializer()
try:
    predictor.predict([1.0], waiter_config=waiter)
    failure = None
except AsyncInferenceModelError as error:
    failure = str(error)
predictor.delete_model()
predictor.delete_endpoint(delete_endpoint_config=True)
print(json.dumps({{
    "answer": answer, "again": again, "failure": failure, "output": later.output_path,
}}))
"""


def test_async_predictor(endpoint_url, tmp_path, name):
    code = ASYNC.format(
        role=support.ROLE, name=name, row=sdk_common.ROW, wait=sdk_common.wait_in_service(name)
    )
    said = json.loads(sdk_common.run_python(code, endpoint_url, tmp_path / "sdk"))
    assert said["answer"]["predictions"], said
    assert said["again"] == said["answer"]
    assert said["output"].endswith("/mine.out")
    assert "expects float32" in said["failure"], said
    assert_gone(endpoint_url, name)
