"""Models that are trained here and answered for by scikit-learn and XGBoost themselves.

`python trained.py <file>` writes the archive of the scikit-learn model, for virtualenvs without it.
"""

import functools
import io
import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import support

# Only `model_fn`: all else is what the scikit-learn image does by default.
SKLEARN = """
import os
import joblib

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""


PREDICTING = SKLEARN + """
def predict_fn(data, model):
    return model.predict(data)
"""


def iris():
    """Rows and labels."""
    data = load_iris()
    return data.data.astype(np.float32), data.target


@functools.cache
def forest():
    rows, labels = iris()
    forest = RandomForestClassifier(n_estimators=10, random_state=0)
    return make_pipeline(StandardScaler(), forest).fit(rows, labels)


@functools.cache
def booster():
    """A classifier of two classes, whose answers are probabilities."""
    import xgboost

    rows, labels = iris()
    settings = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 0}
    data = xgboost.DMatrix(rows, label=(labels == 1).astype(int))
    return xgboost.train(settings, data, num_boost_round=10)


def joblib_bytes(model):
    packed = io.BytesIO()
    joblib.dump(model, packed)
    return packed.getvalue()


def xgboost_bytes(model):
    """As `Booster.save_model` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(path)
        return path.read_bytes()


def sklearn_files(code=SKLEARN):
    return support.inference_py(code, {"model.joblib": joblib_bytes(forest())})


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(support.archive(sklearn_files(PREDICTING)))
