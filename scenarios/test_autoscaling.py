"""Variants whose instances come and go by rules and by the clock."""

import zoneinfo
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError

import conftest
import models
import support
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
CONCURRENCY = "sagemaker:variant:DesiredProvisionedConcurrency"
LOGISTIC = {"model.onnx": models.logistic()}
PER_INSTANCE = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    },
}


class Scaling:
    """Application Auto Scaling of the only variant of an endpoint."""

    def __init__(self, client, endpoint, dimension=DIMENSION):
        self.api, self.sagemaker = client("application-autoscaling"), client("sagemaker")
        self.endpoint = endpoint
        self.place = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic",
            "ScalableDimension": dimension,
        }

    def register(self, least, most, **more):
        more |= {"MinCapacity": least, "MaxCapacity": most}
        return self.api.register_scalable_target(**self.place, **more)["ScalableTargetARN"]

    def target(self):
        listed = self.api.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[self.place["ResourceId"]]
        )
        (target,) = listed["ScalableTargets"]
        return target

    def activities(self, **more):
        pages = self.api.get_paginator("describe_scaling_activities")
        pages = pages.paginate(**self.place, **more)
        return [activity for page in pages for activity in page["ScalingActivities"]]

    def schedule(self, name, schedule, least, most, **more):
        action = {"MinCapacity": least, "MaxCapacity": most}
        self.api.put_scheduled_action(
            **self.place, ScheduledActionName=name, Schedule=schedule,
            ScalableTargetAction=action, **more,
        )

    def soon(self, zone="UTC"):
        """The next time that can be written, in local time."""
        then = datetime.now(timezone.utc) + timedelta(seconds=2)
        return f"at({then.astimezone(zoneinfo.ZoneInfo(zone)):%Y-%m-%dT%H:%M:%S})"

    def count(self):
        seen = self.sagemaker.describe_endpoint(EndpointName=self.endpoint)
        if seen["EndpointStatus"] != "InService":
            return None
        (variant,) = seen["ProductionVariants"]
        if self.place["ScalableDimension"] == CONCURRENCY:
            return variant["CurrentServerlessConfig"].get("ProvisionedConcurrency", 0)
        return variant["CurrentInstanceCount"]

    def reaches(self, count):
        support.wait_for(lambda: self.count() == count, f"{count} of {self.place}")

    def track(self, metric, target):
        config = {"TargetValue": target} | metric
        return self.api.put_scaling_policy(
            **self.place, PolicyName="tracking", PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=config,
        )


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as refusal:
        operation(**arguments)
    assert refusal.value.response["Error"]["Code"] == code, refusal.value
    return refusal.value.response["Error"]["Message"]


def test_bounds_hold_and_are_told(client, runtime, deploy):
    scaling = Scaling(client, deploy(LOGISTIC))
    arn = scaling.register(2, 4)
    scaling.reaches(2)
    target = scaling.target()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)
    assert target["ScalableTargetARN"] == arn
    assert scaling.register(1, 1) == arn
    scaling.reaches(1)
    runtime.invoke_endpoint(
        EndpointName=scaling.endpoint, Body=models.csv(models.ROWS[:1]), ContentType="text/csv"
    )

    def done():
        seen = scaling.activities(PaginationConfig={"PageSize": 1})
        return seen if all(one["StatusCode"] == "Successful" for one in seen) else None

    activities = support.wait_for(done, "the activities have ended")
    assert [activity["Cause"] for activity in activities] == [
        "maximum capacity was set to 1", "minimum capacity was set to 2",
    ]
    assert activities[1]["Description"] == "Setting desired instance count to 2."
    assert activities[1]["EndTime"] >= activities[1]["StartTime"]
    scaling.api.deregister_scalable_target(**scaling.place)
    refused("ObjectNotFoundException", scaling.api.deregister_scalable_target, **scaling.place)


