"""A bad version under load: an alarm sees it, and the endpoint goes back by itself.

Nothing is simulated here: calls make metrics, metrics an alarm, the alarm a rollback.
"""

import json
import threading
from datetime import UTC, datetime

import pytest

import support
from load import Load

CODE = """
import itertools, json, os, time

CALLS = itertools.count()

def model_fn(model_dir):
    return os.environ.get("HOW", "well")

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, how):
    if how == "slowly":
        time.sleep(0.25)
    # One call in eighty: a probe before the switch may well be answered.
    if how == "badly" and next(CALLS) % 80 == 79:
        raise RuntimeError("a bad version")
    return 41 if how == "wrongly" else 42

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""

#: Of all calls from before the update to after the rollback; and some, for so few are chance.
MOST_ERRORS = 0.001
SOME = 3


def metric(name, endpoint, config, **more):
    dimensions = {"EndpointName": endpoint, "VariantName": "AllTraffic"}
    dimensions["EndpointConfigName"] = config
    return {
        "Namespace": "AWS/SageMaker", "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    } | more


def quality(endpoint):
    return {
        "Namespace": "Quality", "MetricName": "Wrong",
        "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
    }


#: How the new version is bad, and what an alarm sees of it.
CASES = {
    "badly": lambda endpoint, config: metric(
        "Invocation5XXErrors", endpoint, config, Statistic="Sum", Threshold=1.0
    ),
    "slowly": lambda endpoint, config: metric(
        "ModelLatency", endpoint, config, ExtendedStatistic="p90", Threshold=100_000.0
    ),
    "wrongly": lambda endpoint, config: quality(endpoint) | {"Statistic": "Sum", "Threshold": 1.0},
}


@pytest.mark.parametrize("how", CASES)
def test_a_bad_version_is_rolled_back_by_its_alarm(client, sagemaker, deploy, name, how):
    cloudwatch = client("cloudwatch")
    options = {"image": support.PYTHON, "instances": 2}
    deploy({"code/inference.py": CODE}, **options)
    config = deploy.config(
        {"code/inference.py": CODE}, suffix="-bad", environment={"HOW": how}, **options
    )
    alarm = f"{name}-{how}"
    cloudwatch.put_metric_alarm(
        AlarmName=alarm, EvaluationPeriods=1, Period=10, TreatMissingData="notBreaching",
        ComparisonOperator="GreaterThanOrEqualToThreshold", **CASES[how](name, config),
    )
    with Judge(cloudwatch, name, how) as judge, Load(
        client, name, b"1", judge.read, threads=4, content_type="application/json"
    ) as load:
        load.at_least(200)
        sagemaker.update_endpoint(
            EndpointName=name, EndpointConfigName=config, DeploymentConfig={
                "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {
                    "Type": "CANARY", "WaitIntervalInSeconds": 300,
                    "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 5},
                }},
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
            },
        )
        seen = deploy.settled(name)
        answered = [len(answers) for answers in load.answers]
        load.at_least(200)
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", name)
    assert alarm in seen["FailureReason"]
    since = [answer for answers, n in zip(load.answers, answered, strict=True) for answer in answers[n:]]
    assert set(since) == {42}
    n_calls = len(load.seconds)
    most = MOST_ERRORS * n_calls + SOME
    assert len(load.errors) <= most, (len(load.errors), n_calls, load.errors[:3])
    cloudwatch.delete_alarms(AlarmNames=[alarm])


class Judge:
    """Knows the right answers, and tells of wrong ones each second, as a monitor would."""

    def __init__(self, cloudwatch, endpoint, how):
        self.cloudwatch, self.endpoint = cloudwatch, endpoint
        self.n_wrong, self.lock, self.over = 0, threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._tell, daemon=True) if how == "wrongly" else None

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        if self.thread:
            self.thread.join()

    def read(self, body):
        answer = json.loads(body)
        with self.lock:
            self.n_wrong += answer != 42
        return answer

    def _tell(self):
        while not self.over.wait(1):
            with self.lock:
                n, self.n_wrong = self.n_wrong, 0
            metric = quality(self.endpoint)
            self.cloudwatch.put_metric_data(Namespace=metric["Namespace"], MetricData=[{
                "MetricName": metric["MetricName"], "Dimensions": metric["Dimensions"],
                "Timestamp": datetime.now(UTC), "Value": n, "StorageResolution": 1,
            }])
