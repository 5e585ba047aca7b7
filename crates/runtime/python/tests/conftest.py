"""Run with `python3 -m pytest crates/runtime/python/tests`.

What needs numpy, pandas, scikit-learn, XGBoost or PyTorch is skipped where they are missing.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

PROGRAMS = ("inference", "serve_me", "helper", "shapes")


@pytest.fixture(autouse=True)
def fresh_interpreter(monkeypatch):
    """Undoes what a worker does to its own process: imports, `sys.path`, environment."""
    before = list(sys.path)
    for name in list(os.environ):
        if name.startswith(("SAGEMAKER_", "HF_")):
            monkeypatch.delenv(name)
    yield
    sys.path[:] = before
    for name in PROGRAMS:
        sys.modules.pop(name, None)


@pytest.fixture
def serve(tmp_path):
    """Writes `inference.py`, loads it as a worker does, and gives its transformer."""
    from sagebrush import Context, handlers

    def start(source=None, framework="python", files=None, environment=None):
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        if source is not None:
            (code / "inference.py").write_text(source)
        for name, text in (files or {}).items():
            (code / name).write_text(text)
        found = handlers.find_code(str(tmp_path), None, environment or {}, framework)
        module = handlers.import_code(found)
        context = Context({"model_dir": str(tmp_path)}, "load", None, None, [])
        return handlers.load(module, str(tmp_path), framework, context, environment or {})

    return start


@pytest.fixture
def call():
    """Calls a transformer; gives the payload, its content type and the context."""
    from sagebrush import Context

    def invoke(transformer, body=b"[1, 2]", content_type="application/json", accept=None,
               headers=()):
        context = Context({}, "r-1", content_type, accept, list(headers))
        payload, answered = transformer(body, content_type, accept, context)
        return bytes(payload), answered, context

    return invoke