def test_none_at_night_and_back_in_a_time_zone(client, runtime, deploy):
    scaling = Scaling(client, deploy(LOGISTIC))
    scaling.register(1, 2)
    zone = "America/New_York"
    scaling.schedule("night", scaling.soon(zone), 0, 0, Timezone=zone)
    scaling.reaches(0)
    target = scaling.target()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 0)
    scaling.schedule("morning", scaling.soon(), 2, 2)
    scaling.reaches(2)
    answer = runtime.invoke_endpoint(
        EndpointName=scaling.endpoint, Body=models.csv(models.ROWS[:1]), ContentType="text/csv"
    )
    assert answer["Body"].read()
    causes = [activity["Cause"] for activity in scaling.activities()]
    assert causes == [
        "minimum capacity was set to 2",
        "scheduled action name morning was triggered",
        "maximum capacity was set to 0",
        "scheduled action name night was triggered",
    ]
    scaling.schedule("weekdays", "cron(0 8 ? * MON-FRI *)", 1, 4, Timezone="Europe/Berlin")
    listed = scaling.api.describe_scheduled_actions(
        **scaling.place, ScheduledActionNames=["weekdays"]
    )
    (action,) = listed["ScheduledActions"]
    assert action["Schedule"] == "cron(0 8 ? * MON-FRI *)"
    assert action["Timezone"] == "Europe/Berlin"
    assert action["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 4}
    gone = scaling.place | {"ScheduledActionName": "weekdays"}
    scaling.api.delete_scheduled_action(**gone)
    refused("ObjectNotFoundException", scaling.api.delete_scheduled_action, **gone)


def test_policies_and_tags_are_kept(client, deploy):
    scaling = Scaling(client, deploy(LOGISTIC))
    api, place = scaling.api, scaling.place
    arn = scaling.register(1, 3, Tags={"team": "vision"})
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        "Cooldown": 60,
    }
    tracking = PER_INSTANCE | {"ScaleInCooldown": 600}
    put = {
        "by-alarm": {"StepScalingPolicyConfiguration": step},
        "by-calls": {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": tracking,
        },
    }
    arns = {
        name: api.put_scaling_policy(**place, PolicyName=name, **policy)["PolicyARN"]
        for name, policy in put.items()
    }
    pages = api.get_paginator("describe_scaling_policies")
    pages = pages.paginate(**place, PaginationConfig={"PageSize": 1})
    listed = [policy for page in pages for policy in page["ScalingPolicies"]]
    assert {policy["PolicyName"]: policy["PolicyARN"] for policy in listed} == arns
    by_alarm, by_calls = sorted(listed, key=lambda policy: policy["PolicyName"])
    assert by_alarm["StepScalingPolicyConfiguration"] == step
    assert by_calls["TargetTrackingScalingPolicyConfiguration"] == tracking
    assert by_calls["Alarms"] == []
    again = api.put_scaling_policy(**place, PolicyName="by-alarm", **put["by-alarm"])
    assert again["PolicyARN"] == arns["by-alarm"]
    api.delete_scaling_policy(**place, PolicyName="by-alarm")
    refused(
        "ObjectNotFoundException", api.delete_scaling_policy, **place, PolicyName="by-alarm"
    )

    api.tag_resource(ResourceARN=arn, Tags={"stage": "test"})
    assert api.list_tags_for_resource(ResourceARN=arn)["Tags"] == {
        "team": "vision", "stage": "test",
    }
    api.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert api.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"stage": "test"}
    other = arn.rsplit("/", 1)[0] + "/nothing"
    refused("ResourceNotFoundException", api.list_tags_for_resource, ResourceARN=other)


def test_provisioned_concurrency_is_a_capacity(client, runtime, deploy):
    endpoint = deploy(LOGISTIC, serverless={"ProvisionedConcurrency": 1, "MaxConcurrency": 4})
    scaling = Scaling(client, endpoint, CONCURRENCY)
    said = refused("ValidationException", scaling.register, least=1, most=5)
    assert "MaxConcurrency" in said
    scaling.register(2, 4)
    scaling.reaches(2)
    utilization = {
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantProvisionedConcurrencyUtilization"
        }
    }
    refused("ValidationException", scaling.track, metric=PER_INSTANCE, target=70.0)
    scaling.track(utilization, 0.5)
    (policy,) = scaling.api.describe_scaling_policies(**scaling.place)["ScalingPolicies"]
    assert policy["ScalableDimension"] == CONCURRENCY
    scaling.schedule("busy", scaling.soon(), 3, 4)
    scaling.reaches(3)
    body = models.csv(models.ROWS[:1])
    runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="text/csv")
    cloudwatch = client("cloudwatch")

    def told(name, statistic):
        now = datetime.now(timezone.utc)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=f"Serverless{name}", Period=300,
            StartTime=now - timedelta(minutes=10), EndTime=now + timedelta(minutes=5),
            Statistics=[statistic], Dimensions=[
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
        )["Datapoints"]
        return points and max((point[statistic], point["Unit"]) for point in points)

    used = support.wait_for(
        lambda: told("ProvisionedConcurrencyInvocations", "Sum"), "the call is told"
    )
    assert used == (1.0, "Count")
    assert told("ProvisionedConcurrencyUtilization", "Maximum") == (pytest.approx(1 / 3), "None")
    assert told("ProvisionedConcurrencyExecutions", "Maximum") == (1.0, "Count")
    assert not told("ProvisionedConcurrencySpilloverInvocations", "Sum")
    assert told("ConcurrentExecutionsUtilization", "Maximum") == (0.25, "None")
    assert [activity["Description"] for activity in scaling.activities()] == [
        "Setting desired provisioned concurrency to 3.",
        "Setting min capacity to 3 and max capacity to 4.",
        "Setting desired provisioned concurrency to 2.",
    ]
    assert not Scaling(client, endpoint).activities(), "of the other dimension there are none"


def stat(id, namespace, name):
    metric = {"Namespace": namespace, "MetricName": name}
    return {"Id": id, "MetricStat": {"Metric": metric, "Stat": "Sum"}, "ReturnData": False}


