"""Traces: from a client's through the server and the model's code to a collector."""

import json
import secrets
import time
import urllib.parse

import pytest

import asynchronous
import calls
import conftest
import metrics
import support
from collector import Collector
from deployment import Deployment
from transforms import LENGTHS, Transforms

boto3 = pytest.importorskip("boto3")

SERVER, CONSUMER = 2, 5
SEEN = ("traceparent", "tracestate", "X-Amzn-Trace-Id")
MODEL = """
import json, time

def model_fn(model_dir):
    return None

def predict_fn(data, model, context):
    time.sleep(max(0, data.get("until", 0) - time.time()))
    if data.get("fail"):
        raise ValueError("this call was to fail")
    return {name: context.get_request_header(0, name) for name in %r}
""" % (SEEN,)
# A run costs the same whatever its size: batches pay. It says how many calls it was asked.
TOGETHER = """
import time

def model_fn(model_dir):
    return None

def predict_batch_fn(inputs, model):
    time.sleep(0.03)
    return [len(inputs)] * len(inputs)
"""
STREAM = """
def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    yield "one"
    yield "two"
"""


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector


@pytest.fixture
def traced(server, collector):
    """A server of our own that tells its traces and samples none by itself."""
    server.stop()
    server.environment |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "SAGEBRUSH_TRACE_RATIO": "0",
    }
    return server.start()


class Traced:
    """Clients whose calls carry headers of a trace."""

    def __init__(self, url):
        self.client = conftest.make_clients(boto3, url)
        self.headers = {}
        for service in ("sagemaker-runtime", "sagemaker"):
            events = self.client(service).meta.events
            events.register(f"before-sign.{service}", self._add)
        self.runtime = self.client("sagemaker-runtime")
        self.client("s3").create_bucket(Bucket="traces")

    def _add(self, request, **_):
        for name, value in self.headers.items():
            request.headers[name] = value

    def deploy(self, files=None, image=support.PYTHON, **options):
        deployment = Deployment(self.client, f"t-{secrets.token_hex(4)}", "traces")
        return deployment(files, image=image, **options)


@pytest.fixture
def own(traced):
    return Traced(traced.url)


