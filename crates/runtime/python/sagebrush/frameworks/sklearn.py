"""scikit-learn, as its image serves it; a model that joblib saved needs no `model_fn`."""

from .. import codecs
from ..errors import HttpError
from ..media import CSV, JSON, media_type
from .files import missing, model_file

PRELOAD = ("numpy", "scipy.sparse", "joblib", "sklearn", "sklearn.pipeline", "sklearn.ensemble")


def model_fn(model_dir):
    path = model_file(model_dir, "model.joblib", ("*.joblib", "*.pkl", "*.pickle"))
    try:
        import joblib
    except ImportError:
        raise missing("scikit-learn") from None
    return joblib.load(path)


def input_fn(data, content_type):
    """Text becomes float32 rows; one list of numbers is one row."""
    name = JSON if content_type is None else media_type(content_type)
    if name == CSV:
        return codecs.float_matrix(data, "float32")
    array = codecs.decode(data, content_type)
    if not hasattr(array, "shape"):
        raise HttpError(400, "The body must be rows of numbers; write an input_fn for others.")
    if len(array.shape) < 2:
        array = array.reshape(1, -1)
    return _as_float32(array) if name == JSON else array


def predict_fn(data, model):
    return model.predict(data)


def output_fn(prediction, accept):
    return codecs.encode(prediction, accept)


def _as_float32(array):
    try:
        return array.astype("float32")
    except (ValueError, TypeError) as error:
        raise HttpError(400, "The body must be rows of numbers: %s" % error) from None