def test_a_policy_computes_over_several_metrics(client, deploy):
    scaling = Scaling(client, deploy(LOGISTIC))
    scaling.register(1, 4)
    namespace, now = scaling.endpoint, datetime.now(timezone.utc)
    minutes = [now - timedelta(minutes=n) for n in range(6)]
    client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[
        {"MetricName": name, "Timestamp": minute, "Value": value}
        for minute in minutes for name, value in [("Waiting", 60.0), ("Lines", 2.0)]
    ])
    metrics = [
        stat("waiting", namespace, "Waiting"), stat("lines", namespace, "Lines"),
        {"Id": "each", "Expression": "waiting / lines", "Label": "waiting in each line"},
    ]
    computed = {"CustomizedMetricSpecification": {"Metrics": metrics}}
    scaling.track(computed, 10.0)
    scaling.reaches(3)
    cause = scaling.activities()[0]["Cause"]
    assert cause == (
        "policy tracking was triggered: waiting in each line was 30, above its target of 10"
    )
    (policy,) = scaling.api.describe_scaling_policies(**scaling.place)["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {"TargetValue": 10.0} | computed
    for queries, word in [
        (metrics[:2], "ReturnData"),
        (metrics + [metrics[0]], "waiting"),
        ([metrics[0], {"Id": "e", "Expression": "waiting / nothing"}], "nothing"),
        ([metrics[0], {"Id": "e", "Expression": "SEARCH('x')"}], "SEARCH"),
        ([stat(f"m{n}", namespace, "Waiting") for n in range(11)], "10"),
    ]:
        wrong = {"CustomizedMetricSpecification": {"Metrics": queries}}
        assert word in refused("ValidationException", scaling.track, metric=wrong, target=1.0)


def test_what_is_not_served_is_named(client, deploy):
    scaling = Scaling(client, deploy(LOGISTIC))
    api, place = scaling.api, scaling.place
    bounds = {"MinCapacity": 1, "MaxCapacity": 2}
    invalid = "ValidationException"
    for changed, word in [
        ({"ServiceNamespace": "ecs"}, "ecs"),
        ({"ScalableDimension": CONCURRENCY}, "ServerlessConfig"),
        ({"ScalableDimension": "sagemaker:inference-component:DesiredCopyCount"}, "CopyCount"),
        ({"ResourceId": "inference-component/c"}, "inference-component/c"),
        ({"ResourceId": "endpoint/none/variant/AllTraffic"}, "none"),
        ({"ResourceId": f"endpoint/{scaling.endpoint}/variant/other"}, "other"),
    ]:
        said = refused(invalid, api.register_scalable_target, **(place | bounds | changed))
        assert word in said
    said = refused(invalid, api.register_scalable_target, **place, MinCapacity=1)
    assert "MaxCapacity" in said
    more = {"MinCapacity": 3, "MaxCapacity": 2}
    refused(invalid, api.register_scalable_target, **place, **more)
    policy = {"PolicyName": "p", "PolicyType": "TargetTrackingScaling"}
    policy["TargetTrackingScalingPolicyConfiguration"] = PER_INSTANCE
    refused("ObjectNotFoundException", api.put_scaling_policy, **place, **policy)
    scaling.register(1, 2)
    predictive = {
        "PolicyName": "p", "PolicyType": "PredictiveScaling",
        "PredictiveScalingPolicyConfiguration": {"MetricSpecifications": [{"TargetValue": 1.0}]},
    }
    assert "PredictiveScaling" in refused(invalid, api.put_scaling_policy, **place, **predictive)
    math = {"TargetValue": 1.0, "CustomizedMetricSpecification": {"Metrics": [{"Id": "m1"}]}}
    policy["TargetTrackingScalingPolicyConfiguration"] = math
    assert "Expression" in refused(invalid, api.put_scaling_policy, **place, **policy)
    for schedule in ["cron(0 8 * * * *)", "at(2020-01-01T00:00:00)", "rate(0 hours)"]:
        action = {
            "ScheduledActionName": "a", "Schedule": schedule, "ScalableTargetAction": bounds,
        }
        refused(invalid, api.put_scheduled_action, **place, **action)
    token = {"ServiceNamespace": "sagemaker", "NextToken": "made-up"}
    refused("InvalidNextTokenException", api.describe_scalable_targets, **token)


def test_all_of_it_survives_a_restart(server):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="kept")
    scaling = Scaling(client, Deployment(client, "kept", "kept")(LOGISTIC))
    scaling.register(2, 2)
    scaling.reaches(2)
    scaling.schedule("missed", scaling.soon(), 1, 1)
    before = scaling.target()
    server.kill()
    server.start()
    scaling = Scaling(conftest.make_clients(boto3, server.url), scaling.endpoint)
    assert scaling.target()["ScalableTargetARN"] == before["ScalableTargetARN"]
    # What was missed meanwhile is made up for.
    scaling.reaches(1)
    causes = [activity["Cause"] for activity in scaling.activities()]
    assert causes[:2] == [
        "maximum capacity was set to 1", "scheduled action name missed was triggered",
    ]
    client = conftest.make_clients(boto3, server.url)
    client("sagemaker").delete_endpoint(EndpointName=scaling.endpoint)

    def is_forgotten():
        targets = scaling.api.describe_scalable_targets(ServiceNamespace="sagemaker")
        return not targets["ScalableTargets"]

    support.wait_for(is_forgotten, "the target of a deleted endpoint is gone")
