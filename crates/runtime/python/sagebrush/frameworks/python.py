"""No framework: the user's functions, with the SageMaker inference toolkit's codecs."""

from .. import codecs

NEEDS_CODE = True
PRELOAD = ("numpy",)
PRELOAD_UNLESS = ("input_fn", "output_fn")


def model_fn(model_dir):
    raise NotImplementedError(
        "inference.py has no model_fn(model_dir), and without a framework nothing else knows how"
        " to load the model"
    )


def input_fn(data, content_type):
    return codecs.decode(data, content_type)


def predict_fn(data, model):
    if callable(model):
        return model(data)
    return model.predict(data)


def output_fn(prediction, accept):
    return codecs.encode(prediction, accept)
