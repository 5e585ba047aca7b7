"""What is read and written where `inference.py` has no `input_fn` or `output_fn`.

The types and values are those of the SageMaker inference toolkit. numpy is imported when the
first call needs it; without it JSON stays plain and CSV becomes lists of floats.
"""

import csv
import io
import json
from functools import lru_cache

from . import jsontext
from .errors import HttpError, UnsupportedContentType
from .media import BYTES, CSV, JSON, NPY, NPZ, TEXT, as_text, media_type, negotiate

JSON_ERRORS = (ValueError, RecursionError)


def decode(body, content_type):
    """The value of a body; a body without a type is JSON."""
    name = JSON if content_type is None else media_type(content_type)
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise UnsupportedContentType(content_type, DECODED)
    return decoder(body)


def encode(value, accept, default=JSON):
    """The payload and its type, the first of `accept` that is written here."""
    name = negotiate(accept, ENCODED, default)
    return _ENCODERS[name](value), name


@lru_cache(maxsize=1)
def numpy():
    """numpy, or None where the interpreter has none."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def decode_json(body):
    """Lists and numbers as an array, all else as it is."""
    value = parse_json(body)
    np = numpy()
    if np is None or not isinstance(value, (list, int, float)):
        return value
    try:
        return np.array(value)
    except ValueError:
        return value  # Rows of unlike lengths make no array.


def parse_json(body):
    try:
        return json.loads(as_text(body))
    except JSON_ERRORS as error:
        raise HttpError(400, "The body is not JSON: %s" % error) from None


def decode_csv(body):
    """As numpy's `genfromtxt` reads float32: what is no number is nan, one row is flat."""
    np = numpy()
    text = as_text(body)
    if np is None:
        return float_rows(text)
    try:
        # Several times faster than genfromtxt, and the same for all that are numbers.
        rows = [list(map(float, line.split(","))) for line in text.splitlines() if line]
        return np.array(rows, dtype="float32").squeeze()
    except ValueError:
        pass
    try:
        return np.genfromtxt(io.StringIO(text), dtype="float32", delimiter=",")
    except ValueError as error:
        raise HttpError(400, "The body is not CSV: %s" % error) from None


def float_rows(text, delimiter=",", missing="nan"):
    """The rows of a CSV of numbers, as lists of floats."""
    rows = [line.split(delimiter) for line in text.splitlines() if line.strip()]
    try:
        return [list(map(float, row)) for row in rows]
    except ValueError:
        pass  # Perhaps only for cells that are empty.
    try:
        return [[float(cell.strip() or missing) for cell in row] for row in rows]
    except ValueError as error:
        raise HttpError(400, "The body is not a CSV of numbers: %s" % error) from None


def float_matrix(body, dtype, delimiter=","):
    """The rows of a CSV of numbers, as a matrix even where there is one row or one column."""
    np = _need_numpy()
    rows = float_rows(as_text(body), delimiter)
    if not rows:
        raise HttpError(400, "The CSV has no rows.")
    if any(len(row) != len(rows[0]) for row in rows):
        raise HttpError(400, "The rows of the CSV have unlike numbers of columns.")
    return np.array(rows, dtype=dtype)


def decode_npy(body):
    """Arrays of objects are refused: reading them would run what the caller sent."""
    np = _need_numpy()
    try:
        return np.load(io.BytesIO(body), allow_pickle=False)
    except Exception as error:  # Of bytes that anyone may send, anything may come.
        raise HttpError(400, "The body is not a readable .npy file: %s" % error) from None


def decode_npz(body):
    """A sparse matrix as scipy saves it, or a dict of arrays."""
    np = _need_numpy()
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            if "format" not in archive.files:
                return {name: archive[name] for name in archive.files}
        from scipy import sparse

        return sparse.load_npz(io.BytesIO(body))
    except Exception as error:
        raise HttpError(400, "The body is not a readable .npz file: %s" % error) from None


def encode_csv(value):
    """One line a row, and for plain lists one line a value."""
    to_csv = getattr(value, "to_csv", None)
    if to_csv is not None:
        return to_csv(index=False, header=False)
    if isinstance(value, (dict, bytes)):
        raise TypeError("%s cannot be written as %s" % (type(value).__name__, CSV))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(_rows(value))
    return out.getvalue()


def encode_npy(value):
    out = io.BytesIO()
    _need_numpy().save(out, value, allow_pickle=False)
    return out.getvalue()


def encode_npz(value):
    out = io.BytesIO()
    if hasattr(value, "tocsr"):
        from scipy import sparse

        sparse.save_npz(out, value)
    elif isinstance(value, dict):
        _need_numpy().savez(out, **value)
    else:
        _need_numpy().savez(out, value)
    return out.getvalue()


def encode_text(value):
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return value
    raise TypeError("%s cannot be written as text or bytes" % type(value).__name__)


def _rows(value):
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [[value]]
    # float32 has a shorter text than the float it becomes in a list.
    plain = getattr(getattr(value, "dtype", None), "str", "")[1:] in ("f8", "i8", "b1")
    values = value.tolist() if plain else value
    if getattr(value, "ndim", None) == 0:
        return [[values]]
    return [row if _is_row(row) else [row] for row in values]


def _is_row(value):
    if isinstance(value, (list, tuple)):
        return True
    return getattr(value, "ndim", 0) > 0


def _need_numpy():
    np = numpy()
    if np is None:
        raise HttpError(415, "This body needs numpy; put it into code/requirements.txt.")
    return np


def _raw(body):
    return body


_DECODERS = {
    JSON: decode_json,
    CSV: decode_csv,
    NPY: decode_npy,
    NPZ: decode_npz,
    TEXT: as_text,
    BYTES: _raw,
}
_ENCODERS = {
    JSON: jsontext.dumps,
    CSV: encode_csv,
    NPY: encode_npy,
    NPZ: encode_npz,
    TEXT: encode_text,
    BYTES: encode_text,
}
DECODED = tuple(_DECODERS)
ENCODED = tuple(_ENCODERS)
