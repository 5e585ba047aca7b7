"""PyTorch: TorchScript models need no `model_fn`."""

from .. import codecs
from ..errors import HttpError
from ..media import CSV, JSON, media_type
from .files import missing, model_file

PRELOAD = ("numpy", "torch")


def model_fn(model_dir):
    torch = _torch()
    path = model_file(model_dir, "model.pt", ("*.pt", "*.pth"))
    try:
        model = torch.jit.load(path, map_location=_device(torch))
    except RuntimeError as error:
        message = "%s is not TorchScript; save it with torch.jit.save or write a model_fn (%s)"
        raise RuntimeError(message % (path, error)) from error
    return model.eval()


def input_fn(data, content_type):
    torch = _torch()
    name = JSON if content_type is None else media_type(content_type)
    if name == CSV:
        array = codecs.float_matrix(data, "float32")
    else:
        array = codecs.decode(data, content_type)
    if not hasattr(array, "shape"):
        raise HttpError(400, "The body must be an array of numbers; write an input_fn for others.")
    try:
        tensor = torch.from_numpy(array)
    except TypeError as error:
        raise HttpError(400, "The body makes no tensor: %s" % error) from None
    return (tensor.float() if name in (JSON, CSV) else tensor).to(_device(torch))


def predict_fn(data, model):
    """Whatever a `model_fn` left undone, as the image: evaluation, and the model where data are."""
    torch = _torch()
    if getattr(model, "training", False):
        model.eval()
    if torch.cuda.is_available() and hasattr(model, "to"):
        model, data = model.to("cuda"), data.to("cuda")
    with torch.no_grad():
        return model(data)


def output_fn(prediction, accept):
    if hasattr(prediction, "detach"):
        prediction = prediction.detach().cpu().numpy()
    return codecs.encode(prediction, accept)


def _torch():
    try:
        import torch
    except ImportError:
        raise missing("torch") from None
    return torch


def _device(torch):
    return "cuda" if torch.cuda.is_available() else "cpu"
