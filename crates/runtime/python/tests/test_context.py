import pytest

from sagebrush import Context, replies

SYSTEM = {"model_dir": "/m", "gpu_id": None, "batch_size": 1, "server_name": "sagebrush"}
RAW = [
    "x-amzn-sagemaker-custom-attributes", "tenant=7",
    "x-amzn-sagemaker-inference-id", "i-1",
    "x-amzn-sagemaker-session-id", "s-1",
    "x-amzn-sagemaker-target-model", "a.tar.gz",
]


def make():
    return Context(SYSTEM, "r-1", "text/csv", None, RAW)


@pytest.mark.parametrize("parsed_before", [False, True])
@pytest.mark.parametrize("name, value", [
    ("X-Amzn-SageMaker-Custom-Attributes", "tenant=7"),
    ("x-amzn-sagemaker-inference-id", "i-1"),
    ("Content-Type", "text/csv"),
    ("accept", None),
    ("x-nothing", None),
])
def test_request_headers_in_any_case(parsed_before, name, value):
    context = make()
    if parsed_before:
        assert context.headers
    assert context.get_request_header(0, name) == value
    assert context.get_all_request_header(0).get(name) == value
    assert context.request_processor[0].get_request_properties().get(name) == value
    assert context.request_processor[0].get_request_property(name) == value
    assert (name in context.headers) == (value is not None)


def test_what_the_call_says():
    context = make()
    assert context.get_request_id() == context.get_request_id(0) == context.request_id == "r-1"
    assert context.custom_attributes == "tenant=7"
    assert context.inference_id == "i-1"
    assert context.session_id == "s-1"
    assert context.target_model == "a.tar.gz"
    assert context.target_variant is None
    assert context.system_properties["model_dir"] == "/m"
    assert context.manifest == {}
    assert dict(context.headers)["content-type"] == "text/csv"


def test_an_answer_without_wishes():
    context = make()
    assert context.response_content_type is None
    assert context.response_status == 200
    assert context.response_custom_attributes is None
    assert context.get_response_status(0) == (200, "")
    assert context.get_response_headers(0) == {}


@pytest.mark.parametrize("wish", [
    lambda c: c.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "a=1"),
    lambda c: c.set_response_header(0, "x-amzn-sagemaker-custom-attributes", "a=1"),
    lambda c: c.request_processor[0].add_response_property(
        "X-AMZN-SAGEMAKER-CUSTOM-ATTRIBUTES", "a=1"),
    lambda c: setattr(c, "custom_attributes", "a=1"),
])
def test_custom_attributes_of_the_answer(wish):
    context = make()
    wish(context)
    assert context.response_custom_attributes == "a=1"
    assert context.custom_attributes == "tenant=7"


@pytest.mark.parametrize(("name", "head"), [
    (None, b""),
    ("X-Amzn-SageMaker-Custom-Attributes", b"\nv"),
    ("X-Amzn-SageMaker-New-Session-Id", b"\n\nv"),
    ("X-Amzn-SageMaker-Closed-Session-Id", b"\n\n\nv"),
])
def test_what_a_reply_says_after_its_type(name, head):
    context = make()
    context.set_response_status(200)
    if name:
        context.set_response_header(0, name, "v")
    assert replies.attributes(context) == head


@pytest.mark.parametrize("wish", [
    lambda c: c.set_response_status(201, "made", 0),
    lambda c: c.set_http_response_status(code=201, phrase="made"),
    lambda c: c.request_processor[0].report_status(201, "made"),
])
def test_status_of_the_answer(wish):
    context = make()
    wish(context)
    assert context.response_status == 201
    assert context.get_response_status(0) == context.get_http_response_status(0) == (201, "made")
    assert context.request_processor[0].get_response_status_code() == 201


@pytest.mark.parametrize("wish", [
    lambda c: c.set_response_content_type(0, "image/png"),
    lambda c: c.set_response_header(0, "Content-Type", "image/png"),
])
def test_content_type_of_the_answer(wish):
    context = make()
    wish(context)
    assert context.response_content_type == context.get_response_content_type(0) == "image/png"


def test_metrics_are_printed(capsys):
    metrics = make().metrics
    metrics.add_time("Preprocess", 12.5)
    metrics.add_counter("Rows", 3, idx=0)
    metrics.add_size("Body", 1, unit="kB")
    metrics.add_percent("Full", 10)
    metrics.add_error("Bad", "why")
    metrics.add_metric("Any", 1, unit="x", dimensions=[], metric_type="gauge")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[METRICS]Preprocess.ms:12.5|#RequestId:r-1"
    assert len(lines) == 6
