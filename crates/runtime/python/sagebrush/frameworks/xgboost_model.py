"""Reads boosters: pickled ones, and XGBoost's own formats."""

import os
import pickle

from .files import missing, model_file

NAME = "xgboost-model"


def load_booster(model_dir):
    """`xgboost-model`, or the only file that may be one."""
    try:
        import xgboost
    except ImportError:
        raise missing("xgboost") from None
    path = model_file(model_dir, NAME, ("*",))
    with open(path, "rb") as file:
        content = file.read()
    pickle_error = None
    if content[:1] == b"\x80":
        try:
            return _booster_of(pickle.loads(content))
        except Exception as error:
            pickle_error = error
    booster = xgboost.Booster()
    try:
        # By its content: the name has no suffix to tell the format from.
        booster.load_model(bytearray(content))
    except Exception as error:
        lines = str(pickle_error or error).strip().splitlines()  # A stack of C++ follows.
        message = "%s is no XGBoost model: %s" % (path, lines[0] if lines else "it is broken")
        if os.path.basename(path) != NAME:
            message = "There is no %s, and %s" % (NAME, message)
        raise ValueError(message) from None
    return booster


def _booster_of(model):
    """scikit-learn's wrappers have the booster inside."""
    get_booster = getattr(model, "get_booster", None)
    return model if get_booster is None else get_booster()
