"""XGBoost, script mode: `inference.py` has some of the functions. Without one the image's
built-in algorithm answers: `xgboost_algorithm`."""

from .. import codecs
from . import xgboost_input, xgboost_model

PRELOAD = ("numpy", "scipy.sparse", "xgboost")
WITHOUT_CODE = __name__ + "_algorithm"


def model_fn(model_dir):
    return xgboost_model.load_booster(model_dir)


def input_fn(data, content_type):
    return xgboost_input.as_dmatrix(xgboost_input.parse(data, content_type))


def predict_fn(data, model):
    return model.predict(data, validate_features=False)


def output_fn(prediction, accept):
    return codecs.encode(prediction, accept)
