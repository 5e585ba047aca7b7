"""What SageMaker tells CloudWatch by itself: each metric with its dimensions, unit and value.

One server has an endpoint of each kind and a job; a program in the place of `nvidia-smi` gives it
two GPUs.
"""

import datetime
import json
import os
import types

import pytest
from botocore.exceptions import ClientError

import calls
import support
import transforms
import variants
from conftest import make_clients
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

CALLS, ENDPOINTS, JOBS = "AWS/SageMaker", "/aws/sagemaker/Endpoints", "/aws/sagemaker/TransformJobs"
ENHANCED = {"EnableEnhancedMetrics": True, "MetricPublishFrequencyInSeconds": 10}
N = 6

# Computes for a while; refuses what is no number.
MODEL = """
import json, time

def model_fn(model_dir):
    return bytearray(64 << 20)

def predict_fn(data, model):
    if data["n"] is None:
        raise ValueError("no number")
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    return data
"""

GPUS = """#!/bin/sh
printf '90, 4096, 16384\\n30, 8192, 16384\\n'
"""


class Stage:
    """All endpoints and the job, with the calls that were made."""

    def __init__(self, client, bucket):
        self.client, self.bucket = client, bucket
        self.cloudwatch, self.logs = client("cloudwatch"), client("logs")
        self.sagemaker, self.runtime = client("sagemaker"), client("sagemaker-runtime")
        self.deployments = []

    def deployment(self, name):
        self.deployments.append(Deployment(self.client, name, self.bucket))
        return self.deployments[-1]

    def instance(self, group, prefix):
        """The id of the only instance that logs to `<prefix>/<id>`."""

        def look():
            streams = self.logs.describe_log_streams(
                logGroupName=group, logStreamNamePrefix=f"{prefix}/"
            )
            return [stream["logStreamName"].split("/")[1] for stream in streams["logStreams"]]

        [found] = support.wait_for(look, f"a log stream {prefix}/")
        return found

    def read(self, namespace, metric, **dimensions):
        """The statistics of the last minutes together; `None` without a value."""
        now = datetime.datetime.now(datetime.timezone.utc)
        points = self.cloudwatch.get_metric_statistics(
            Namespace=namespace, MetricName=metric, Period=3600,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=now - datetime.timedelta(hours=2), EndTime=now + datetime.timedelta(hours=1),
            Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
        )["Datapoints"]
        if not points:
            return None
        [unit] = {point["Unit"] for point in points}
        count, total = (sum(point[it] for point in points) for it in ("SampleCount", "Sum"))
        return types.SimpleNamespace(
            unit=unit, count=count, sum=total, average=total / count,
            least=min(point["Minimum"] for point in points),
            most=max(point["Maximum"] for point in points),
        )

    def told(self, namespace, metric, unit, **dimensions):
        """As `read`, once there is a value."""

        def look():
            return self.read(namespace, metric, **dimensions)

        found = support.wait_for(look, f"{metric} of {dimensions}", 40)
        assert found.unit == unit, found
        return found

    def summed(self, metric, wanted, **dimensions):
        """Waits until the metric of calls sums up to `wanted`; returns its statistics."""

        def look():
            found = self.read(CALLS, metric, **dimensions)
            return found if found and found.sum == wanted else None

        return support.wait_for(look, f"{metric} {wanted} of {dimensions}", 40)

    def takes(self, namespace, **dimensions):
        """That CPU and memory are told of something that computes in Python."""
        cpu = self.told(namespace, "CPUUtilization", "Percent", **dimensions)
        memory = self.told(namespace, "MemoryUtilization", "Percent", **dimensions)
        assert 0 <= cpu.least <= cpu.most <= 100 * os.cpu_count() + 10, cpu
        assert 0 < memory.most < 100, memory
        return cpu


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    if os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs a server with GPUs")
    home = tmp_path_factory.mktemp("metrics")
    program = home / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(GPUS)
    program.chmod(0o755)
    server = support.Server(home / "data")
    server.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    server.start()
    client = make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="metrics")
    made = Stage(client, "metrics")
    begin_job(made)
    begin_endpoints(made)
    yield made
    made.sagemaker.stop_transform_job(TransformJobName="job")
    for deployment in made.deployments:
        deployment.clean()
    assert server.stop() == 0, server.log.read_text()[-4000:]


