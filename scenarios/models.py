"""Small models, trained here, and what Python's ONNX Runtime answers with them."""

import functools

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

ROWS = load_iris().data.astype(np.float32)


@functools.cache
def logistic(inverse=1.0):
    """A logistic regression over the four measures of an iris, as ONNX."""
    return _convert(LogisticRegression(C=inverse, max_iter=1000))


@functools.cache
def forest(trees=20):
    return _convert(RandomForestClassifier(n_estimators=trees, random_state=0))


def _convert(classifier):
    iris = load_iris()
    classifier.fit(iris.data.astype(np.float32), iris.target)
    options = {id(classifier): {"zipmap": False}}
    return to_onnx(classifier, ROWS[:1], options=options).SerializeToString()


def reference(model, rows):
    """Labels and probabilities by Python's ONNX Runtime."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: np.asarray(rows, np.float32)})


def csv(rows):
    return "\n".join(",".join(repr(float(value)) for value in row) for row in rows)


def csv_values(body):
    text = body.decode().strip()
    return np.array([[float(value) for value in line.split(",")] for line in text.splitlines()])
