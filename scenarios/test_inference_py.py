"""`inference.py`: the functions of SageMaker's inference toolkit, and what becomes of errors."""

import io
import json
import os

import numpy as np
import pytest

import calls
import support

# The functions and their defaults.

FOUR = """
import os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "factor.txt")) as file:
        return int(file.read())

def input_fn(data, content_type):
    if content_type != "text/csv":
        raise ValueError("no " + content_type)
    # CSV and JSON come as str.
    assert isinstance(data, str), type(data)
    return [int(part) for part in data.split(",")]

def predict_fn(numbers, model):
    return [model * number for number in numbers]

def output_fn(prediction, accept):
    return "+".join(map(str, prediction)), "text/plain; accept=" + accept
"""


def test_four_functions(deploy, runtime):
    endpoint = deploy(support.inference_py(FOUR, {"factor.txt": "3"}), image=support.PYTHON)
    answer = calls.invoke(runtime, endpoint, b"1,20,300", "text/csv", "text/x-sum")
    assert answer["Body"] == b"3+60+900"
    # The second of a pair is the answer's content type.
    assert answer["ContentType"] == "text/plain; accept=text/x-sum"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert "no a/b" in calls.model_error(runtime, endpoint, b"1", content_type="a/b")


TRANSFORM = """
def model_fn(model_dir):
    return ["a", "model"]

def transform_fn(model, data, content_type, accept):
    assert isinstance(data, (bytes, bytearray)), type(data)
    return b"|".join([bytes(data), content_type.encode(), accept.encode(), model[1].encode()])
"""


def test_transform_fn(deploy, runtime):
    endpoint = deploy(support.inference_py(TRANSFORM), image="python")
    body = bytes(range(256))
    answer = calls.invoke(runtime, endpoint, body, "application/octet-stream", "image/x-any")
    assert answer["Body"] == body + b"|application/octet-stream|image/x-any|model"
    # Bytes alone are of the type that was asked for.
    assert answer["ContentType"] == "image/x-any"


def test_transform_fn_with_others_is_refused(deploy):
    source = TRANSFORM + "\ndef predict_fn(data, model):\n    return data\n"
    reason = deploy.failing(support.inference_py(source), image=support.PYTHON)
    assert "transform_fn" in reason and "predict_fn" in reason, reason


DEFAULTS = """
def model_fn(model_dir):
    return None

def predict_fn(data, model):
    return data
"""


@pytest.fixture(scope="module")
def echo(client):
    """One endpoint of default input and output, for the calls that only look at those."""
    from conftest import empty
    from deployment import Deployment

    s3, bucket = client("s3"), "inference-py-scenario"
    s3.create_bucket(Bucket=bucket)
    deployment = Deployment(client, bucket, bucket)
    yield deployment(support.inference_py(DEFAULTS), image=support.PYTHON)
    deployment.clean()
    empty(s3, bucket)
    s3.delete_bucket(Bucket=bucket)


def npy(values):
    packed = io.BytesIO()
    np.save(packed, np.asarray(values, np.float32))
    return packed.getvalue()


ROWS = [[1.0, 2.5], [3.0, -4.0], [0.0, 8.0]]
AS = {
    "application/json": (json.dumps(ROWS), json.loads),
    "text/csv": (
        "1.0,2.5\n3.0,-4.0\n0.0,8.0",
        lambda body: np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2).tolist(),
    ),
    "application/x-npy": (npy(ROWS), lambda body: np.load(io.BytesIO(body)).tolist()),
}


@pytest.mark.parametrize("accept", AS)
@pytest.mark.parametrize("content_type", AS)
def test_default_formats(runtime, echo, content_type, accept):
    body, _ = AS[content_type]
    answer = calls.invoke(runtime, echo, body, content_type, accept)
    assert answer["ContentType"].startswith(accept)
    assert AS[accept][1](answer["Body"]) == ROWS


@pytest.mark.parametrize("accept", [None, "*/*"])
def test_without_an_accept_it_is_json(runtime, echo, accept):
    answer = calls.invoke(runtime, echo, AS["text/csv"][0], "text/csv", accept)
    assert answer["ContentType"].startswith("application/json")
    assert json.loads(answer["Body"]) == ROWS


