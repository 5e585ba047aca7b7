"""Hugging Face: a `transformers` pipeline over the model's folder."""

import csv
import io
import json
import os

from .. import codecs
from ..errors import HttpError, UnsupportedContentType
from ..media import CSV, JSON, NPY, as_text, media_type, negotiate
from .files import missing

# Read by the libraries when they are imported: a model is what is in its folder.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PRELOAD = ("numpy", "torch", "transformers", "transformers.pipelines")

_READ = (JSON, CSV, NPY, "image/*", "audio/*")
_WRITTEN = (JSON, CSV, NPY)
_CSV_HEADERS = ("inputs", "question", "context")

# By the end of an architecture's name; the first that fits counts.
_TASKS = (
    ("TapasForQuestionAnswering", "table-question-answering"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForTokenClassification", "token-classification"),
    ("ForSequenceClassification", "text-classification"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForMaskedLM", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("MTModel", "text2text-generation"),
    ("EncoderDecoderModel", "text2text-generation"),
    ("T5WithLMHeadModel", "text2text-generation"),
    ("ForImageClassification", "image-classification"),
    ("ForObjectDetection", "object-detection"),
)


def model_fn(model_dir):
    source = _local_model(model_dir)
    task = os.environ.get("HF_TASK") or _task_of(source)
    # Nothing is fetched: what the folder lacks is an error here, not a wait for a network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError:
        raise missing("transformers") from None
    trust = os.environ.get("HF_TRUST_REMOTE_CODE", "").lower() in ("1", "true", "yes", "on")
    return transformers.pipeline(
        task=task, model=source, device=_device(), trust_remote_code=trust
    )


def input_fn(data, content_type):
    name = JSON if content_type is None else media_type(content_type)
    if name == JSON:
        return codecs.parse_json(data)
    if name == CSV:
        return _rows(as_text(data))
    if name == NPY:
        return codecs.decode(data, content_type)
    if name.startswith("image/"):
        return {"inputs": _picture(data)}
    if name.startswith("audio/"):
        return {"inputs": data}
    raise UnsupportedContentType(content_type, _READ)


def predict_fn(data, model):
    """`{"inputs": ..., "parameters": {...}}`; without `inputs` the whole body is the input."""
    if not isinstance(data, dict):
        return model(data)
    parameters = data.pop("parameters", None) or {}
    if not isinstance(parameters, dict):
        raise HttpError(400, "parameters must be an object.")
    return model(data.pop("inputs", data), **parameters)


def output_fn(prediction, accept):
    accept = negotiate(accept, _WRITTEN, JSON)
    if accept == CSV and prediction:
        return _as_csv(prediction), accept
    return codecs.encode(prediction, accept)


def _local_model(model_dir):
    """`HF_MODEL_ID` where it is a folder; the model's own folder otherwise."""
    model_id = os.environ.get("HF_MODEL_ID")
    if not model_id:
        return model_dir
    for path in (model_id, os.path.join(model_dir, model_id)):
        if os.path.isdir(path):
            return path
    if os.path.isfile(os.path.join(model_dir, "config.json")):
        return model_dir
    message = (
        "HF_MODEL_ID is %s, and no model is downloaded here:"
        " put its files (config.json and the weights) into the model archive"
    )
    raise FileNotFoundError(message % model_id)


def _task_of(source):
    path = os.path.join(source, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            architectures = json.load(file).get("architectures") or []
    except FileNotFoundError:
        raise FileNotFoundError("The model has no config.json at %s; set HF_TASK" % path) from None
    for ending, task in _TASKS:
        if architectures and architectures[0].endswith(ending):
            return task
    known = ", ".join(architectures) or "no architectures"
    raise ValueError("config.json names %s, of which no task follows; set HF_TASK" % known)


def _device():
    try:
        import torch
    except ImportError:
        return -1
    return 0 if torch.cuda.is_available() else -1


def _rows(text):
    """A CSV whose header says what its columns are."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not any(name in rows[0] for name in _CSV_HEADERS):
        message = "A CSV must have a header with one of %s."
        raise HttpError(400, message % ", ".join(_CSV_HEADERS))
    if "inputs" in rows[0]:
        return {"inputs": [row["inputs"] for row in rows]}
    return {"inputs": rows}


def _picture(data):
    try:
        from PIL import Image
    except ImportError:
        raise missing("pillow") from None
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise HttpError(400, "The body is not a picture: %s" % error) from None


def _as_csv(prediction):
    rows = prediction if isinstance(prediction, list) else [prediction]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
