"""How the built-in XGBoost writes scores, and what `SAGEMAKER_INFERENCE_OUTPUT` selects."""

from functools import partial

from .. import jsontext
from ..media import CSV, JSON, JSON_LINES, negotiate

_WRITTEN = (CSV, JSON, JSON_LINES)

_REGRESSION = ("predicted_score",)
_MARGIN = ("predicted_label", "labels", "raw_score", "raw_scores")
_CLASSES = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores")
_SELECTABLE = {
    "reg:squarederror": _REGRESSION,
    "reg:logistic": _REGRESSION,
    "reg:gamma": _REGRESSION,
    "reg:absoluteerror": _REGRESSION,
    "reg:tweedie": _REGRESSION,
    "binary:logistic": _CLASSES,
    "binary:logitraw": _MARGIN,
    "binary:hinge": _MARGIN,
    "multi:softmax": _MARGIN,
    "multi:softprob": _CLASSES,
}


def encoder(environment, objective, classes):
    """What writes scores: `(scores, accept) -> (payload, content type)`.

    The image writes in other shapes behind a multi-model endpoint.
    """
    batch = bool(environment.get("SAGEMAKER_BATCH"))
    if is_multi_model(environment):
        return partial(_encode_joined, batch)
    selected = environment.get("SAGEMAKER_INFERENCE_OUTPUT")
    if not selected:
        return partial(_encode_scores, batch)
    if objective not in _SELECTABLE:
        message = "SAGEMAKER_INFERENCE_OUTPUT does not know what the objective %s predicts"
        raise ValueError(message % objective)
    keys = [key.strip().lower() for key in selected.split(",") if key.strip()]
    content = partial(_selected, keys, objective, classes)
    return partial(_encode_selected, keys, content, batch)


def is_multi_model(environment):
    return environment.get("SAGEMAKER_MULTI_MODEL") == "true"


def _encode_joined(batch, scores, accept):
    accept = negotiate(accept, (JSON, CSV), JSON)
    if accept == JSON:
        return jsontext.dumps(scores), accept
    scores = map(str, scores.tolist())
    return ("\n".join(scores) + "\n" if batch else ",".join(scores)), accept


def _encode_scores(batch, scores, accept):
    accept = negotiate(accept, _WRITTEN, CSV)
    scores = scores.tolist()
    if accept == CSV:
        if batch:
            return "".join("%s\n" % score for score in scores), accept
        return "".join(_csv_line(score) for score in scores), accept
    return _as_json([{"score": score} for score in scores], accept)


def _encode_selected(keys, content, batch, scores, accept):
    accept = negotiate(accept, _WRITTEN, CSV)
    predictions = [content(score) for score in scores.tolist()]
    if accept != CSV:
        return _as_json(predictions, accept)
    lines = [",".join(_cell(row[key]) for key in keys) for row in predictions]
    return "\n".join(lines) + ("\n" if batch else ""), accept


def _as_json(predictions, accept):
    if accept == JSON_LINES:
        return "".join(jsontext.dumps(row) + "\n" for row in predictions), accept
    return jsontext.dumps({"predictions": predictions}), accept


def _csv_line(score):
    """One row's scores; a model of several classes has several."""
    values = score if isinstance(score, list) else [score]
    return ",".join(map(str, values)) + "\n"


def _cell(value):
    return '"%s"' % value if isinstance(value, list) else str(value)


def _selected(keys, objective, classes, score):
    """The selected content of one score; nan for what the objective does not have."""
    content = _content(objective, classes, score)
    return {key: content[key] if key in _SELECTABLE[objective] else float("nan") for key in keys}


def _content(objective, classes, score):
    if objective == "multi:softprob":
        best = max(score)
        return {
            "predicted_label": score.index(best),
            "labels": list(range(classes)),
            "probability": best,
            "probabilities": score,
            "raw_score": best,
            "raw_scores": score,
        }
    pair = [1.0 - score, score]
    return {
        "predicted_label": _label(objective, score),
        "labels": list(range(classes)) if objective == "multi:softmax" else [0, 1],
        "probability": score,
        "probabilities": pair,
        "raw_score": score,
        "raw_scores": pair,
        "predicted_score": score,
    }


def _label(objective, score):
    if objective == "binary:logistic":
        return int(score > 0.5)
    if objective == "binary:logitraw":
        return int(score > 0)
    return score
