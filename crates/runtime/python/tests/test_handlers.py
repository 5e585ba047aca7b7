import functools
import os
import sys

import pytest

from sagebrush import HttpError, frameworks, handlers
from sagebrush.arity import bind

ECHO = """
def model_fn(model_dir):
    return "model"
def input_fn(data, content_type):
    return data
def predict_fn(data, model):
    return data
def output_fn(prediction, accept):
    return repr((type(prediction).__name__, prediction, accept))
"""


@pytest.mark.parametrize("body, content_type, accept, seen", [
    (b"[1]", "application/json", None, ("str", "[1]", "application/json")),
    (b"[1]", "Application/JSON; charset=utf-8", "*/*", ("str", "[1]", "application/json")),
    (b"1,2", "text/csv", "text/csv", ("str", "1,2", "text/csv")),
    (b"\xe9", "text/csv; charset=latin-1", "text/csv", ("str", "\xe9", "text/csv")),
    (b"hi", "text/plain", "", ("bytes", b"hi", "application/json")),
    (b"hi", None, None, ("bytes", b"hi", "application/json")),
    (memoryview(b"hi"), "image/png", "image/png", ("bytes", b"hi", "image/png")),
    (memoryview(b"{}"), "application/json", None, ("str", "{}", "application/json")),
    (b"<a/>", "application/xml", "a/b, c/d", ("bytes", b"<a/>", "a/b, c/d")),
])
def test_what_the_functions_see(serve, call, body, content_type, accept, seen):
    payload, answered, _ = call(serve(ECHO), body, content_type, accept)
    assert payload.decode() == repr(seen)
    assert answered == seen[2].split(",")[0]


def test_a_default_accept_from_the_environment(serve, call):
    environment = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}
    assert call(serve(ECHO, environment=environment))[1] == "text/csv"


@pytest.mark.parametrize("body, content_type, status", [
    (b"\xff", "application/json", 400),
    (b"\xff", "text/csv", 400),
    (b"a", "text/csv; charset=klingon", 415),
    (b"YQ==", "text/csv; charset=base64", 415),
    (b"a", "text/csv; charset=a\0", 415),
    (b"a", "text/csv; charset=", 415),
    (b"a", "text/csv; charset=utf-16", 400),
])
def test_text_that_is_none(serve, call, body, content_type, status):
    with pytest.raises(HttpError) as info:
        call(serve(ECHO), body, content_type)
    assert info.value.status == status


@pytest.mark.parametrize("returned, payload, content_type", [
    ("'text'", b"text", "application/json"),
    ("'\\u00e9'", b"\xc3\xa9", "application/json"),
    ("b'bytes'", b"bytes", "application/json"),
    ("bytearray(b'array')", b"array", "application/json"),
    ("memoryview(b'view')", b"view", "application/json"),
    ("('a;b', 'text/csv')", b"a;b", "text/csv"),
    ("(b'', None)", b"", None),
    ("{'a': 1}", b'{"a": 1}', "application/json"),
    ("[1]", b"[1]", "application/json"),
])
@pytest.mark.parametrize("source", [
    "def model_fn(d): pass\ndef output_fn(prediction, accept): return %s\n"
    "def predict_fn(data, model): pass\n",
    "def model_fn(d): pass\ndef transform_fn(model, data, content_type, accept): return %s\n",
])
def test_what_may_be_returned(serve, call, source, returned, payload, content_type):
    assert call(serve(source % returned))[:2] == (payload, content_type)


@pytest.mark.parametrize("returned, named", [
    ("None", "None"), ("1.5", "a float"),
    ("(b'a', 'b', 'c')", "a tuple of 3"), ("(b'a', 7)", "a content type that is a int"),
    ("(1, 'text/csv')", "a int"),
])
@pytest.mark.parametrize("name, source", [
    ("output_fn", "def model_fn(d): pass\ndef output_fn(prediction, accept): return %s\n"
                  "def predict_fn(data, model): pass\n"),
    ("transform_fn", "def model_fn(d): pass\ndef transform_fn(m, d, c, a): return %s\n"),
])
def test_what_may_not_be_returned(serve, call, name, source, returned, named):
    with pytest.raises(HttpError) as info:
        call(serve(source % returned))
    assert info.value.status == 500
    assert str(info.value).startswith("%s returned %s" % (name, named))


def test_a_response_object_of_the_older_images(serve, call):
    source = """
class Response:
    mimetype, status_code = "text/csv", 201
    def get_data(self): return b"1"
def model_fn(d): pass
def transform_fn(model, data, content_type, accept): return Response()
"""
    payload, content_type, context = call(serve(source))
    assert (payload, content_type, context.response_status) == (b"1", "text/csv", 201)


@pytest.mark.parametrize("other", ["input_fn", "predict_fn", "output_fn"])
def test_mixing_is_refused(serve, other):
    source = "def transform_fn(m, d, c, a): pass\ndef %s(a, b): pass\n" % other
    with pytest.raises(ValueError, match="transform_fn cannot be used together with " + other):
        serve(source)


