"""Calls that are answered together, each with an answer of its own."""

import calls
import metrics
import support

# A run costs the same whatever its size: batches pay.
TOGETHER = """
import time

def model_fn(model_dir):
    return 10

def input_fn(data, content_type):
    number = int(data)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number

def predict_batch_fn(numbers, model):
    time.sleep(0.05)
    if 13 in numbers:
        raise RuntimeError("thirteen")
    return [(model * number, len(numbers)) for number in numbers]

def output_fn(prediction, accept):
    value, together = prediction
    return f"{value},{together}", "text/csv"
"""
ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}


def test_calls_that_wait_are_answered_together(deploy, client, endpoint_url):
    endpoint = deploy(
        support.inference_py(TOGETHER), image=support.PYTHON, environment=ONE_WORKER
    )
    lone = calls.invoke(client("sagemaker-runtime"), endpoint, "7", "text/csv")
    assert lone["Body"] == b"70,1"

    def caller(i):
        runtime = client("sagemaker-runtime", config={"user_agent_extra": f"batch-{i}"})
        sizes = []
        for n in range(30):
            number = 100 * i + n + 20
            answer = calls.invoke(runtime, endpoint, str(number), "text/csv")
            value, together = answer["Body"].decode().split(",")
            assert int(value) == 10 * number, "its own answer"
            sizes.append(int(together))
        return sizes

    outcomes = support.in_threads(8, caller)
    assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    assert max(max(sizes) for sizes in outcomes) >= 4, outcomes
    n_batches = metrics.value(endpoint_url, "sagebrush_batch_size_count", endpoint=endpoint)
    n_calls = metrics.value(endpoint_url, "sagebrush_batch_size_sum", endpoint=endpoint)
    assert n_calls == 1 + 8 * 30
    assert n_batches < 0.6 * n_calls


def test_a_bad_call_fails_alone(deploy, client):
    endpoint = deploy(
        support.inference_py(TOGETHER), image=support.PYTHON, environment=ONE_WORKER
    )

    def caller(i):
        runtime = client("sagemaker-runtime", config={"user_agent_extra": f"alone-{i}"})
        for _ in range(12):
            if i == 0:
                message = calls.model_error(runtime, endpoint, "13", content_type="text/csv")
                assert "thirteen" in message, message
            elif i == 1:
                message = calls.model_error(runtime, endpoint, "-4", content_type="text/csv")
                assert "-4 is negative" in message, message
            else:
                answer = calls.invoke(runtime, endpoint, str(i), "text/csv")
                assert answer["Body"].split(b",")[0] == str(10 * i).encode()
        return "fine"

    assert support.in_threads(8, caller) == ["fine"] * 8


def test_what_is_set_of_batches_is_checked(deploy):
    for name, value in (
        ("SAGEBRUSH_MAX_BATCH_SIZE", "0"),
        ("SAGEBRUSH_MAX_BATCH_DELAY_MS", "soon"),
    ):
        suffix = "-" + name.rsplit("_", 1)[1].lower()
        reason = deploy.failing(
            support.inference_py(TOGETHER), image=support.PYTHON, environment={name: value},
            suffix=suffix,
        )
        assert name in reason, reason
