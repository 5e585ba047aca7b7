"""`kill -9` of what answers calls, under load: none fails."""

import random
import urllib.parse

import pytest

import calls
import conftest
import metrics
import processes
import support
from deployment import Deployment
from load import Stream

boto3 = pytest.importorskip("boto3")

#: Calls a second; what a busy machine does of it is told.
RATE = 500
#: Less than this is no load.
LEAST_RATE = 50

SAYS = """
import json, os, time

def model_fn(model_dir):
    return os.environ["WHO"]

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    time.sleep(data)
    return model

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""

#: A call ends its process the first time, or each time, or never.
DIES = """
import json, os, pathlib, signal

def model_fn(model_dir):
    return None

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    print("begins", data["name"], flush=True)
    begun = pathlib.Path("begun-" + data["name"])
    is_first = not begun.exists()
    begun.touch()
    if data["dies"] == "always" or (data["dies"] == "once" and is_first):
        os.kill(os.getpid(), signal.SIGKILL)
    return data["name"]

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


class Stage:
    """A server of its own, with an endpoint whose processes may be killed."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.client = conftest.make_clients(boto3, server.url)
        self.client("s3").create_bucket(Bucket=name)
        self.deploy = Deployment(self.client, name, name)
        self.sagemaker, self.runtime = self.client("sagemaker"), self.client("sagemaker-runtime")

    def options(self, who, n_workers=2, instances=2):
        environment = {"WHO": who, "SAGEMAKER_MODEL_SERVER_WORKERS": str(n_workers)}
        files = support.inference_py(SAYS)
        return {
            "files": files, "image": support.PYTHON, "instances": instances,
            "environment": environment,
        }

    def update(self, who, deployment):
        config = self.deploy.config(**self.options(who), suffix=f"-{who}")
        self.sagemaker.update_endpoint(
            EndpointName=self.name, EndpointConfigName=config, DeploymentConfig=deployment
        )
        return config

    def until_baking(self):
        def is_baking():
            seen = self.sagemaker.describe_endpoint(EndpointName=self.name)
            variants = seen.get("PendingDeploymentSummary", {}).get("ProductionVariants")
            status = variants and variants[0].get("VariantStatus")
            return status and status[0]["Status"] == "Baking"

        support.wait_for(is_baking, "calls go to the new fleet", 60)

    def kill_workers(self, n=1):
        workers = sorted(processes.leaves(self.server.process.pid))
        processes.kill(random.sample(workers, min(n, len(workers))))

    def kill_instance(self):
        """All processes of one instance."""
        processes.kill(random.choice(processes.trees(self.server.process.pid)))

    def metric(self, name):
        return metrics.value(self.server.url, name, endpoint=self.name)


def canary(bake, alarm):
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY", "WaitIntervalInSeconds": bake,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 30},
            },
            "TerminationWaitInSeconds": 0,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
    }


@pytest.fixture
def stage(server, name):
    return Stage(server, name)


def put_alarm(cloudwatch, name):
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace="Nothing", MetricName="Comes", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )


def test_update_rollback_and_deaths_cost_no_call(stage):
    cloudwatch, alarm = stage.client("cloudwatch"), f"{stage.name}-alarm"
    put_alarm(cloudwatch, alarm)
    name = stage.deploy(**stage.options("old"))
    with Stream(stage.server.url, name, b"0.002", rate=RATE) as load:
        load.more(200)
        for _ in range(2):
            stage.kill_workers()
            load.more(200)
        stage.kill_instance()
        load.more(200)

        config = stage.update("new", canary(2, alarm))
        stage.until_baking()
        stage.kill_workers()
        seen = stage.deploy.settled(name)
        assert seen["EndpointConfigName"] == config, seen
        load.more(200)
        stage.kill_workers(2)
        load.more(200)

        stage.update("bad", canary(3600, alarm))
        stage.until_baking()
        stage.kill_workers()
        load.more(100)
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
        stage.kill_workers()
        seen = stage.deploy.settled(name)
        assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", config)
        assert alarm in seen["FailureReason"]
        stage.kill_instance()
        load.more(200)
    n_retried = stage.metric("sagebrush_retried_calls_total")
    print(
        f"{len(load.answers)} calls, {load.rate:.0f} a second of {RATE}, {n_retried:.0f} tried "
        f"once more, the slowest {load.slowest:.2f} s"
    )
    assert load.errors == []
    assert set(load.answers) == {b'"old"', b'"new"', b'"bad"'}
    assert load.rate > LEAST_RATE


def test_one_worker_is_enough_to_lose_no_call(stage):
    """Calls wait for the worker that takes its place, or for the instance."""
    name = stage.deploy(**stage.options("only", n_workers=1, instances=1))
    with Stream(stage.server.url, name, b"0.01", rate=RATE, threads=4) as load:
        for kill in (stage.kill_workers, stage.kill_workers, stage.kill_instance):
            load.more(30)
            kill()
        load.more(30)
    print(f"{len(load.answers)} calls, the slowest {load.slowest:.2f} s")
    assert load.errors == []
    assert set(load.answers) == {b'"only"'}


def test_a_call_is_seen_twice_at_most(stage):
    once, never = stage.name, f"{stage.name}-never"
    code = {"files": support.inference_py(DIES), "image": support.PYTHON}
    one_worker = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    stage.deploy(**code, environment=one_worker)
    stage.deploy(
        **code, suffix="-never",
        environment=one_worker | {"SAGEBRUSH_RETRY_AFTER_DEATH": "false"},
    )

    def n_begun(endpoint, call):
        lines = calls.log_lines(stage.client, endpoint)
        return sum(line.endswith(f"begins {call}") for line in lines)

    def died(endpoint, call, dies):
        said = calls.model_error(stage.runtime, endpoint, {"name": call, "dies": dies})
        assert "signal 9" in said, said

    assert calls.ask(stage.runtime, once, {"name": "a", "dies": "once"}) == "a"
    support.wait_for(lambda: n_begun(once, "a") == 2, "it was tried twice")
    assert stage.metric("sagebrush_retried_calls_total") == 1
    assert stage.metric("sagebrush_invocations_total") == 1
    assert stage.metric("sagebrush_invocation_5xx_errors_total") == 0

    died(once, "b", "always")
    assert calls.ask(stage.runtime, once, {"name": "c", "dies": "never"}) == "c"
    support.wait_for(lambda: n_begun(once, "b") == 2, "it was tried twice and no more")

    died(never, "d", "once")
    assert calls.ask(stage.runtime, never, {"name": "e", "dies": "never"}) == "e"
    support.wait_for(lambda: n_begun(never, "e") == 1, "it is in the log")
    assert n_begun(never, "d") == 1


def test_a_setting_that_cannot_be_read_is_named(stage):
    reason = stage.deploy.failing(
        {"model.onnx": b""}, environment={"SAGEBRUSH_RETRY_AFTER_DEATH": "maybe"}
    )
    assert "SAGEBRUSH_RETRY_AFTER_DEATH=maybe; it must be true or false" in reason


def test_programs_of_ones_own_that_are_killed_cost_no_call(stage):
    """Each has many calls in hand when it dies, of which the other takes over all."""
    arguments = {"arg": str(support.ROOT / "scenarios/byo/serve.py")}
    image = f"process://{support.python()}?{urllib.parse.urlencode(arguments, safe='/')}"
    name = stage.deploy(image=image, instances=2)

    def both_answer():
        return stage.metric("sagebrush_instances") == 2

    with Stream(stage.server.url, name, b"123", rate=RATE, content_type="text/plain") as load:
        for _ in range(3):
            support.wait_for(both_answer, "both instances answer")
            load.more(100)
            stage.kill_instance()
            load.more(100)
    print(f"{len(load.answers)} calls, {load.rate:.0f} a second, slowest {load.slowest:.2f} s")
    assert load.errors == []
    assert set(load.answers) == {b"321"}
