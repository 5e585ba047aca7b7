"""Deployments in steps: no call is lost on the way forward, nor on the way back."""

import json
import time

import pytest
from botocore.exceptions import ClientError

import asynchronous
import calls
import conftest
import models
import processes
import support
from deployment import Deployment
from load import Load

boto3 = pytest.importorskip("boto3")

ROW = models.ROWS[:1]
OLD, NEW = models.logistic(), models.logistic(0.01)

SAYS = """
import json, os

def model_fn(model_dir):
    return os.environ["WHO"]

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, model):
    assert data != "refuse", "it does not answer that"
    return model

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


def probability(body):
    """What tells the two models apart."""
    return float(models.csv_values(body)[0][-1])


NEW_SAYS = float(models.reference(NEW, ROW)[1][0][-1])
OLD_SAYS = float(models.reference(OLD, ROW)[1][0][-1])


def is_new(answer):
    return abs(answer - NEW_SAYS) < abs(answer - OLD_SAYS)


def load_of(client, endpoint, **more):
    return Load(client, endpoint, models.csv(ROW), probability, **more)


def percent(value):
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def canary(bake, size=20, termination_wait=0):
    return blue_green(
        {"Type": "CANARY", "CanarySize": percent(size)}, bake, termination_wait
    )


def blue_green(routing, bake, termination_wait=0):
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing | {"WaitIntervalInSeconds": bake},
            "TerminationWaitInSeconds": termination_wait,
        }
    }


def rolling(bake, size=50):
    return {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": percent(size), "WaitIntervalInSeconds": bake,
        }
    }


def update(sagemaker, name, config, deployment_config, **more):
    sagemaker.update_endpoint(
        EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment_config, **more
    )


def pending(sagemaker, name):
    """The first variant of the fleet that is coming."""
    seen = sagemaker.describe_endpoint(EndpointName=name)
    summary = seen.get("PendingDeploymentSummary")
    return summary and summary["ProductionVariants"][0]


def until_baking(sagemaker, name):
    """Waits until calls go to the new fleet; returns what is said of it."""

    def is_baking():
        variant = pending(sagemaker, name)
        status = variant and variant["VariantStatus"][0]
        return variant if status and status["Status"] == "Baking" else None

    return support.wait_for(is_baking, f"{name} bakes")


def answered(load):
    return [len(answers) for answers in load.answers]


def since(load, counts):
    each = zip(load.answers, counts, strict=True)
    return [answer for answers, begin in each for answer in answers[begin:]]


def test_a_canary_takes_its_share_and_then_all(client, sagemaker, deploy):
    name = deploy({"model.onnx": OLD}, instances=2)
    config = deploy.config({"model.onnx": NEW}, suffix="-new", instances=2)
    with load_of(client, name) as load:
        load.at_least(20)
        began = answered(load), time.monotonic()
        update(sagemaker, name, config, canary(4, termination_wait=1))
        variant = until_baking(sagemaker, name)
        in_canary = answered(load)
        load.at_least(60)
        taken = since(load, in_canary)
        still = pending(sagemaker, name)
        seen = deploy.settled(name)
        rate = len(since(load, began[0])) / (time.monotonic() - began[1])
        at_the_end = answered(load)
        load.at_least(10)
        assert all(is_new(answer) for answer in since(load, at_the_end))
    assert load.errors == []
    print(f"{rate:.0f} calls a second, {len(taken)} during the canary")
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", config)
    assert "FailureReason" not in seen and "PendingDeploymentSummary" not in seen
    assert seen["LastDeploymentConfig"] == canary(4, termination_wait=1)
    message = variant["VariantStatus"][0]["StatusMessage"]
    assert message == (
        "Baking for 4 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity "
        "of 1 instance(s)."
    )
    counts = variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]
    assert counts == (2, 2)
    if still and "canary" in still["VariantStatus"][0]["StatusMessage"]:
        share = sum(map(is_new, taken)) / len(taken)
        # Five times the deviation of so many calls.
        assert abs(share - 0.2) < 5 * (0.2 * 0.8 / len(taken)) ** 0.5, (share, len(taken))


@pytest.mark.parametrize(
    ("config", "n_instances"),
    [(blue_green({"Type": "LINEAR", "LinearStepSize": percent(50)}, 1), 2), (rolling(1), 2)],
    ids=["linear", "rolling"],
)
def test_step_by_step(client, sagemaker, deploy, config, n_instances):
    name = deploy({"model.onnx": OLD}, instances=n_instances)
    new = deploy.config({"model.onnx": NEW}, suffix="-new", instances=n_instances)
    with load_of(client, name) as load:
        load.at_least(10)
        update(sagemaker, name, new, config)
        until_baking(sagemaker, name)
        seen = deploy.settled(name)
        at_the_end = answered(load)
        load.at_least(10)
        assert all(is_new(answer) for answer in since(load, at_the_end))
    assert load.errors == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", new)
    assert seen["ProductionVariants"][0]["CurrentInstanceCount"] == n_instances


def test_weights_and_counts_change_under_load(client, sagemaker, runtime, deploy):
    name = deploy({"model.onnx": OLD})
    with load_of(client, name) as load:
        for count, weight in [(3, 0.5), (1, 2.0), (2, 1.0)]:
            load.at_least(10)
            change = {"VariantName": "AllTraffic", "DesiredInstanceCount": count,
                      "DesiredWeight": weight}
            sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=name, DesiredWeightsAndCapacities=[change]
            )
            variant = deploy.settled(name)["ProductionVariants"][0]
            assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (count, weight)
        load.at_least(10)
    assert load.errors == []
    for change, said in [
        ([{"VariantName": "none", "DesiredWeight": 1.0}], "none"),
        ([{"VariantName": "AllTraffic", "DesiredWeight": 0.0}], "greater than 0"),
        ([{"VariantName": "AllTraffic"}, {"VariantName": "AllTraffic"}], "twice"),
        ([{"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 3}}],
         "ServerlessConfig"),
    ]:
        with pytest.raises(ClientError, match=said):
            sagemaker.update_endpoint_weights_and_capacities(
                EndpointName=name, DesiredWeightsAndCapacities=change
            )


def test_a_fleet_that_fails_its_probe_gets_no_call(client, sagemaker, deploy):
    files = support.inference_py(SAYS)
    name = deploy(files, image=support.PYTHON, environment={"WHO": "old"})
    bad = deploy.config(
        files, suffix="-bad", image=support.PYTHON,
        environment={"WHO": "bad", "SAGEBRUSH_PROBE_PAYLOAD": '"refuse"'},
    )
    good = deploy.config(
        files, suffix="-good", image=support.PYTHON,
        environment={"WHO": "good", "SAGEBRUSH_PROBE_PAYLOAD": '"hello"'},
    )
    with Load(client, name, b"1", json.loads, threads=2, content_type=calls.JSON) as load:
        load.at_least(5)
        update(sagemaker, name, bad, {})
        seen = deploy.settled(name)
        load.at_least(5)
        assert {answer for answers in load.answers for answer in answers} == {"old"}
        assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", name)
        assert "probe of variant AllTraffic" in seen["FailureReason"]
        assert "it does not answer that" in seen["FailureReason"]
        update(sagemaker, name, good, {})
        assert deploy.settled(name)["EndpointConfigName"] == good
    assert load.errors == []


def test_a_new_fleet_that_dies_gives_its_calls_back(server):
    """Those that it had in hand are answered by the old one."""
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="dies")
    deploy, sagemaker = Deployment(client, "dies", "dies"), client("sagemaker")
    said = {"image": support.PYTHON, "files": support.inference_py(SAYS)}
    name = deploy(**said, environment={"WHO": "old"})
    new = deploy.config(**said, suffix="-new", environment={"WHO": "new"})
    old_ones = processes.related(server)
    with Load(client, name, b"1", json.loads, threads=4, content_type=calls.JSON) as load:
        load.at_least(5)
        update(sagemaker, name, new, canary(3600, size=50))
        until_baking(sagemaker, name)
        begun = answered(load)
        support.wait_for(lambda: "new" in since(load, begun), "the new fleet answers")
        assert load.errors == []
        processes.kill(processes.related(server) - old_ones)
        seen = deploy.settled(name)
        back = answered(load)
        support.wait_for(lambda: len(since(load, back)) > 40, "calls are answered", 20)
        assert set(since(load, back)) == {"old"}
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", name)
    assert "worker ended" in seen["FailureReason"].lower(), seen["FailureReason"]
    assert load.errors == []


@pytest.mark.parametrize("stage", ["Creating", "Baking"])
def test_a_kill_in_the_middle_ends_at_one_of_two(server, stage):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="middle")
    deploy, sagemaker = Deployment(client, "middle", "middle"), client("sagemaker")
    name = deploy({"model.onnx": OLD})
    new = deploy.config({"model.onnx": NEW}, suffix="-new")
    update(sagemaker, name, new, canary(2))
    if stage == "Baking":
        until_baking(sagemaker, name)
    server.kill()
    server.start()
    client = conftest.make_clients(boto3, server.url)
    deploy = Deployment(client, "middle", "middle")
    with load_of(client, name, threads=4) as load:
        seen = deploy.settled(name)
        at_the_end = answered(load)
        load.at_least(10)
        assert all(is_new(answer) for answer in since(load, at_the_end))
    assert load.errors == [], "calls wait for the instances, and none is lost"
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", new)


def test_asynchronous_calls_go_to_both_fleets(sagemaker, runtime, s3, bucket, deploy):
    queued = asynchronous.config(bucket)
    name = deploy({"model.onnx": OLD}, asynchronous=queued)
    new = deploy.config({"model.onnx": NEW}, suffix="-new", asynchronous=queued)
    update(sagemaker, name, new, canary(2, size=50))
    until_baking(sagemaker, name)
    accepted = [
        runtime.invoke_endpoint_async(
            EndpointName=name, Body=models.csv(ROW).encode(), ContentType="text/csv",
            Accept="text/csv",
        )
        for _ in range(30)
    ]
    results = [asynchronous.result(s3, call) for call in accepted]
    assert {kind for kind, _ in results} == {"output"}
    answers = [probability(found["Body"].read()) for _, found in results]
    assert {is_new(answer) for answer in answers} == {True, False}
    assert deploy.settled(name)["EndpointConfigName"] == new


def test_an_alarm_brings_all_calls_back(client, sagemaker, deploy, name):
    cloudwatch = client("cloudwatch")
    alarm = {
        "AlarmName": name, "Namespace": "AWS/SageMaker", "MetricName": "Invocation5XXErrors",
        "Dimensions": [{"Name": "EndpointName", "Value": name},
                       {"Name": "VariantName", "Value": "AllTraffic"}],
        "Statistic": "Average", "Period": 60, "EvaluationPeriods": 1, "Threshold": 0.5,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    }
    try:
        cloudwatch.put_metric_alarm(**alarm)
    except ClientError as error:
        pytest.skip(f"there are no alarms here: {error}")
    endpoint = deploy({"model.onnx": OLD})
    config = deploy.config({"model.onnx": NEW}, suffix="-new")
    watched = canary(600) | {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]}}
    try:
        with load_of(client, endpoint) as load:
            load.at_least(10)
            update(sagemaker, endpoint, config, watched)
            until_baking(sagemaker, endpoint)
            load.at_least(10)
            cloudwatch.set_alarm_state(
                AlarmName=name, StateValue="ALARM", StateReason="by this test"
            )
            seen = deploy.settled(endpoint)
            back = answered(load)
            load.at_least(20)
            assert not any(is_new(answer) for answer in since(load, back))
        assert load.errors == []
    finally:
        cloudwatch.delete_alarms(AlarmNames=[name])
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", endpoint)
    assert name in seen["FailureReason"]


def test_what_does_not_go_together_is_refused_by_name(sagemaker, deploy):
    name = deploy({"model.onnx": OLD})
    for config, said in [
        (blue_green({"Type": "CANARY"}, 0), "CanarySize"),
        (canary(0, size=51), "1 to 50 percent"),
        (canary(0) | rolling(0), "only one can be used"),
        ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": f"{name}-none"}]}},
         "do not exist"),
    ]:
        with pytest.raises(ClientError, match=said) as caught:
            update(sagemaker, name, name, config)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