def begin_job(stage):
    """A job that goes on until it is stopped."""
    model = stage.deployment("job").model(
        support.inference_py(transforms.LENGTHS), image=support.PYTHON, environment={"NAP": "0.2"}
    )
    jobs = transforms.Transforms(stage.client, stage.bucket)
    jobs.put("in/long.csv", transforms.many_lines(10_000))
    jobs.create("job", model, BatchStrategy="SingleRecord")


def begin_endpoints(stage):
    files = support.inference_py(MODEL)
    shadowed = stage.deployment("shadowed")
    main, copy = (
        variants.variant(name, shadowed.model(files, suffix=f"-{name}", image=support.PYTHON))
        for name in ("main", "next")
    )
    variants.endpoint(shadowed, [main], [copy], MetricsConfig=ENHANCED)
    many = stage.deployment("many")
    for name in ("a", "b"):
        stage.client("s3").put_object(
            Bucket=stage.bucket, Key=f"models/{name}.tar.gz", Body=support.archive(files)
        )
    url = f"s3://{stage.bucket}/models/"
    many(image=support.PYTHON, multi_model=True, url=url)
    stage.deployment("serverless")(files, image=support.PYTHON, serverless={})
    for n in range(N):
        calls.ask(stage.runtime, "shadowed", {"n": n})
        calls.ask(stage.runtime, "many", {"n": n}, TargetModel="ab"[n % 2] + ".tar.gz")
    refused = calls.refused(stage.runtime, "shadowed", {"n": None})
    assert refused["Error"]["Code"] == "ModelError", refused
    calls.ask(stage.runtime, "serverless", {"n": 1})


def test_instances_of_an_endpoint(stage):
    instance = stage.instance("/aws/sagemaker/Endpoints/shadowed", "main")
    whole = {"EndpointName": "shadowed", "VariantName": "main"}
    for dimensions in (whole, whole | {"InstanceId": instance}):
        stage.takes(ENDPOINTS, **dimensions)
        disk = stage.told(ENDPOINTS, "DiskUtilization", "Percent", **dimensions)
        assert 0 < disk.average <= 100


def test_calls_of_an_instance(stage):
    instance = stage.instance("/aws/sagemaker/Endpoints/shadowed", "main")
    whole = {"EndpointName": "shadowed", "VariantName": "main"}
    for dimensions in (whole, whole | {"InstanceId": instance}):
        assert stage.summed("Invocations", N + 1, **dimensions).unit == "None"
        for metric in ("Invocation5XXErrors", "InvocationModelErrors"):
            errors = stage.summed(metric, 1, **dimensions)
            assert (errors.unit, errors.count, errors.most) == ("None", N + 1, 1)
        assert stage.summed("Invocation4XXErrors", 0, **dimensions).count == N + 1
        for metric in ("ModelLatency", "OverheadLatency"):
            latency = stage.told(CALLS, metric, "Microseconds", **dimensions)
            assert latency.count == N + 1
        assert stage.read(CALLS, "ModelLatency", **dimensions).sum >= N * 20_000


def test_a_shadow_variant(stage):
    shadow = {"EndpointName": "shadowed", "VariantName": "next"}
    invocations = stage.summed("Invocations", N, **shadow)
    assert (invocations.unit, invocations.most) == ("None", 1)
    assert stage.summed("InvocationsPerInstance", N, **shadow).unit == "None"
    for metric in ("Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors"):
        assert stage.summed(metric, 0, **shadow).count == N
    latency = stage.told(CALLS, "ModelLatency", "Microseconds", **shadow)
    assert latency.count == N and latency.sum >= N * 20_000
    assert stage.told(CALLS, "OverheadLatency", "Microseconds", **shadow).count == N
    stage.takes(ENDPOINTS, **shadow)
    # Copies are nobody's calls.
    stage.summed("Invocations", N + 1, EndpointName="shadowed", VariantName="AllTraffic")
    stage.summed("InvocationsPerInstance", N + 1, EndpointName="shadowed", VariantName="main")


