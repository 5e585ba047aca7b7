"""Which functions take the call's context: looked at once, at load."""

import inspect

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Bound:
    """A function, and whether it takes the context after its arguments."""

    __slots__ = ("function", "takes_context")

    def __init__(self, function, takes_context):
        self.function = function
        self.takes_context = takes_context

    def call(self, context, *arguments):
        if self.takes_context:
            return self.function(*arguments, context)
        return self.function(*arguments)


def bind(function, name, arguments):
    """`function` as one that is called with `arguments`, or with them and the context."""
    if not callable(function):
        raise TypeError("%s is a %s, not a function" % (name, type(function).__name__))
    if inspect.iscoroutinefunction(function):
        raise TypeError("%s is async; its functions are called one by one, without a loop" % name)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return Bound(function, False)  # Written in C, and it does not say.

    count = len(arguments)
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if any(p.name == "context" for p in keyword_only):
        function = _with_keyword(function)
        keyword_only = [p for p in keyword_only if p.name != "context"]
        takes_context = _fits(parameters, count)
        fits = takes_context
    else:
        takes_context = _takes_context(parameters, count)
        fits = _fits(parameters, count + takes_context)
    unfilled = [p.name for p in keyword_only if p.default is p.empty]
    if not fits or unfilled:
        raise TypeError(_mismatch(name, arguments, parameters))
    return Bound(function, takes_context)


def _takes_context(parameters, count):
    """One parameter too many is the context, whatever its name, as the SageMaker toolkit has it.

    Beyond that a parameter must be called so, or be one without a default.
    """
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    if len(positional) <= count:
        return False
    extra = positional[count]
    return len(positional) == count + 1 or extra.name == "context" or extra.default is extra.empty


def _fits(parameters, count):
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    required = sum(1 for p in positional if p.default is p.empty)
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return required <= count and (takes_any or count <= len(positional))


def _with_keyword(function):
    def call(*arguments):
        return function(*arguments[:-1], context=arguments[-1])

    return call


def _mismatch(name, arguments, parameters):
    signature = ", ".join(str(p) for p in parameters)
    wanted = ", ".join(arguments)
    return "%s(%s) must be %s(%s) or %s(%s, context)" % (
        (name, signature) + (name, wanted) * 2
    )
