"""JSON of what models return: arrays, scalars and data frames beside plain values."""

import json


def plain(value):
    """The plain value behind one that `json` does not know."""
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return tolist()
    to_dict = getattr(value, "to_dict", None)
    if to_dict is not None:
        return to_dict(orient="records")
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return isoformat()
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError("%s cannot be written as JSON" % type(value).__name__)


dumps = json.JSONEncoder(default=plain).encode
