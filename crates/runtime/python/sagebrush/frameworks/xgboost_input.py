"""What the XGBoost image reads: CSV and LIBSVM."""

from .. import codecs
from ..errors import HttpError, UnsupportedContentType
from ..media import as_text, media_type

_CSV = ("csv", "text/csv")
_LIBSVM = ("libsvm", "text/libsvm", "text/x-libsvm")
_READ = ("text/csv", "text/libsvm", "text/x-libsvm")
_DELIMITERS = (",", ";", "\t", "|", " ")


def is_libsvm(content_type):
    return content_type is None or media_type(content_type) in _LIBSVM


def parse(body, content_type):
    """A matrix: dense of CSV, sparse of LIBSVM, which also a body without a type is."""
    if is_libsvm(content_type):
        return _refusing(_libsvm, body, "libsvm")
    if media_type(content_type) in _CSV:
        return _refusing(_csv, body, "csv")
    raise UnsupportedContentType(content_type, _READ)


def as_dmatrix(matrix):
    import xgboost

    return xgboost.DMatrix(matrix)


def _refusing(parser, body, name):
    """The image answers 415 for a body that is not what its type says."""
    try:
        return parser(body)
    except HttpError as error:
        raise HttpError(415, "The body is not in %s format: %s" % (name, error)) from None
    except ValueError as error:
        raise HttpError(415, "The body is not in %s format: %s" % (name, error)) from None


def _csv(body):
    text = as_text(body).strip()
    return codecs.float_matrix(text, "float64", _delimiter(text))


def _delimiter(text):
    """The image guesses it from the first line, too."""
    line = text.partition("\n")[0].strip()
    for delimiter in _DELIMITERS:
        if delimiter in line:
            return delimiter
    return ","


def _libsvm(body):
    """Columns counted from 1 are counted from 0, as the image does; labels are passed over."""
    from scipy import sparse

    rows, columns, values = [], [], []
    lines = as_text(body).strip().splitlines()
    for row, line in enumerate(lines):
        for token in line.split():
            column, colon, value = token.partition(":")
            if colon:
                rows.append(row)
                columns.append(int(column))
                values.append(float(value))
    first = min(columns, default=0)
    if first < 0:
        raise ValueError("column %d" % first)
    if first >= 1:
        columns = [column - 1 for column in columns]
    shape = (len(lines), max(columns, default=-1) + 1)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape, dtype="float32")