def test_the_default_accept_is_a_setting(deploy, runtime):
    endpoint = deploy(
        support.inference_py(DEFAULTS), image=support.PYTHON,
        environment={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"},
    )
    answer = calls.invoke(runtime, endpoint, json.dumps(ROWS))
    assert answer["ContentType"].startswith("text/csv")
    assert AS["text/csv"][1](answer["Body"]) == ROWS


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "named"),
    [
        (b"{not json", "application/json", None, range(400, 500), ""),
        (b"<a/>", "application/xml", None, range(400, 500), "application/xml"),
        (b"[1]", "application/json", "image/png", range(400, 500), "image/png"),
    ],
)
def test_what_the_defaults_cannot_do(runtime, echo, body, content_type, accept, status, named):
    response = calls.refused(runtime, echo, body, content_type=content_type, accept=accept)
    assert response["Error"]["Code"] == "ModelError", response
    assert response["OriginalStatusCode"] in status, response
    assert response["OriginalMessage"], response
    assert named in response["OriginalMessage"].lower()


# Context, headers, attributes.

CONTEXT = """
import json
from sagebrush import HttpError

def model_fn(model_dir, context):
    return "loaded"

def input_fn(data, content_type, context):
    return json.loads(data)

def predict_fn(data, model, context):
    return {
        "attributes": context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes"),
        "inference-id": context.get_request_header(0, "X-Amzn-SageMaker-Inference-Id"),
        "content-type": context.get_request_header(0, "Content-Type"),
        "authorization": context.get_request_header(0, "Authorization"),
        "model": model,
    }

def output_fn(prediction, accept, context):
    context.set_response_header(
        0, "X-Amzn-SageMaker-Custom-Attributes", (prediction["attributes"] or "") + ";seen"
    )
    return json.dumps(prediction)
"""


def test_context_and_headers(deploy, runtime):
    endpoint = deploy(support.inference_py(CONTEXT), image=support.PYTHON)
    answer = calls.invoke(
        runtime, endpoint, CustomAttributes="trace=1; b", InferenceId="an-id"
    )
    assert json.loads(answer["Body"]) == {
        "attributes": "trace=1; b", "inference-id": "an-id", "model": "loaded",
        "content-type": "application/json",
        # Credentials stay outside.
        "authorization": None,
    }
    assert answer["CustomAttributes"] == "trace=1; b;seen"


# Errors.

FAULTY = """
import json
from sagebrush import HttpError

def model_fn(model_dir):
    print("loading from", model_dir)

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    print("asked for", data)
    if data == "teapot":
        raise HttpError(418, "I hold tea")
    if data == "rejected":
        raise HttpError(422, "age must be a number")
    if data == "deep":
        return deep_inside({})
    return data

def deep_inside(table):
    return table["no such key"]
"""


def test_errors(client, deploy, runtime):
    endpoint = deploy(support.inference_py(FAULTY), image=support.PYTHON)
    caller_s = []
    for word, status, said in [
        ("rejected", 422, "age must be a number"), ("teapot", 418, "I hold tea")
    ]:
        response = calls.refused(runtime, endpoint, json.dumps(word))
        caller_s.append(response["ResponseMetadata"]["RequestId"])
        assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (status, said)
        message = response["Error"]["Message"]
        assert message.startswith(
            f'Received client error ({status}) from primary with message "{said}".'
        ), message
        assert f"/aws/sagemaker/Endpoints/{endpoint}" in response["LogStreamArn"]

    response = calls.refused(runtime, endpoint, '"deep"')
    assert response["OriginalStatusCode"] == 500
    message = response["OriginalMessage"]
    for part in ("KeyError: 'no such key'", "Traceback", "deep_inside", "inference.py"):
        assert part in message, message
    assert response["Error"]["Message"].startswith("Received server error (500) from primary")

    # The log has the same under the call's id; prints of the model are there too.
    request = response["ResponseMetadata"]["RequestId"]

    def logged():
        lines = calls.log_lines(client, endpoint)
        mine = "\n".join(line for line in lines if line.startswith(f"[{request}]"))
        return lines if "KeyError: 'no such key'" in mine and "asked for deep" in mine else None

    lines = support.wait_for(logged, "the traceback in the log", 10)
    assert any("loading from" in line for line in lines)
    # A bad call of the caller's is no fault of the model's: no traceback of it.
    of_callers = [line for line in lines if any(f"[{one}]" in line for one in caller_s)]
    assert not any("Traceback" in line for line in of_callers), of_callers
    # The worker lives on.
    assert calls.ask(runtime, endpoint, '"well"') == "well"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import no_such_package_at_all\n", "No module named 'no_such_package_at_all'"),
        ("def model_fn(model_dir):\n    raise OSError('no weights here')\n", "no weights here"),
        ("def model_fn(:\n", "SyntaxError"),
        ("import os\nos._exit(3)\n", "exit code 3"),
    ],
)
def test_code_that_cannot_start(client, deploy, source, named):
    reason = deploy.failing(support.inference_py(source), image=support.PYTHON)
    assert named in reason, reason
    assert len(reason) <= 1024