def test_gpus(stage):
    instance = stage.instance("/aws/sagemaker/Endpoints/shadowed", "main")
    whole = {"EndpointName": "shadowed", "VariantName": "main"}
    one = whole | {"InstanceId": instance}
    for dimensions, busy, memory in [
        (whole, 120, 75), (one, 120, 75),
        (one | {"AcceleratorId": "0"}, 90, 25), (one | {"AcceleratorId": "1"}, 30, 50),
    ]:
        for metric, wanted in [("GPUUtilization", busy), ("GPUMemoryUtilization", memory)]:
            found = stage.told(ENDPOINTS, metric, "Percent", **dimensions)
            assert found.least == found.most == wanted, (metric, dimensions)


def test_models_of_a_multi_model_endpoint(stage):
    many = {"EndpointName": "many", "VariantName": "AllTraffic"}

    def both():
        found = stage.read(ENDPOINTS, "LoadedModelCount", **many)
        return found if found and found.most == 2 else None

    assert support.wait_for(both, "two models", 40).unit == "None"
    stage.takes(ENDPOINTS, **many)
    cache = stage.summed("ModelCacheHit", N - 2, **many)
    assert (cache.count, cache.unit) == (N, "None")


def test_instances_of_a_transform_job(stage):
    host = f"job/{stage.instance(JOBS, 'job')}"
    stage.takes(JOBS, Host=host)
    assert stage.told(JOBS, "GPUUtilization", "Percent", Host=host).most == 120
    listed = stage.cloudwatch.list_metrics(Namespace=JOBS)["Metrics"]
    assert {json.dumps(metric["Dimensions"]) for metric in listed} == {
        json.dumps([{"Name": "Host", "Value": host}])
    }
    assert {metric["MetricName"] for metric in listed} == {
        "CPUUtilization", "MemoryUtilization", "GPUUtilization", "GPUMemoryUtilization",
    }


def test_setup_time_is_of_serverless_variants(stage):
    found = stage.told(
        CALLS, "ModelSetupTime", "Microseconds", EndpointName="serverless",
        VariantName="AllTraffic",
    )
    assert 1_000 < found.least <= found.most < 60e6
    listed = stage.cloudwatch.list_metrics(Namespace=CALLS, MetricName="ModelSetupTime")["Metrics"]
    endpoints = {it["Value"] for metric in listed for it in metric["Dimensions"]}
    assert endpoints == {"serverless", "AllTraffic"}


def test_the_configuration_of_metrics(stage):
    described = stage.sagemaker.describe_endpoint(EndpointName="shadowed")
    assert described["MetricsConfig"] == ENHANCED
    described = stage.sagemaker.describe_endpoint_config(EndpointConfigName="shadowed")
    assert described["MetricsConfig"] == ENHANCED
    described = stage.sagemaker.describe_endpoint(EndpointName="many")
    assert "MetricsConfig" not in described


def test_what_is_not_served_is_refused(stage):
    deployment = stage.deployment("refused")
    model = deployment.model(support.inference_py(MODEL), image=support.PYTHON)
    variant = variants.variant("v", model)

    def refusal(call, *arguments, **named):
        with pytest.raises(ClientError) as caught:
            call(*arguments, **named)
        return caught.value.response["Error"]["Message"]

    frequency = {"MetricPublishFrequencyInSeconds": 15}
    message = refusal(variants.config, deployment, "", [variant], MetricsConfig=frequency)
    assert "MetricPublishFrequencyInSeconds 15" in message
    name = variants.config(
        deployment, "", [variant], MetricsConfig={"EnableDetailedObservability": True}
    )
    message = refusal(
        stage.sagemaker.create_endpoint, EndpointName="refused", EndpointConfigName=name
    )
    assert "EnableDetailedObservability is not served here" in message
    container = deployment.container(support.inference_py(MODEL), key="x", image=support.PYTHON)
    message = refusal(
        stage.sagemaker.create_model, ModelName="x", ExecutionRoleArn=support.ROLE,
        PrimaryContainer=container | {
            "ContainerMetricsConfig": {"MetricsEndpoints": [{"MetricsEndpointPath": "/metrics"}]},
        },
    )
    assert "ContainerMetricsConfig is not served here" in message
