"""From a model's folder to what answers its calls."""

import os

from . import frameworks
from .arity import bind
from .batch import Together
from .code import Code, find_code, import_code
from .media import JSON
from .transformer import Stages, Transformer, Whole

__all__ = ["Code", "Transformer", "find_code", "import_code", "load"]

_STAGES = ("input_fn", "predict_fn", "predict_batch_fn", "output_fn")


def load(module, model_dir, framework, context, environment=None):
    """Loads the model and returns the `Transformer` that answers calls with it.

    `module` is the user's, or None; `framework` (a name or a module of `frameworks`) has what it
    leaves out.
    """
    environment = os.environ if environment is None else environment
    defaults = frameworks.defaults(framework, module is not None)
    transform_fn = getattr(module, "transform_fn", None)
    _refuse_a_mix(module, transform_fn)

    model = _load_model(module, defaults, model_dir, context)
    default_accept = _default_accept(defaults, environment)
    if transform_fn is not None:
        transform = bind(transform_fn, "transform_fn", ("model", "data", "content_type", "accept"))
        return Whole(model, default_accept, transform)

    def stage(name, *arguments):
        return bind(_function(module, defaults, name), name, arguments)

    input_fn = stage("input_fn", "data", "content_type")
    output_fn = stage("output_fn", "prediction", "accept")
    own_output = getattr(module, "output_fn", None) is not None
    if getattr(module, "predict_batch_fn", None) is not None:
        predict = stage("predict_batch_fn", "inputs", "model")
        return Together(model, default_accept, input_fn, predict, output_fn, own_output)
    predict = stage("predict_fn", "data", "model")
    return Stages(model, default_accept, input_fn, predict, output_fn, own_output)


def _default_accept(defaults, environment):
    named = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT")
    if named:
        return named
    of_framework = getattr(defaults, "default_accept", None)
    return JSON if of_framework is None else of_framework(environment)


def _load_model(module, defaults, model_dir, context):
    prepare = getattr(module, "pre_model_fn", None)
    if prepare is not None:
        bind(prepare, "pre_model_fn", ("model_dir",)).call(context, model_dir)
    model_fn = bind(_function(module, defaults, "model_fn"), "model_fn", ("model_dir",))
    model = model_fn.call(context, model_dir)
    warm_up = getattr(module, "model_warmup_fn", None)
    if warm_up is not None:
        bind(warm_up, "model_warmup_fn", ("model_dir", "model")).call(context, model_dir, model)
    return model


def _refuse_a_mix(module, transform_fn):
    if transform_fn is not None:
        others = [name for name in _STAGES if getattr(module, name, None) is not None]
        if others:
            message = "transform_fn cannot be used together with %s: it does the work of them all"
            raise ValueError(message % ", ".join(others))
    if all(getattr(module, name, None) for name in ("predict_fn", "predict_batch_fn")):
        message = "predict_batch_fn cannot be used together with predict_fn: %s"
        raise ValueError(message % "it gets lone calls, too, as lists of one")


def _function(module, defaults, name):
    """The user's function, or the framework's."""
    function = getattr(module, name, None)
    return getattr(defaults, name) if function is None else function
