"""What an `inference.py` may import: `from sagebrush import HttpError`."""

from .context import Context
from .errors import HttpError

__all__ = ["Context", "HttpError"]
