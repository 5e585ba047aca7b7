"""Production variants share calls by their weights."""

import collections
import http.client
import os

import pytest

import raw
import support
import variants

CALLS = int(os.environ.get("SAGEBRUSH_AB_CALLS", "20000"))
THREADS = 4

MODEL = """
import os

def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    return os.environ["NAME"], "text/csv"
"""


def made(deploy, name):
    return deploy.model(
        support.inference_py(MODEL), suffix=f"-{name}", image=support.PYTHON,
        environment={"NAME": name},
    )


def invoked(url, endpoint, n):
    """Has `n` calls answered over one connection; counts the variants that answered."""
    path, body = f"/endpoints/{endpoint}/invocations", b"1"
    headers = raw.signed_headers(
        url, "sagemaker", "POST", path, body, {"Content-Type": "text/csv"}
    )
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    counts = collections.Counter()
    for _ in range(n):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        assert answer.status == 200, said
        assert said == answer.headers["x-Amzn-Invoked-Production-Variant"]
        counts[said] += 1
    connection.close()
    return counts


@pytest.mark.parametrize(("weights", "calls"), [((1, 1), CALLS), ((1, 9), CALLS // 10)])
def test_calls_are_shared_by_weight(deploy, endpoint_url, weights, calls):
    pairs = [
        variants.variant(name, made(deploy, name), weight)
        for name, weight in zip(("blue", "green"), weights, strict=True)
    ]
    endpoint = variants.endpoint(deploy, pairs)
    each = calls // THREADS
    outcomes = support.in_threads(THREADS, lambda _: invoked(endpoint_url, endpoint, each))
    counts = sum(outcomes, collections.Counter())
    wanted = weights[0] / sum(weights)
    assert abs(counts["blue"] / counts.total() - wanted) < 0.01, counts
