"""XGBoost without user's code: SageMaker's built-in algorithm, with its formats and statuses."""

import json
import os

from .. import codecs
from ..errors import HttpError
from . import xgboost_input, xgboost_model, xgboost_output

# Boosters that answer from a plain matrix; the others need a DMatrix around it.
_IN_PLACE = ("gbtree", "dart")


class Model:
    """A booster, and what of its configuration the answers depend on."""

    def __init__(self, booster):
        booster.set_param({"nthread": 1})  # As the image: calls run beside each other.
        learner = json.loads(booster.save_config())["learner"]
        self.booster = booster
        self.features = booster.num_features()
        self.in_place = learner["gradient_booster"]["name"] in _IN_PLACE
        self.encode = xgboost_output.encoder(
            os.environ,
            objective=learner["objective"]["name"],
            classes=int(learner["learner_model_param"].get("num_class", 0)),
        )

    def predict(self, matrix):
        if self.in_place:
            return self.booster.inplace_predict(matrix, validate_features=False)
        data = xgboost_input.as_dmatrix(matrix)
        return self.booster.predict(data, validate_features=False)


def default_accept(environment):
    return xgboost_output.JSON if xgboost_output.is_multi_model(environment) else xgboost_output.CSV


def model_fn(model_dir):
    return Model(xgboost_model.load_booster(model_dir))


def input_fn(data, content_type):
    if not data:
        raise HttpError(204)
    matrix = xgboost_input.parse(data, content_type)
    return matrix, xgboost_input.is_libsvm(content_type)


def predict_fn(data, model):
    matrix, is_libsvm = data
    matrix = _fitted(matrix, is_libsvm, model.features)
    try:
        return model.encode, model.predict(matrix)
    except ValueError as error:  # XGBoostError is one.
        raise _unusable(error) from error


def output_fn(prediction, accept):
    encode, scores = prediction
    return encode(scores, accept)


def _fitted(matrix, is_libsvm, features):
    """The matrix with the model's columns.

    Sparse rows may leave the last ones out. A model trained on columns counted from 1 has one
    more than the CSV.
    """
    columns = matrix.shape[1]
    if is_libsvm and columns <= features:
        matrix.resize((matrix.shape[0], features))
    elif columns == features - 1:
        np = codecs.numpy()
        matrix = np.pad(matrix, ((0, 0), (0, 1)), constant_values=np.nan)
    elif columns != features:
        kind = "libsvm" if is_libsvm else "csv"
        raise _unusable("the %s data have %d features, the model %d" % (kind, columns, features))
    return matrix


def _unusable(reason):
    return HttpError(400, "Unable to evaluate payload provided: %s" % reason)