@pytest.mark.parametrize("workers", ["100000", "-1", "some"])
def test_numbers_of_workers_that_cannot_be(deploy, workers):
    variables = {"SAGEMAKER_MODEL_SERVER_WORKERS": workers}
    reason = deploy.failing(support.inference_py(FOUR), image=support.PYTHON, environment=variables)
    assert f"SAGEMAKER_MODEL_SERVER_WORKERS={workers}" in reason


def test_no_code_at_all(deploy):
    reason = deploy.failing({"notes.txt": "no code"}, image=support.PYTHON)
    assert "inference.py" in reason, reason


def test_a_program_of_another_name(deploy, runtime):
    source = "def model_fn(d):\n    pass\ndef predict_fn(data, model):\n    return 'other'\n"
    endpoint = deploy(
        {"code/serve_it.py": source}, image=support.PYTHON,
        environment={"SAGEMAKER_PROGRAM": "serve_it.py", "GREETING": "hello"},
    )
    assert calls.ask(runtime, endpoint) == "other"


def test_the_container_s_environment(deploy, runtime):
    source = """
    import os

    def model_fn(model_dir):
        return None

    def predict_fn(data, model):
        return {name: value for name, value in os.environ.items()}
    """
    endpoint = deploy(
        support.inference_py(source), image=support.PYTHON, environment={"GREETING": "hello"}
    )
    seen = calls.ask(runtime, endpoint)
    assert seen["GREETING"] == "hello"
    # Nothing of the server's own.
    assert [name for name in seen if "SECRET" in name or "ACCESS_KEY" in name] == []


# Sizes and numbers.


def test_five_megabytes_there_and_back(deploy, runtime):
    source = """
    def model_fn(model_dir):
        return None

    def transform_fn(model, data, content_type, accept):
        return bytes(data)
    """
    endpoint = deploy(support.inference_py(source), image=support.PYTHON)
    for size in (0, 1, 65_536, 5_000_000):
        body = os.urandom(size)
        answer = calls.invoke(runtime, endpoint, body, "application/octet-stream")
        assert answer["Body"] == body, size


def test_two_hundred_calls_at_once_get_their_own_answers(client, deploy):
    source = """
    import json

    def model_fn(model_dir):
        return None

    def input_fn(data, content_type):
        return json.loads(data)

    def predict_fn(data, model):
        return {"n": data["n"], "letters": data["letter"] * data["n"]}
    """
    endpoint = deploy(support.inference_py(source), image=support.PYTHON)
    runtime = client(
        "sagemaker-runtime", config={"max_pool_connections": 200, "user_agent_extra": "many"}
    )

    def call(n):
        answer = calls.ask(
            runtime, endpoint, {"n": n, "letter": chr(97 + n % 26)}, CustomAttributes=f"n={n}"
        )
        return answer == {"n": n, "letters": chr(97 + n % 26) * n}

    outcomes = support.in_threads(200, call)
    assert outcomes == [True] * 200, [one for one in outcomes if one is not True][:3]


# Packages.

