"""Inference experiments: shadow tests that start, end and promote by themselves."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError

import calls
import capturing
import conftest
import metrics
import support
import variants
from deployment import Deployment
from load import Load

MODEL = """
import json, os

def model_fn(model_dir):
    return float(os.environ["SCORE"])

def predict_fn(data, score):
    return {"label": "cat", "score": score}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""

OLD, NEW = b"0.9", b"0.6"


def model(deploy, suffix, score):
    return deploy.model(
        support.inference_py(MODEL), suffix=suffix, image=support.PYTHON,
        environment={"SCORE": score.decode()},
    )


def variant(name, model, count=1):
    instances = {"InstanceType": "ml.m5.large", "InstanceCount": count}
    return {
        "VariantName": name, "ModelName": model,
        "InfrastructureConfig": {
            "InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": instances,
        },
    }


def mode(percentage):
    shadow = {"ShadowModelVariantName": "next", "SamplingPercentage": percentage}
    return {"SourceModelVariantName": "main", "ShadowModelVariants": [shadow]}


class Experiments:
    def __init__(self, sagemaker):
        self.sagemaker = sagemaker

    def create(self, name, endpoint, variants, percentage=100, **more):
        made = self.sagemaker.create_inference_experiment(
            Name=name, Type="ShadowMode", RoleArn=support.ROLE, EndpointName=endpoint,
            ModelVariants=variants, ShadowModeConfig=mode(percentage), **more,
        )
        return made["InferenceExperimentArn"]

    def describe(self, name):
        return self.sagemaker.describe_inference_experiment(Name=name)

    def reaches(self, name, status):
        def look():
            seen = self.describe(name)
            assert status in ("Cancelled", "Completed") or seen["Status"] != "Cancelled", seen
            return seen if seen["Status"] == status else None

        return support.wait_for(look, f"experiment {name} is {status}", 60)

    def stop(self, name, actions, **more):
        self.sagemaker.stop_inference_experiment(Name=name, ModelVariantActions=actions, **more)

    def configs(self):
        """The names of the configurations that experiments made."""
        listed = self.sagemaker.list_endpoint_configs(NameContains="experiment-", MaxResults=100)
        return [config["EndpointConfigName"] for config in listed["EndpointConfigs"]]


@pytest.fixture
def experiments(sagemaker):
    return Experiments(sagemaker)


@pytest.fixture
def models(deploy):
    return model(deploy, "-a", OLD), model(deploy, "-b", NEW)


@pytest.fixture
def endpoint(deploy, models):
    return variants.endpoint(deploy, [variants.variant("main", models[0])])


