"""What each framework does where `inference.py` leaves a function out.

A module here has `model_fn`, `input_fn`, `predict_fn` and `output_fn`, and may have:

- `PRELOAD`: modules worth importing once, before workers are forked. One may be missing.
- `PRELOAD_UNLESS`: functions with which the user's module needs none of them.
- `NEEDS_CODE`: it can do nothing without the user's module.
- `WITHOUT_CODE`: the module that has the functions where there is no user's module at all.
- `default_accept(environment)`: what it answers in where nobody says.
"""

import importlib

NAMES = ("python", "sklearn", "xgboost", "huggingface", "pytorch")


def get(framework):
    """The module of a framework by its name; a module is returned as it is."""
    if not isinstance(framework, str):
        return framework
    if framework not in NAMES:
        message = "There is no framework %s; there are: %s"
        raise ValueError(message % (framework, ", ".join(NAMES)))
    return importlib.import_module("%s.%s" % (__name__, framework))


def defaults(framework, has_code):
    """The module whose functions stand in for the user's."""
    module = get(framework)
    without_code = None if has_code else getattr(module, "WITHOUT_CODE", None)
    return module if without_code is None else importlib.import_module(without_code)


def needs_code(framework):
    return getattr(get(framework), "NEEDS_CODE", False)


def preload(framework, module=None):
    """Imports what the framework's models need; returns the names that could not be.

    What the user's module does not need would only keep its first call waiting.
    """
    framework, missing = get(framework), []
    own = getattr(framework, "PRELOAD_UNLESS", ())
    if own and all(getattr(module, name, None) is not None for name in own):
        return missing
    for name in getattr(framework, "PRELOAD", ()):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing
