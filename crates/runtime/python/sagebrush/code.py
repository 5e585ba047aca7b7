"""Finds the module that has the user's functions, and imports it."""

import importlib
import importlib.util
import os
import sys

from . import frameworks

DEFAULT_PROGRAM = "inference.py"


class Code:
    """Where the user's module is. False when there is none."""

    __slots__ = ("module", "path", "folders", "looked")

    def __init__(self, module, path, folders, looked):
        self.module = module
        self.path = path
        self.folders = folders
        self.looked = looked

    def __bool__(self):
        return self.path is not None


def find_code(model_dir, submit_dir, environment, framework=None):
    """The program in the submitted folder, the model's `code` folder or the model itself.

    A program that was named must be there; without one the framework must be able to do without
    code. With no framework given, what is not there is left to `load`.
    """
    named = environment.get("SAGEMAKER_PROGRAM")
    program = named or DEFAULT_PROGRAM
    looked = []
    for base in (submit_dir, os.path.join(model_dir, "code"), model_dir):
        if not base:
            continue
        for path, module, folders in _candidates(base, program):
            looked.append(path)
            if os.path.isfile(path):
                # Where the SDK puts dependencies when it packs them into a model.
                lib = os.path.join(folders[-1], "lib")
                folders = folders + [lib] if os.path.isdir(lib) else folders
                return Code(module, path, folders, looked)
    if named or (framework is not None and frameworks.needs_code(framework)):
        message = "There is no %s. It was looked for at: %s."
        raise FileNotFoundError(message % (program, ", ".join(looked)))
    return Code(None, None, [], looked)


def import_code(code):
    """The module under its own name, its folder first on `sys.path`; None if there is no code.

    Pickles refer to the module by that name, and it imports its neighbours.
    """
    if not code:
        return None
    for folder in reversed(code.folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    _refuse_a_taken_name(code)
    return importlib.import_module(code.module)


def _candidates(base, program):
    """Files that a program may mean, each with its module's name and what goes on `sys.path`."""
    base = os.path.abspath(base)
    if program.endswith(".py"):
        yield _script(base, program)
        return
    yield _script(base, program + ".py")
    inner = os.path.join(*program.split("."))
    if inner != program:
        yield os.path.join(base, inner + ".py"), program, [base]
    yield os.path.join(base, inner, "__init__.py"), program, [base]


def _script(base, program):
    path = os.path.normpath(os.path.join(base, program))
    folder = os.path.dirname(path)
    module = os.path.splitext(os.path.basename(path))[0]
    return path, module, [folder] if folder == base else [folder, base]


def _refuse_a_taken_name(code):
    present = sys.modules.get(code.module)
    if present is None:
        taken = code.module in sys.builtin_module_names
    else:
        taken = os.path.realpath(getattr(present, "__file__", None) or "") != os.path.realpath(
            code.path
        )
    if taken:
        message = "%s has the name of a module that Python has loaded already; give it another"
        raise ImportError(message % code.path)
