"""What the scenarios of both SDKs share. Nothing is trained: their virtualenvs lack the means."""

import json
import subprocess
import sys

import support

MODEL = support.ROOT / "crates/onnx/tests/models/iris_logistic.onnx"
ROW = [5.1, 3.5, 1.4, 0.2]


def environment(url, folder):
    """What `sagebrush env` says, and proxies that refuse every call to another host."""
    done = subprocess.run(
        [support.binary(), "env", "--json"], capture_output=True, check=True, cwd=folder,
        env=support.clean_environment(
            SAGEBRUSH_LISTEN=url.removeprefix("http://"), SAGEBRUSH_DATA_DIR=str(folder / "data"),
            HOME=str(folder),
        ),
    )
    closed = f"http://127.0.0.1:{support.free_port()}"
    proxies = {
        name: closed
        for pair in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (pair, pair.lower())
    }
    inside = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HOME": str(folder)}
    return json.loads(done.stdout) | proxies | inside


def sklearn_archive(folder):
    """The path of a scikit-learn model's archive, which another virtualenv makes."""
    path = folder / "sklearn.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    script = support.ROOT / "scenarios/trained.py"
    subprocess.run([support.python(), script, path], check=True, timeout=120)
    return path


def run_python(code, url, folder, files=None):
    """Runs a user's program in an environment of its own; returns what it printed last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tar.gz").write_bytes(support.archive({"model.onnx": MODEL.read_bytes()}))
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    program = folder / "program.py"
    program.write_text(code)
    variables = support.clean_environment(**environment(url, folder))
    done = subprocess.run(
        [sys.executable, program], cwd=folder, env=variables, capture_output=True, text=True,
        timeout=240, check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout.strip().splitlines()[-1]


def proves_the_proxy_refuses(url, folder):
    """The means of proof itself is tried: a call to another host fails."""
    code = (
        "import urllib.request, urllib.error\n"
        "try:\n"
        "    urllib.request.urlopen('http://sts.amazonaws.com/', timeout=10)\n"
        "    print('reached')\n"
        "except (urllib.error.URLError, OSError):\n"
        "    print('refused')\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return run_python(code, url, folder) == "refused"


def wait_in_service(name):
    """Lines for the users' programs, after `deploy(wait=False)`: the SDK's own wait is for 30 s."""
    return (
        "import boto3, time\n"
        "describe = boto3.client('sagemaker').describe_endpoint\n"
        f"while (seen := describe(EndpointName={name!r}))['EndpointStatus'] == 'Creating':\n"
        "    time.sleep(0.05)\n"
        "assert seen['EndpointStatus'] == 'InService', seen\n"
    )
