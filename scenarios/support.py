"""What all scenarios share. Standard library only, so that it also runs beside the SDKs."""

import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
KEY = SECRET = "sagebrush"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole"
IMAGE = "sagebrush/onnx"
PYTHON = "sagebrush/python"


def wait_for(condition, what, deadline=30.0):
    """Asks `condition` until it says something true, and returns that; fails at the deadline."""
    end = time.monotonic() + deadline
    while True:
        seen = condition()
        if seen:
            return seen
        assert time.monotonic() < end, f"{what}: not within {deadline} s; last seen {seen!r}"
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binary():
    """The built server."""
    given = os.environ.get("SAGEBRUSH_BINARY")
    return Path(given) if given else ROOT / "target/debug/sagebrush"


def python():
    """The interpreter with the packages that the models need, whichever virtualenv this is."""
    return os.environ.get("SAGEBRUSH_SCENARIO_PYTHON", sys.executable)


def clean_environment(**more):
    """This environment without settings of AWS clients, proxies or ours, so that tests say all."""
    dropped = ("AWS_", "SAGEBRUSH_", "SAGEMAKER_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)
    }
    if library := os.environ.get("SAGEBRUSH_ONNXRUNTIME"):
        kept["SAGEBRUSH_ONNXRUNTIME"] = library
    return kept | more


def aws_variables(url):
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Server:
    """A server of our own, which may be killed and started again on the same data and port."""

    def __init__(self, data_dir, *options):
        self.data_dir = Path(data_dir)
        self.options = options
        self.environment = {"SAGEBRUSH_PYTHON": python()}
        self.port = 0
        self.process = None
        self.url = None

    @property
    def log(self):
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    @property
    def address(self):
        return self.url.removeprefix("http://")

    def start(self):
        endpoint = self.data_dir / "endpoint"
        endpoint.unlink(missing_ok=True)
        listen = f"127.0.0.1:{self.port}"
        command = [binary(), "serve", "--listen", listen, "--data-dir", self.data_dir]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.options], env=clean_environment(**self.environment),
                cwd=self.data_dir.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.url = wait_for(lambda: self._endpoint(endpoint), "the file with the endpoint", 60)
        self.port = int(self.url.rsplit(":", 1)[1])
        wait_for(self._is_ready, "readiness", 60)
        return self

    def kill(self):
        """As a power cut for the process: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Asks it to end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def _endpoint(self, path):
        self._assert_alive()
        text = path.read_text().strip() if path.is_file() else ""
        return text if text.startswith("http://") else None

    def _is_ready(self):
        self._assert_alive()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _assert_alive(self):
        code = self.process.poll()
        assert code is None, f"the server ended with {code}:\n{self.log.read_text()[-4000:]}"


def archive(files):
    """A model.tar.gz of `{name: content}`; content is bytes or text."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def inference_py(source, files=None):
    """The files of a model whose code is `source`."""
    return {"code/inference.py": textwrap.dedent(source)} | (files or {})


def in_threads(n, work):
    """Runs `work(i)` in `n` threads that start together; returns results and errors in order."""
    barrier, outcomes = threading.Barrier(n), [None] * n

    def run(i):
        barrier.wait()
        try:
            outcomes[i] = work(i)
        except Exception as error:  # noqa: BLE001, the caller looks at it.
            outcomes[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