def parent(sampled=True):
    """A trace, a span of it, and the `traceparent` that names both."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-{int(sampled):02x}"


def check_tree(root, children):
    """All are parts of `root` and lie within its time, and it is told by whom and how long."""
    assert root.service == "mine"
    for child in children:
        assert (child.parent, child.trace) == (root.id, root.trace), child
        assert root.began <= child.began <= child.ended <= root.ended, child


def test_a_call_goes_on_with_the_trace_of_its_client(traced, own, collector):
    endpoint = own.deploy(support.inference_py(MODEL))
    trace, span, traceparent = parent()
    own.headers = {"traceparent": traceparent, "tracestate": "vendor=1"}
    collector.refusals = [503]  # The collector is asked again.
    answer = calls.invoke(own.runtime, endpoint, {})
    spans = collector.of(
        trace, f"InvokeEndpoint {endpoint}", "queue", "batch", "pre", "model", "post"
    )
    root, queue, batch, pre, model, post = spans
    check_tree(root, spans[1:])
    assert (root.parent, root.kind, root.state, root.failed) == (span, SERVER, "vendor=1", False)
    assert queue.ended <= batch.began and batch.ended <= pre.began
    assert pre.ended <= model.began and model.ended <= post.began
    told = {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "aws.request_id": answer["ResponseMetadata"]["RequestId"],
        "rpc.method": "InvokeEndpoint",
        "sagebrush.endpoint": endpoint,
        "sagebrush.variant": "AllTraffic",
        "sagebrush.config": endpoint,
        "sagebrush.batch.size": 1,
    }
    assert root.attributes.items() >= told.items()
    assert root.attributes["sagebrush.instance"].startswith("i-")
    # The model's code goes on below the span of the model.
    seen = json.loads(answer["Body"])
    assert seen["traceparent"] == f"00-{trace}-{model.id}-01"
    assert seen["tracestate"] == "vendor=1"
    assert seen["X-Amzn-Trace-Id"] == (
        f"Root=1-{trace[:8]}-{trace[8:]};Parent={model.id};Sampled=1"
    )

    # X-Ray's header names a trace as well.
    trace, span, _ = parent()
    own.headers = {"X-Amzn-Trace-Id": f"Root=1-{trace[:8]}-{trace[8:]};Parent={span};Sampled=1"}
    calls.model_error(own.runtime, endpoint, {"fail": True})
    root, *rest = collector.of(
        trace, f"InvokeEndpoint {endpoint}", "queue", "batch", "model"
    )
    check_tree(root, rest)
    assert root.parent == span and rest[-1].failed
    told = {"error.type": "ModelError", "http.response.status_code": 424}
    assert root.attributes.items() >= told.items()

    # Who sent the call said no; so does the server to the model's code.
    _, _, traceparent = parent(sampled=False)
    own.headers = {"traceparent": traceparent}
    assert calls.ask(own.runtime, endpoint)["traceparent"] == traceparent
    own.headers = {}
    assert calls.ask(own.runtime, endpoint) == dict.fromkeys(SEEN)
    assert metrics.value(traced.url, "sagebrush_exported_spans_total") >= 10
    assert metrics.value(traced.url, "sagebrush_dropped_spans_total") == 0

    # The control plane's calls are traced too.
    trace, span, traceparent = parent()
    own.headers = {"traceparent": traceparent}
    own.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    (root,) = collector.of(trace, "DescribeEndpoint")
    assert (root.parent, root.kind) == (span, SERVER)
    assert root.attributes["rpc.service"] == "sagemaker"


def test_calls_of_s3_are_traced(own, collector):
    s3 = own.client("s3")
    events = s3.meta.events
    events.register("before-sign.s3", own._add)
    trace, span, traceparent = parent()
    own.headers = {"traceparent": traceparent}
    s3.put_object(Bucket="traces", Key="a/b", Body=b"x")
    assert s3.get_object(Bucket="traces", Key="a/b")["Body"].read() == b"x"
    put, got = collector.of(trace, "PutObject", "GetObject")
    told = {
        "rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": "GetObject",
        "aws.s3.bucket": "traces", "aws.s3.key": "a/b", "http.response.status_code": 200,
    }
    assert got.attributes.items() >= told.items()
    assert (put.parent, got.parent, got.kind) == (span, span, SERVER)


def test_metrics_are_told_as_prometheus_would_read_them(server, collector):
    server.stop()
    server.environment |= {
        "SAGEBRUSH_OTLP_ENDPOINT": collector.url, "OTEL_METRIC_EXPORT_INTERVAL": "100"
    }
    server.start()
    conftest.make_clients(boto3, server.url)("s3").create_bucket(Bucket="told")

    def told(kind, name):
        metric = collector.metrics.get(name)
        return metric and metric[kind]["dataPoints"]

    commits = support.wait_for(
        lambda: told("histogram", "sagebrush_store_commit_seconds"), "histograms"
    )
    assert len(commits[0]["bucketCounts"]) == len(commits[0]["explicitBounds"]) + 1
    (info,) = told("gauge", "sagebrush_build_info")
    assert (info["asInt"], info["attributes"][0]["key"]) == ("1", "version")
    writes = collector.metrics["sagebrush_store_writes_total"]["sum"]
    assert (writes["isMonotonic"], writes["aggregationTemporality"]) == (True, 2)
    exported = "sagebrush_exported_points_total"
    support.wait_for(lambda: metrics.value(server.url, exported) > 10, "points")
    assert metrics.value(server.url, "sagebrush_dropped_points_total") == 0
    server.environment["SAGEBRUSH_OTLP_METRICS"] = "false"
    server.environment["OTEL_BSP_SCHEDULE_DELAY"] = "100"
    server.stop()  # Tells metrics and traces a last time.
    collector.metrics.clear()
    collector.spans.clear()
    server.start()
    conftest.make_clients(boto3, server.url)("s3").list_buckets()
    assert support.wait_for(lambda: collector.spans, "spans") and collector.metrics == {}


def test_a_program_finds_the_trace_in_its_headers(own, collector):
    serve = urllib.parse.quote(str(support.ROOT / "scenarios/byo/serve.py"))
    endpoint = own.deploy(image=f"process://{support.python()}?arg={serve}")
    trace, _, traceparent = parent()
    own.headers = {"traceparent": traceparent}
    headers = calls.ask(own.runtime, endpoint, b"about")["headers"]
    _, *_, model = collector.of(trace, f"InvokeEndpoint {endpoint}", "queue", "batch", "model")
    assert headers["traceparent"] == f"00-{trace}-{model.id}-01"
    assert headers["x-amzn-trace-id"].endswith(f"Parent={model.id};Sampled=1")


def test_calls_that_are_answered_together_know_of_each_other(own, collector):
    endpoint = own.deploy(
        support.inference_py(TOGETHER), environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    )
    trace, _, traceparent = parent()
    own.headers = {"traceparent": traceparent}

    def caller(_):
        return [calls.ask(own.runtime, endpoint, 7) for _ in range(20)]

    outcomes = support.in_threads(6, caller)
    assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    n_linked = sum(together > 1 for outcome in outcomes for together in outcome)
    assert n_linked > 0
    support.wait_for(lambda: len(collector.named(trace, "model")) == 120, "all are told")
    told = {span.id: span for span in collector.named(trace, "model")}
    linked = [span for span in told.values() if span.links]
    assert len(linked) == n_linked
    for span in linked:
        for other in span.links:
            assert span.id in told[other].links and other != span.id


def test_a_reply_in_parts_is_traced_to_its_last_part(own, collector):
    endpoint = own.deploy(support.inference_py(STREAM))
    trace, _, traceparent = parent()
    own.headers = {"traceparent": traceparent}
    reply = own.runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=b"{}")
    parts = [part["PayloadPart"]["Bytes"] for part in reply["Body"]]
    assert b"".join(parts) == b"onetwo"
    name = f"InvokeEndpointWithResponseStream {endpoint}"
    root, *rest = collector.of(trace, name, "queue", "batch", "model")
    check_tree(root, rest)
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["sagebrush.stream.first_part_us"] > 0
    assert "sagebrush.abandoned" not in root.attributes


def test_an_asynchronous_call_is_traced_across_a_restart(traced, own, collector):
    endpoint = own.deploy(
        support.inference_py(MODEL), asynchronous=asynchronous.config("traces", concurrent=1)
    )
    trace, span, traceparent = parent()
    own.headers = {"traceparent": traceparent}
    body = {"until": time.time() + 4}  # The server is killed long before.
    accepted = own.runtime.invoke_endpoint_async(
        EndpointName=endpoint, Body=json.dumps(body).encode(), ContentType=calls.JSON
    )
    (door,) = collector.of(trace, f"InvokeEndpointAsync {endpoint}")
    assert (door.parent, door.attributes["http.response.status_code"]) == (span, 202)
    traced.kill()
    traced.start()
    own.headers = {}
    kind, found = asynchronous.result(own.client("s3"), accepted)
    assert kind == "output"
    parts = ["backlog", "input", "queue", "batch", "pre", "model", "post", "output"]
    _, root, *rest = collector.of(trace, door.name, f"AsyncInference {endpoint}", *parts)
    check_tree(root, rest)
    assert (root.parent, root.kind) == (door.id, CONSUMER)
    model = rest[parts.index("model")]
    assert json.load(found["Body"])["traceparent"] == f"00-{trace}-{model.id}-01"


def test_deployments_and_jobs_are_traced_as_chance_decides(traced, own, collector):
    own.deploy(support.inference_py(MODEL))
    assert collector.spans == []
    traced.stop()
    traced.environment["SAGEBRUSH_TRACE_RATIO"] = "1"
    traced.start()
    endpoint = own.deploy({"code/inference.py": LENGTHS})
    (deployment,) = collector.whole(f"Deployment {endpoint}")
    told = {"sagebrush.config": endpoint, "sagebrush.endpoint.status": "InService"}
    assert deployment.attributes.items() >= told.items()

    transforms = Transforms(own.client, "traces")
    transforms.put("in/a.csv", "one\nthree\n")
    transforms.create("job", endpoint, BatchStrategy="SingleRecord")
    job, *payloads = collector.whole("TransformJob job", "payload", "payload")
    check_tree(job, payloads)
    for payload in payloads:
        assert payload.attributes["sagebrush.input"] == "s3://traces/in/a.csv"