def refused(code, words, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    error = caught.value.response["Error"]
    assert error["Code"] == code and words in error["Message"], error


def test_calls_are_compared_and_the_shadow_is_promoted_under_load(
    client, deploy, endpoint, models, experiments, bucket, s3, sagemaker, runtime, endpoint_url
):
    name = f"{endpoint}-x"
    arn = experiments.create(
        name, endpoint, [variant("main", models[0]), variant("next", models[1])],
        Description="a new model",
        DataStorageConfig={
            "Destination": f"s3://{bucket}/captured",
            "ContentType": {"JsonContentTypes": ["application/json"]},
        },
        Tags=[{"Key": "team", "Value": "vision"}],
    )
    assert arn.endswith(f":inference-experiment/{name}")
    seen = experiments.reaches(name, "Running")
    assert seen["Description"] == "a new model"
    assert seen["EndpointMetadata"]["EndpointName"] == endpoint
    assert seen["EndpointMetadata"]["EndpointStatus"] == "InService"
    assert [variant["Status"] for variant in seen["ModelVariants"]] == ["InService", "InService"]
    lasts = seen["Schedule"]["EndTime"] - seen["CreationTime"]
    assert abs(lasts - timedelta(days=7)) < timedelta(minutes=1)
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "vision"}]
    [config] = [config for config in experiments.configs() if "run" in config]
    assert seen["EndpointMetadata"]["EndpointConfigName"] == config

    def count(what):
        return metrics.value(
            endpoint_url, f"sagebrush_shadow_{what}_total", endpoint=endpoint, variant="main",
            shadow_variant="next",
        )

    def ask():
        assert calls.ask(runtime, endpoint, {"n": 1}, accept=calls.JSON)["score"] == 0.9
        return True

    support.wait_for(lambda: ask() and count("copies") > 0, "the first copy", 20)
    for _ in range(10):
        ask()
    support.wait_for(lambda: count("copies") > 10, "10 more copies", 20)
    support.wait_for(lambda: count("agreements") == count("copies"), "all agree", 20)
    captured = capturing.at_least(s3, bucket, endpoint, 22)
    outputs = [json.loads(line["captureData"]["endpointOutput"]["data"]) for line in captured]
    scores = [output["score"] for output in outputs]
    assert set(scores) == {0.6, 0.9} and min(scores.count(0.6), scores.count(0.9)) > 10

    with Load(
        client, endpoint, b'{"n": 1}', lambda body: NEW in body, threads=4,
        content_type="application/json",
    ) as load:
        load.at_least(10)
        sagemaker.update_inference_experiment(Name=name, ShadowModeConfig=mode(50))
        assert experiments.reaches(name, "Running")["ShadowModeConfig"] == mode(50)
        load.at_least(5)
        experiments.stop(
            name, {"main": "Remove", "next": "Promote"}, DesiredState="Completed", Reason="better",
        )
        seen = experiments.reaches(name, "Completed")
        load.at_least(10)
    assert load.errors == []
    assert all(not answers[0] and answers[-1] for answers in load.answers)
    assert seen["StatusReason"] == "better" and seen["CompletionTime"]
    statuses = {variant["VariantName"]: variant["Status"] for variant in seen["ModelVariants"]}
    assert statuses == {"main": "Deleted", "next": "InService"}
    shown = sagemaker.describe_endpoint(EndpointName=endpoint)
    assert [it["VariantName"] for it in shown["ProductionVariants"]] == ["next"]
    assert "ShadowProductionVariants" not in shown and "DataCaptureConfig" not in shown

    # What the experiment made goes when no endpoint needs it any more.
    promoted = shown["EndpointConfigName"]
    support.wait_for(lambda: experiments.configs() == [promoted], "one configuration is left", 20)
    sagemaker.delete_inference_experiment(Name=name)
    refused("ResourceNotFound", name, experiments.describe, name=name)
    assert experiments.configs() == [promoted]
    deploy.delete(endpoint)
    support.wait_for(lambda: not experiments.configs(), "no configuration is left", 20)


def test_a_cancelled_experiment_leaves_the_endpoint_as_it_was(
    endpoint, models, experiments, sagemaker, runtime
):
    before = sagemaker.describe_endpoint(EndpointName=endpoint)
    name = f"{endpoint}-x"
    experiments.create(name, endpoint, [variant("next", models[1])])
    experiments.reaches(name, "Running")
    experiments.stop(name, {"next": "Remove"})
    seen = experiments.reaches(name, "Cancelled")
    assert "StatusReason" not in seen
    after = sagemaker.describe_endpoint(EndpointName=endpoint)
    for member in ("EndpointConfigName", "EndpointStatus"):
        assert after[member] == before[member]
    assert "ShadowProductionVariants" not in after
    assert calls.ask(runtime, endpoint, {"n": 1}, accept=calls.JSON)["score"] == 0.9


def test_a_schedule_in_the_future_and_a_start_now(deploy, models, experiments, sagemaker, runtime):
    """On an endpoint that the experiment makes."""
    name = f"{deploy.name}-x"
    start = datetime.now(timezone.utc) + timedelta(days=1)
    both = [variant("main", models[0]), variant("next", models[1])]
    experiments.create(name, deploy.name, both, Schedule={"StartTime": start})
    deploy.endpoints.append(deploy.name)
    seen = experiments.reaches(name, "Created")
    assert abs(seen["Schedule"]["StartTime"] - start) < timedelta(seconds=1)
    assert [variant["Status"] for variant in seen["ModelVariants"]] == ["InService", "Creating"]
    assert calls.ask(runtime, deploy.name, {"n": 1}, accept=calls.JSON)["score"] == 0.9
    refused(
        "ResourceInUse", name, experiments.create, name=f"{name}-2", endpoint=deploy.name,
        variants=both, Schedule={"StartTime": start + timedelta(days=2)},
    )
    refused("ResourceInUse", "already exists", experiments.create, name=name,
            endpoint=deploy.name, variants=both)

    sagemaker.start_inference_experiment(Name=name)
    seen = experiments.reaches(name, "Running")
    assert seen["Schedule"]["StartTime"] < start - timedelta(hours=20)
    refused("ConflictException", "Running", sagemaker.start_inference_experiment, Name=name)
    refused("ConflictException", "Running", sagemaker.delete_inference_experiment, Name=name)
    listed = sagemaker.list_inference_experiments(NameContains=deploy.name, StatusEquals="Running")
    assert [found["Name"] for found in listed["InferenceExperiments"]] == [name]

    # It ends at its EndTime, and the endpoint has its production variant again.
    end = datetime.now(timezone.utc) + timedelta(seconds=1)
    sagemaker.update_inference_experiment(Name=name, Schedule={"EndTime": end})
    seen = experiments.reaches(name, "Completed")
    assert seen["CompletionTime"] >= end - timedelta(seconds=1)
    shown = sagemaker.describe_endpoint(EndpointName=deploy.name)
    assert "ShadowProductionVariants" not in shown
    assert [it["VariantName"] for it in shown["ProductionVariants"]] == ["main"]


