"""Content types: their names without parameters, their text encoding, and what a caller accepts."""

from functools import lru_cache

from .errors import HttpError, UnsupportedAccept

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"
NPZ = "application/x-npz"
TEXT = "text/plain"
BYTES = "application/octet-stream"
ANY = "*/*"

# What the SageMaker inference toolkit hands to an input_fn as str.
_TEXT_TYPES = frozenset((JSON, CSV))


@lru_cache(maxsize=1024)
def media_type(value):
    """`Text/CSV; charset=utf-8` -> `text/csv`."""
    return value.partition(";")[0].strip().lower()


@lru_cache(maxsize=1024)
def text_encoding(content_type):
    """The encoding of a body that is handed over as str; None when it stays bytes."""
    if content_type is None or media_type(content_type) not in _TEXT_TYPES:
        return None
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _encoding(value.strip().strip('"'), content_type)
    return "utf-8"


@lru_cache(maxsize=1024)
def negotiate(accept, supported, default):
    """The first type in `accept` that is in `supported`; `default` where any type will do."""
    anything = False
    for entry in accept.split(","):
        name = media_type(entry)
        if name in supported and not _refused(entry):
            return name
        anything = anything or name == ANY
    if anything:
        return default
    raise UnsupportedAccept(accept, supported)


@lru_cache(maxsize=1024)
def first_type(accept):
    """What an answer is called whose author named no type."""
    return accept.partition(",")[0].strip()


def as_text(body):
    """Text of a body that may have stayed bytes."""
    if isinstance(body, str):
        return body
    return decode_text(body, "utf-8")


def decode_text(body, encoding):
    try:
        return str(body, encoding)
    except UnicodeError as error:
        raise HttpError(400, "The body is not %s: %s" % (encoding, error)) from None


def _encoding(charset, content_type):
    try:
        " ".encode(charset)  # Some codecs that Python knows are not of text.
        return charset
    except (LookupError, ValueError):
        message = "The charset of %s is not known." % content_type
        raise HttpError(415, message) from None


def _refused(entry):
    parameters = entry.replace(" ", "").lower().split(";")[1:]
    return any(p in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters)
