"""New instances are asked what the old ones answered; variants at zero refuse at once."""

import functools
import json
import time

import calls
import metrics
import support
import variants
from load import Load

# Which version answers; a bad one answers pings, and a picky one takes another input.
CODE = """
import json, os
from sagebrush import HttpError

def model_fn(model_dir):
    return os.environ["WHO"]

def input_fn(data, content_type):
    return json.loads(data)

def predict_fn(data, who):
    if who == "bad":
        raise RuntimeError("no such column")
    if who == "picky" and not isinstance(data, dict):
        raise HttpError(422, "a row must be an object")
    return who

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""


def version(deploy, who, **environment):
    environment |= {"WHO": who}
    files = support.inference_py(CODE)
    return deploy.config(
        files, suffix=f"-{who}", image=support.PYTHON, environment=environment
    )


def updated(sagemaker, deploy, name, config):
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
    seen = deploy.settled(name)
    assert seen["EndpointStatus"] == "InService"
    return seen["EndpointConfigName"], seen.get("FailureReason", "")


def test_a_version_that_fails_on_real_input_is_given_no_call(client, sagemaker, runtime, deploy):
    name = deploy(support.inference_py(CODE), image=support.PYTHON, environment={"WHO": "old"})
    bad, good, picky = (version(deploy, who) for who in ("bad", "good", "picky"))
    with Load(client, name, b"1", json.loads, threads=4, content_type=calls.JSON) as load:
        load.at_least(5)
        serving, reason = updated(sagemaker, deploy, name, bad)
        assert serving == name
        assert "probe of variant AllTraffic" in reason and "no such column" in reason, reason
        assert "SAGEBRUSH_PROBE_REPLAY=false" in reason
        load.at_least(5)
        assert {answer for answers in load.answers for answer in answers} == {"old"}
        assert updated(sagemaker, deploy, name, good) == (good, "")
        load.at_least(5)
    assert load.errors == []
    # Another input is no fault.
    assert updated(sagemaker, deploy, name, picky) == (picky, "")
    assert calls.ask(runtime, name, {"row": 1}) == "picky"
    assert calls.model_error(runtime, name, b"1", status=422) == "a row must be an object"


def test_what_was_not_asked_for_is_not_asked(sagemaker, runtime, deploy):
    name = deploy(support.inference_py(CODE), image=support.PYTHON, environment={"WHO": "old"})
    bad = version(deploy, "bad", SAGEBRUSH_PROBE_REPLAY="false")
    assert calls.ask(runtime, name, b"1") == "old"
    assert updated(sagemaker, deploy, name, bad) == (bad, "")
    assert "no such column" in calls.model_error(runtime, name, b"1")


def test_a_variant_without_instances_refuses_at_once(sagemaker, runtime, deploy, endpoint_url):
    model = {
        who: deploy.model(
            support.inference_py(CODE), suffix=f"-{who}", image=support.PYTHON,
            environment={"WHO": who},
        )
        for who in ("blue", "green")
    }
    name = variants.endpoint(deploy, [variants.variant(who, made) for who, made in model.items()])

    def count(**counts):
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[
                {"VariantName": who, "DesiredInstanceCount": n} for who, n in counts.items()
            ],
        )

    def refused(**more):
        began = time.monotonic()
        error = calls.refused(runtime, name, b"1", **more)
        assert time.monotonic() - began < 10, "30 s is how long a call may wait"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 503, error
        return error

    def n_refused():
        return metrics.value(
            endpoint_url, "sagebrush_no_capacity_errors_total", endpoint=name, variant="blue"
        )

    count(blue=0)
    deploy.settled(name)
    assert {calls.ask(runtime, name, b"1") for _ in range(10)} == {"green"}
    refused(TargetVariant="blue")
    support.wait_for(lambda: n_refused() == 1, "the refusal is counted")
    count(green=0)
    deploy.settled(name)
    refused()
    count(blue=1, green=1)

    def answers(who):
        # Refused for the moment that it takes the data plane to hear of it, and held after that.
        try:
            return calls.ask(runtime, name, b"1", TargetVariant=who) == who
        except runtime.exceptions.ServiceUnavailable:
            return False

    for who in model:
        support.wait_for(functools.partial(answers, who), f"{who} answers again")
    deploy.settled(name)