VERSIONS = """
import importlib.metadata

import pkg_of_ours

def model_fn(model_dir):
    return None

def predict_fn(data, model):
    import iniconfig
    return {"ours": pkg_of_ours.WORD, "version": importlib.metadata.version("iniconfig")}
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "pkg-of-ours"
version = "1.0"
"""
# A wheel made by hand: no build tool is fetched for it.
BACKEND = '''
import zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "pkg_of_ours-1.0-py3-none-any.whl"
    info = "pkg_of_ours-1.0.dist-info"
    files = {
        "pkg_of_ours.py": "WORD = 'from a folder'",
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: pkg-of-ours\\nVersion: 1.0\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: us\\nRoot-Is-Purelib: true\\n"
            "Tag: py3-none-any\\n",
    }
    record = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)
    return name
'''


def test_requirements_are_installed(deploy, runtime):
    """A package in the model's own folder, and a small one from PyPI that the server lacks."""
    files = {
        "code/requirements.txt": "iniconfig==2.0.0\n./pkg\n",
        "code/pkg/pyproject.toml": PROJECT,
        "code/pkg/backend.py": BACKEND,
    }
    endpoint = deploy(support.inference_py(VERSIONS, files), image=support.PYTHON)
    # It wins over the interpreter's own iniconfig, which is newer.
    assert calls.ask(runtime, endpoint) == {"ours": "from a folder", "version": "2.0.0"}


@pytest.mark.parametrize(
    ("requirements", "named"),
    [
        ("iniconfig==999.0\n", "iniconfig"),
        ("./no-such-folder\n", "no-such-folder"),
        ("this is no requirement\n", "requirement"),
    ],
)
def test_requirements_that_cannot_be_installed(deploy, requirements, named):
    files = support.inference_py(DEFAULTS, {"code/requirements.txt": requirements})
    reason = deploy.failing(files, image=support.PYTHON)
    assert "requirements" in reason.lower() and named in reason.lower(), reason


# Where the code runs.


def test_the_model_is_at_opt_ml_model(deploy, runtime, tmp_path):
    source = """
    import json, os

    def model_fn(model_dir):
        return model_dir

    def input_fn(data, content_type):
        return json.loads(data)

    def predict_fn(path, model):
        try:
            with open("/opt/ml/model/written", "w"):
                written = "written"
        except OSError:
            written = "refused"
        with open("/opt/ml/model/words.txt") as file:
            return {"dir": model, "words": file.read(), "written": written,
                    "sees": os.path.exists(path)}
    """
    files = support.inference_py(source, {"words.txt": "read me"})
    endpoint = deploy(files, image=support.PYTHON)
    if not deploy.is_isolated():
        pytest.skip(f"no namespaces here: {deploy.resolved()}")
    # A file of this test's, on the machine's own /tmp.
    outside = tmp_path / "outside.txt"
    outside.write_text("not for models")
    assert calls.ask(runtime, endpoint, json.dumps(str(outside))) == {
        "dir": "/opt/ml/model", "words": "read me", "written": "refused", "sees": False
    }


def test_what_runs_is_said(deploy):
    deploy(support.inference_py(DEFAULTS), image=support.PYTHON)
    resolved = deploy.resolved()
    assert "isolation=" in resolved and len(resolved) <= 255, resolved
    assert not set(resolved) & set(" \t\n"), resolved


def test_each_instance_has_a_log_stream(deploy, client):
    source = """
    import os

    def model_fn(model_dir):
        print("loaded by", os.getpid())

    def predict_fn(data, model):
        return data
    """
    endpoint = deploy(support.inference_py(source), image=support.PYTHON, instances=2)
    logs, group = client("logs"), f"/aws/sagemaker/Endpoints/{endpoint}"

    def both():
        found = logs.describe_log_streams(logGroupName=group)["logStreams"]
        return found if len(found) == 2 else None

    for stream in support.wait_for(both, "two streams", 10):
        name = stream["logStreamName"]
        assert name.startswith("AllTraffic/i-"), name
        events = logs.get_log_events(logGroupName=group, logStreamName=name)["events"]
        assert any("loaded by" in event["message"] for event in events), events


def test_all_instances_answer(client, deploy):
    source = """
    import os

    def model_fn(model_dir):
        return os.urandom(8).hex()

    def predict_fn(data, model):
        return model
    """
    endpoint = deploy(
        support.inference_py(source), image=support.PYTHON, instances=2,
        environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    asked = support.in_threads(40, lambda i: calls.ask(client("sagemaker-runtime"), endpoint))
    assert len(set(asked)) == 2, asked
