"""Shadow variants: they get copies of calls, nobody gets their answers, and they can be promoted."""

import time

import pytest
from botocore.exceptions import ClientError

import calls
import capturing
import metrics
import support
import variants
from load import Load

# Below a limit it says something else; it may be slow, and may fail one call.
MODEL = """
import json, os, time

def model_fn(model_dir):
    return {name: float(os.environ.get(name, "0")) for name in ("LIMIT", "SCORE", "SLEEP", "FAIL")}

def predict_fn(data, model):
    time.sleep(model["SLEEP"])
    if data["n"] == model["FAIL"] - 1:
        raise ValueError("this call was to fail")
    return {"label": "dog" if data["n"] < model["LIMIT"] else "cat", "score": model["SCORE"]}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""

PRODUCTION = {"SCORE": "0.9"}
N = 20


@pytest.fixture
def model(deploy):
    """`model(suffix, SCORE="0.9")`: the name of a model that does so."""

    def make(suffix, **environment):
        return deploy.model(
            support.inference_py(MODEL), suffix=suffix, image=support.PYTHON,
            environment=environment,
        )

    return make


@pytest.fixture
def copied(endpoint_url):
    """`copied(endpoint, "copies", n)`: waits until the counter of the shadow variant says `n`."""

    def wait(endpoint, what, n):
        def look():
            seen = metrics.value(
                endpoint_url, f"sagebrush_shadow_{what}_total", endpoint=endpoint, variant="main",
                shadow_variant="next",
            )
            return seen == n

        support.wait_for(look, f"{n} {what}", 20)

    return wait


def ask_all(runtime, endpoint):
    for n in range(N):
        said = calls.ask(runtime, endpoint, {"n": n}, accept=calls.JSON)
        assert said == {"label": "cat", "score": 0.9}


def test_answers_are_compared(deploy, model, copied, sagemaker, runtime, s3, bucket, endpoint_url):
    main = variants.variant("main", model("-a", **PRODUCTION))
    shadow = variants.variant("next", model("-b", SCORE="0.6", LIMIT="5"))
    endpoint = variants.endpoint(
        deploy, [main], [shadow], DataCaptureConfig=capturing.config(bucket)
    )
    seen = sagemaker.describe_endpoint(EndpointName=endpoint)
    [shown] = seen["ShadowProductionVariants"]
    assert (shown["VariantName"], shown["CurrentInstanceCount"]) == ("next", 1)
    assert [variant["VariantName"] for variant in seen["ProductionVariants"]] == ["main"]

    ask_all(runtime, endpoint)
    copied(endpoint, "copies", N)
    copied(endpoint, "agreements", N - 5)
    copied(endpoint, "errors", 0)
    distances = {
        what: metrics.value(endpoint_url, f"sagebrush_shadow_{what}_sum", endpoint=endpoint)
        for what in ("absolute_difference", "relative_difference")
    }
    assert distances["absolute_difference"] == pytest.approx(N * 0.3)
    assert distances["relative_difference"] == pytest.approx(N / 3)

    captured = capturing.at_least(s3, bucket, endpoint, 2 * N)
    scores = [
        line["captureData"]["endpointOutput"]["data"].partition('"score": ')[2][:3]
        for line in captured
    ]
    assert sorted(scores) == ["0.6"] * N + ["0.9"] * N
    keys = capturing.keys(s3, bucket, endpoint)
    assert {key.split("/")[2] for key in keys} == {"main", "next"}

    # Nobody may ask it, and without weight it gets nothing.
    message = calls.validation_error(runtime, endpoint, {"n": 1}, TargetVariant="next")
    assert "Variant next" in message
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": "next", "DesiredWeight": 0}],
    )
    deploy.settled(endpoint)
    ask_all(runtime, endpoint)
    copied(endpoint, "copies", N)


def test_a_slow_and_failing_shadow_harms_nobody(deploy, model, copied, runtime):
    main = variants.variant("main", model("-a", **PRODUCTION))
    shadow = variants.variant("next", model("-b", SCORE="0.9", SLEEP="0.4", FAIL="8"))
    endpoint = variants.endpoint(deploy, [main], [shadow])
    began = time.monotonic()
    ask_all(runtime, endpoint)
    assert time.monotonic() - began < N * 0.4 / 2
    copied(endpoint, "copies", N)
    copied(endpoint, "errors", 1)
    copied(endpoint, "agreements", N - 1)


def test_a_shadow_is_promoted_without_a_lost_call(deploy, model, client, sagemaker):
    old, new = model("-a", **PRODUCTION), model("-b", SCORE="0.6")
    endpoint = variants.endpoint(
        deploy, [variants.variant("main", old)], [variants.variant("next", new, 0.5)]
    )
    promoted = variants.config(deploy, "-promoted", [variants.variant("main", new)])
    with Load(
        client, endpoint, b'{"n": 1}', lambda body: b"0.6" in body, threads=4,
        content_type="application/json",
    ) as load:
        load.at_least(10)
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=promoted)
        seen = deploy.settled(endpoint)
        assert seen["EndpointConfigName"] == promoted
        assert "ShadowProductionVariants" not in seen
        load.at_least(10)
    assert load.errors == []
    assert all(not answers[0] and answers[-1] for answers in load.answers)


def test_what_cannot_be_shadowed(deploy, model):
    name = model("-a", **PRODUCTION)
    main, other, shadow = (variants.variant(it, name) for it in ("main", "other", "next"))
    for production, shadows, words in [
        ([main, other], [shadow], "exactly one"),
        ([main], [main], "must be unique"),
    ]:
        with pytest.raises(ClientError) as caught:
            variants.config(deploy, "", production, shadows)
        assert words in caught.value.response["Error"]["Message"]
