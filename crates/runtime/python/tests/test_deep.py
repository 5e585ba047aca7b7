"""PyTorch and Hugging Face: what needs their libraries runs where these are installed."""

import importlib.util
import json
import os
import sys
import types

import pytest

from sagebrush import HttpError
from sagebrush.frameworks import huggingface


def without(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is not None, reason=name + " is here")


@without("torch")
def test_pytorch_without_torch(serve):
    with pytest.raises(ImportError, match="torch is not installed.*requirements.txt"):
        serve(framework="pytorch")


def test_torchscript(tmp_path, serve, call):
    torch = pytest.importorskip("torch")

    class Double(torch.nn.Module):
        def forward(self, x):
            return x * 2

    torch.jit.save(torch.jit.script(Double()), str(tmp_path / "model.pth"))
    transformer = serve(framework="pytorch")
    assert json.loads(call(transformer, b"[[1, 2]]")[0]) == [[2.0, 4.0]]
    assert call(transformer, b"1,2", "text/csv", "text/csv")[0] == b"2.0,4.0\n"


@without("transformers")
def test_huggingface_without_transformers(tmp_path, serve):
    (tmp_path / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    with pytest.raises(ImportError, match="transformers is not installed.*requirements.txt"):
        serve(framework="huggingface")


@pytest.mark.parametrize("architecture, task", [
    ("BertForSequenceClassification", "text-classification"),
    ("TapasForQuestionAnswering", "table-question-answering"),
    ("BertForQuestionAnswering", "question-answering"),
    ("GPT2LMHeadModel", "text-generation"),
    ("LlamaForCausalLM", "text-generation"),
    ("T5ForConditionalGeneration", "text2text-generation"),
])
def test_tasks(tmp_path, architecture, task):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert huggingface._task_of(str(tmp_path)) == task


@pytest.mark.parametrize("config, error, words", [
    (None, FileNotFoundError, "no config.json"),
    ({}, ValueError, "no architectures"),
    ({"architectures": ["Strange"]}, ValueError, "Strange.*set HF_TASK"),
])
def test_no_task(tmp_path, config, error, words):
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=words):
        huggingface._task_of(str(tmp_path))


def test_models_are_not_downloaded(tmp_path, serve, monkeypatch):
    monkeypatch.setenv("HF_MODEL_ID", "bert-base-uncased")
    with pytest.raises(FileNotFoundError, match="no model is downloaded here"):
        serve(framework="huggingface")


@pytest.mark.parametrize("environment, source, task, trust", [
    ({}, ".", "text-classification", False),
    ({"HF_TASK": "fill-mask"}, ".", "fill-mask", False),
    ({"HF_MODEL_ID": "inner", "HF_TASK": "summarization"}, "inner", "summarization", False),
    ({"HF_TRUST_REMOTE_CODE": "True"}, ".", "text-classification", True),
])
def test_what_the_pipeline_is_made_of(tmp_path, serve, call, monkeypatch, environment, source,
                                      task, trust):
    def pipeline(**arguments):
        return lambda inputs: arguments

    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(pipeline=pipeline))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "inner").mkdir()
    (tmp_path / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    made = json.loads(call(serve(framework="huggingface"), b'{"inputs": "x"}')[0])
    assert os.path.samefile(made["model"], str(tmp_path / source))
    assert (made["task"], made["trust_remote_code"]) == (task, trust)


SOURCE = "def model_fn(model_dir):\n    return lambda i, **p: [{'inputs': i, 'p': p}]\n"


@pytest.mark.parametrize("body, content_type, inputs, parameters", [
    (b'{"inputs": "hi"}', "application/json", "hi", {}),
    (b'{"inputs": ["a"], "parameters": {"top_k": 2}}', None, ["a"], {"top_k": 2}),
    (b'{"question": "q", "context": "c"}', "application/json",
     {"question": "q", "context": "c"}, {}),
    (b'["a", "b"]', "application/json", ["a", "b"], {}),
    (b"inputs\nx\ny\n", "text/csv", ["x", "y"], {}),
    (b"question,context\nq,c\n", "text/csv", [{"question": "q", "context": "c"}], {}),
])
def test_pipeline_inputs(serve, call, body, content_type, inputs, parameters):
    payload, _, _ = call(serve(SOURCE, "huggingface"), body, content_type)
    assert json.loads(payload) == [{"inputs": inputs, "p": parameters}]


def test_pipeline_answers_in_csv(serve, call):
    source = "def model_fn(d):\n    return lambda i: [{'label': 'a', 'score': 0.5}]\n"
    payload, _, _ = call(serve(source, "huggingface"), b'{"inputs": "x"}', accept="text/csv")
    assert payload.decode().split() == ["label,score", "a,0.5"]


@pytest.mark.parametrize("body, content_type, status", [
    (b"1,2\n", "text/csv", 400),
    (b'{"inputs": "x", "parameters": [1]}', "application/json", 400),
    (b"", "application/zip", 415),
])
def test_refused_pipeline_inputs(serve, call, body, content_type, status):
    with pytest.raises(HttpError) as info:
        call(serve(SOURCE, "huggingface"), body, content_type)
    assert info.value.status == status