def test_an_endpoint_that_is_deleted_takes_its_experiment_along(
    deploy, endpoint, models, experiments
):
    name = f"{endpoint}-x"
    experiments.create(name, endpoint, [variant("next", models[1])])
    experiments.reaches(name, "Running")
    deploy.delete(endpoint)
    seen = experiments.reaches(name, "Cancelled")
    assert "was deleted" in seen["StatusReason"]
    assert "EndpointStatus" not in seen["EndpointMetadata"]


def test_a_shadow_that_cannot_start_harms_nobody(deploy, endpoint, models, experiments, runtime):
    name = f"{endpoint}-x"
    broken = deploy.model(suffix="-c", image="nothing")
    experiments.create(name, endpoint, [variant("next", broken)])
    seen = experiments.reaches(name, "Cancelled")
    assert "The image nothing is not known" in seen["StatusReason"]
    assert calls.ask(runtime, endpoint, {"n": 1}, accept=calls.JSON)["score"] == 0.9


def test_what_is_refused(endpoint, models, experiments, sagemaker):
    arguments = {"name": f"{endpoint}-x", "endpoint": endpoint}
    main, shadow = variant("main", models[0]), variant("next", models[1])
    now = datetime.now(timezone.utc)
    for given, words, more in [
        ([main], "no variant next", {}),
        ([main, variant("next", "nothing")], "Could not find model", {}),
        ([variant("main", models[1]), shadow], "ModelVariants has model", {}),
        ([shadow, variant("other", models[1])], "not in the ShadowModeConfig", {}),
        ([main, variant("next", models[1], 0)], "InstanceCount", {}),
        ([main, shadow], "30 days", {"Schedule": {"EndTime": now + timedelta(days=31)}}),
        ([main, shadow], "in the future", {"Schedule": {"EndTime": now - timedelta(days=1)}}),
    ]:
        refused("ValidationException", words, experiments.create, variants=given,
                **arguments, **more)
    refused("ResourceNotFound", "nothing", sagemaker.stop_inference_experiment, Name="nothing",
            ModelVariantActions={"a": "Remove"})


def test_an_experiment_goes_on_after_a_kill(server):
    boto3 = pytest.importorskip("boto3")
    clients = conftest.make_clients(boto3, server.url)
    clients("s3").create_bucket(Bucket="kept")
    deploy = Deployment(clients, "kept", "kept")
    old, new = model(deploy, "-a", OLD), model(deploy, "-b", NEW)
    endpoint = variants.endpoint(deploy, [variants.variant("main", old)])

    def again():
        server.kill()
        server.start()
        return Experiments(conftest.make_clients(boto3, server.url)("sagemaker"))

    Experiments(clients("sagemaker")).create("x", endpoint, [variant("next", new)])
    experiments = again()
    experiments.reaches("x", "Running")
    experiments = again()
    assert experiments.describe("x")["Status"] == "Running"
    experiments.stop("x", {"next": "Promote"}, DesiredState="Completed")
    experiments = again()
    experiments.reaches("x", "Completed")
    runtime = conftest.make_clients(boto3, server.url)("sagemaker-runtime")
    assert calls.ask(runtime, endpoint, {"n": 1}, accept=calls.JSON)["score"] == 0.6
