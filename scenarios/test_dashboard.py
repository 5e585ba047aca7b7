"""What `/metrics` shows: that Prometheus can read it, and that the dashboard names nothing else."""

import json
import re
import urllib.request

import asynchronous
import calls
import conftest
import metrics
import models
import pytest
import support
from collector import Collector
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

DASHBOARD = support.ROOT / "deploy/grafana/sagebrush.json"
NAME = re.compile(r"\b(?:sagebrush|process)_\w+")
SAMPLE = re.compile(r"^([a-z_:][a-z0-9_:]*)(\{.*\})? (-?[0-9.e+-]+|\+Inf|NaN)$")
LABELS = re.compile(r'\{(?:[a-z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)+\}')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Page:
    """The page, read as strictly as the text format is specified."""

    def __init__(self, url):
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
        assert text.endswith("\n")
        self.kinds, self.samples = {}, set()
        helped = family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, helped, words = line.split(" ", 3)
                assert words.strip(), line
            elif line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                assert family == helped, f"{family} has no HELP"
                assert family not in self.kinds, f"{family} is there twice"
                self.kinds[family] = kind
            else:
                self._sample(line, family)

    def _sample(self, line, family):
        found = SAMPLE.match(line)
        assert found, line
        name, labels, _ = found.groups()
        assert labels is None or LABELS.fullmatch(labels), line
        suffixes = SUFFIXES[self.kinds[family]]
        assert name in {family + suffix for suffix in suffixes}, line
        assert line.rsplit(" ", 1)[0] not in self.samples, f"{line} is there twice"
        self.samples.add(line.rsplit(" ", 1)[0])

    @property
    def names(self):
        return {sample.split("{")[0] for sample in self.samples}


@pytest.fixture
def busy(server):
    """A server that has done a bit of everything."""
    server.stop()
    with Collector() as collector:
        server.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        server.start()
        client = conftest.make_clients(boto3, server.url)
        client("s3").create_bucket(Bucket="busy")
        deployment = Deployment(client, "busy", "busy")
        runtime = client("sagemaker-runtime")
        onnx = deployment({"model.onnx": models.logistic()}, suffix="-onnx")
        calls.invoke(runtime, onnx, models.csv(models.ROWS[:5]), "text/csv")
        stream = runtime.invoke_endpoint_with_response_stream(
            EndpointName=onnx, Body=models.csv(models.ROWS[:5]), ContentType="text/csv"
        )
        assert list(stream["Body"])
        later = deployment(
            support.inference_py(asynchronous.MODEL), suffix="-async", image=support.PYTHON,
            asynchronous=asynchronous.config("busy"),
        )
        accepted = runtime.invoke_endpoint_async(
            EndpointName=later, Body=b"{}", ContentType=calls.JSON
        )
        assert asynchronous.result(client("s3"), accepted)[0] == "output"
        yield server


def test_prometheus_and_the_dashboard_find_what_they_look_for(busy):
    processed = "sagebrush_async_invocations_processed_total"
    support.wait_for(lambda: metrics.value(busy.url, processed), "the call is counted")
    page = Page(busy.url)
    for family, kind in page.kinds.items():
        assert family.endswith("_total") == (kind == "counter"), family
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            asked |= set(NAME.findall(target["expr"]))
    assert len(asked) > 30
    assert asked <= page.names, f"nobody shows {sorted(asked - page.names)}"

    value = metrics.value
    assert value(busy.url, "sagebrush_build_info") == 1
    assert value(busy.url, "sagebrush_fleet_instances", owner="endpoint", state="ready") == 2
    assert value(busy.url, "sagebrush_open_connections") >= 1
    assert value(busy.url, "sagebrush_store_writes_total") >= 8
    assert value(busy.url, "process_resident_memory_bytes") > 10 << 20
    assert value(busy.url, "process_cpu_seconds_total") > 0
    for endpoint in ("busy-onnx", "busy-async"):
        assert value(busy.url, "sagebrush_instance_cpu_seconds_total", endpoint=endpoint) > 0
    memory = value(busy.url, "sagebrush_instance_memory_bytes", endpoint="busy-async")
    assert memory > 5 << 20
