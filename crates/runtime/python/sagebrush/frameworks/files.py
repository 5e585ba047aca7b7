"""Finds the one file that is the model."""

import fnmatch
import os


def model_file(model_dir, preferred, patterns):
    """The file named `preferred`, else the only one that fits the patterns."""
    path = os.path.join(model_dir, preferred)
    if os.path.isfile(path):
        return path
    fitting = sorted(
        name
        for name in os.listdir(model_dir)
        if not name.startswith(".")
        and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        and os.path.isfile(os.path.join(model_dir, name))
    )
    if len(fitting) == 1:
        return os.path.join(model_dir, fitting[0])
    found = ", ".join(fitting) or "none"
    message = "The model must be %s, or the only file like %s; found: %s. Or write a model_fn."
    raise FileNotFoundError(message % (preferred, " or ".join(patterns), found))


def missing(library):
    """The error for a library that the interpreter lacks."""
    return ImportError(
        "%s is not installed; put it into code/requirements.txt of the model" % library
    )