def test_the_order_of_loading_and_the_context_everywhere(serve, call):
    source = """
seen = []
def pre_model_fn(model_dir, context): seen.append(("pre", context.request_id))
def model_fn(model_dir, context): seen.append(("model", context.request_id)); return seen
def model_warmup_fn(model_dir, model, context): seen.append(("warm", context.request_id))
def input_fn(data, content_type, context): seen.append(("in", context.request_id))
def predict_fn(data, model, context): seen.append(("predict", context.request_id))
def output_fn(prediction, accept, context): return repr(seen)
"""
    load = [("pre", "load"), ("model", "load"), ("warm", "load")]
    seen = load + [("in", "r-1"), ("predict", "r-1")]
    assert call(serve(source))[0].decode() == repr(seen)


class Methods:
    def two(self, a, b): return (a, b)
    def three(self, a, b, context): return (a, b, context)
    def __call__(self, a, b, context=None): return (a, b, context)


def wrapped(function):
    @functools.wraps(function)
    def outer(*args, **kwargs):
        return function(*args, **kwargs)
    return outer


@pytest.mark.parametrize("function, takes_context", [
    (lambda a, b: (a, b), False),
    (lambda a, b, c: (a, b, c), True),
    (lambda a, b, context=None: (a, b, context), True),
    (lambda a, b, extra=None: (a, b, extra), True),
    (lambda a, b=1: (a, b), False),
    (lambda a, b, context, more=1: (a, b, context), True),
    (lambda a, b, one=1, two=2: (a, b), False),
    (lambda *args: args, False),
    (lambda a, *rest: (a,) + rest, False),
    (lambda a, b, context, *rest: (a, b, context), True),
    (lambda a, b, **kwargs: (a, b), False),
    (lambda a, b, *, context: (a, b, context), True),
    (lambda a, b, *, context=None, flag=1: (a, b, context), True),
    (lambda a, b, *, flag=1: (a, b), False),
    (functools.partial(lambda x, a, b: (a, b), 0), False),
    (functools.partial(lambda x, a, b, c: (a, b, c), 0), True),
    (functools.partial(lambda a, b, k: (a, b), k=0), False),
    (Methods().two, False),
    (Methods().three, True),
    (Methods(), True),
    (wrapped(lambda a, b, c: (a, b, c)), True),
    (wrapped(lambda a, b: (a, b)), False),
])
def test_arity(function, takes_context):
    bound = bind(function, "input_fn", ("data", "content_type"))
    expected = ("A", "B", "C") if takes_context else ("A", "B")
    assert bound.call("C", "A", "B") == expected


@pytest.mark.parametrize("function", [
    lambda: None, lambda a: None, lambda a, b, c, d: None, lambda a, b, *, flag: None,
    lambda *, context: None,
])
def test_arity_that_does_not_fit(function):
    with pytest.raises(TypeError, match=r"must be input_fn\(data, content_type\) or"):
        bind(function, "input_fn", ("data", "content_type"))


def test_no_function_and_async_functions():
    async def later(a, b):
        return a, b

    with pytest.raises(TypeError, match="input_fn is a int, not a function"):
        bind(7, "input_fn", ("data", "content_type"))
    with pytest.raises(TypeError, match="async"):
        bind(later, "input_fn", ("data", "content_type"))


def test_functions_in_c_are_called_without_context():
    assert bind(max, "predict_fn", ("data", "model")).call("C", 1, 2) == 2


def test_timings(serve, call):
    transformer = serve(
        "import time\ndef model_fn(d): pass\ndef input_fn(d, c): return d\n"
        "def predict_fn(d, m): return time.sleep(0.01) if d == '1' else 1 / 0\n"
        "def output_fn(p, a): return ''\n"
    )
    call(transformer, b"1")
    before, model, after = transformer.timings
    assert model >= 10_000_000 and 0 < before < model and 0 < after < model
    with pytest.raises(ZeroDivisionError):
        call(transformer, b"2")
    assert transformer.timings == (0, 0, 0)


def test_the_whole_function_counts_as_the_model(serve, call):
    transformer = serve(
        "import time\ndef model_fn(d): pass\n"
        "def transform_fn(m, d, c, a):\n    time.sleep(0.01)\n    return ''\n"
    )
    call(transformer)
    assert transformer.timings[1] >= 10_000_000


def tree(root, *paths):
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("WHERE = %r\n" % path)


@pytest.mark.parametrize("paths, submitted, program, found", [
    (["m/code/inference.py"], False, None, "m/code/inference.py"),
    (["m/inference.py"], False, None, "m/inference.py"),
    (["m/code/inference.py", "m/inference.py"], False, None, "m/code/inference.py"),
    (["s/inference.py", "m/code/inference.py"], True, None, "s/inference.py"),
    (["s/other.py", "m/code/inference.py"], True, None, "m/code/inference.py"),
    (["m/code/serve_me.py"], False, "serve_me.py", "m/code/serve_me.py"),
    (["m/code/serve_me.py"], False, "serve_me", "m/code/serve_me.py"),
    (["m/code/src/serve_me.py"], False, "src/serve_me.py", "m/code/src/serve_me.py"),
    (["m/code/src/serve_me.py"], False, "src/serve_me", "m/code/src/serve_me.py"),
    (["m/code/shapes/__init__.py"], False, "shapes", "m/code/shapes/__init__.py"),
    (["m/code/shapes/__init__.py", "m/code/shapes/in2.py"], False, "shapes.in2",
     "m/code/shapes/in2.py"),
])
def test_where_code_is_found(tmp_path, paths, submitted, program, found):
    tree(tmp_path, *paths)
    environment = {} if program is None else {"SAGEMAKER_PROGRAM": program}
    submit_dir = str(tmp_path / "s") if submitted else None
    code = handlers.find_code(str(tmp_path / "m"), submit_dir, environment)
    assert code and os.path.relpath(code.path, str(tmp_path)) == found
    assert handlers.import_code(code).WHERE == found
    sys.modules.pop("shapes.in2", None)


def test_no_code(tmp_path):
    code = handlers.find_code(str(tmp_path), None, {}, "sklearn")
    assert not code
    assert handlers.import_code(code) is None


@pytest.mark.parametrize("environment, framework, program", [
    ({"SAGEMAKER_PROGRAM": "serve_me.py"}, "sklearn", "serve_me.py"),
    ({}, "python", "inference.py"),
])
def test_no_code_where_it_is_needed(tmp_path, environment, framework, program):
    with pytest.raises(FileNotFoundError) as info:
        handlers.find_code(str(tmp_path / "m"), str(tmp_path / "s"), environment, framework)
    for folder in ("s", "m/code", "m"):
        assert str(tmp_path / folder / program) in str(info.value)


def test_neighbours_and_pickles(serve, call):
    source = """
import pickle
import helper
class Model:
    pass
def model_fn(model_dir): return pickle.loads(pickle.dumps(Model()))
def transform_fn(model, data, content_type, accept):
    return type(model).__module__ + helper.SUFFIX
"""
    assert call(serve(source, files={"helper.py": "SUFFIX = '!'"}))[0] == b"inference!"


def test_dependencies_that_the_sdk_packed(tmp_path):
    tree(tmp_path, "code/src/inference.py", "code/lib/helper.py")
    (tmp_path / "code/src/inference.py").write_text("from helper import WHERE")
    environment = {"SAGEMAKER_PROGRAM": "src/inference.py"}
    code = handlers.find_code(str(tmp_path), None, environment)
    assert handlers.import_code(code).WHERE == "code/lib/helper.py"


def test_a_program_with_a_taken_name(tmp_path):
    tree(tmp_path, "json.py")
    code = handlers.find_code(str(tmp_path), None, {"SAGEMAKER_PROGRAM": "json.py"})
    with pytest.raises(ImportError, match="give it another"):
        handlers.import_code(code)


def test_python_without_a_model_fn(serve):
    with pytest.raises(NotImplementedError, match="has no model_fn"):
        serve("def predict_fn(data, model): pass")


def test_python_defaults(serve, call):
    source = "class Model:\n    def predict(self, data): return {'n': len(data)}\n" \
             "def model_fn(d): return %s\n"
    assert call(serve(source % "Model()"), b"[1, 2, 3]")[:2] == (b'{"n": 3}', "application/json")


def test_python_calls_a_model_that_can_be_called(serve, call):
    assert call(serve("def model_fn(d): return lambda data: len(data)"), b"[1, 2]")[0] == b"2"


def test_no_such_framework():
    with pytest.raises(ValueError, match="mxnet.*sklearn"):
        frameworks.get("mxnet")


def test_preload_passes_over_what_is_missing(monkeypatch):
    from sagebrush.frameworks import python

    monkeypatch.setattr(python, "PRELOAD", ("json", "no_such_module_at_all"))
    assert frameworks.preload("python") == ["no_such_module_at_all"]


def test_the_user_sees_headers_and_answers_with_a_status(serve, call):
    source = """
from sagebrush import HttpError
def model_fn(d): pass
def transform_fn(model, data, content_type, accept, context):
    context.custom_attributes = context.custom_attributes.upper()
    if data == "bad":
        raise HttpError(422, {"why": "bad"})
    return data
"""
    transformer = serve(source)
    headers = ["x-amzn-sagemaker-custom-attributes", "abc"]
    assert call(transformer, b"x", headers=headers)[2].response_custom_attributes == "ABC"
    with pytest.raises(HttpError) as info:
        call(transformer, b"bad", headers=headers)
    assert (info.value.status, info.value.body) == (422, b'{"why": "bad"}')
