"""Answers that come part by part: what the code's generators and iterators yield."""

from . import output
from .errors import HttpError

_BYTES_LIKE = (bytearray, memoryview)
# A reply in one piece may have so many bytes.
LONGEST = 256 << 20


class Parts:
    """An iterator of the code, whose parts come as bytes."""

    __slots__ = ("_parts", "_name")

    def __init__(self, iterator, name):
        is_async = hasattr(type(iterator), "__anext__")
        self._parts = _awaited(iterator) if is_async else iterator
        self._name = name

    def __iter__(self):
        return self

    def __next__(self):
        part = next(self._parts)
        if type(part) is bytes:
            return part
        if isinstance(part, str):
            return part.encode("utf-8")
        if isinstance(part, (bytes, *_BYTES_LIKE)):
            return bytes(part)
        message = "%s yielded a %s: each part must be bytes or str"
        raise HttpError(500, message % (self._name, type(part).__name__))

    def close(self):
        """Ends a generator where it stands: its `finally` runs."""
        close = getattr(self._parts, "close", None)
        if close is None:
            return
        try:
            close()
        except SystemExit:
            raise
        except BaseException as error:
            output.explain(error)

    def joined(self):
        """All parts in one, for a caller who takes no parts."""
        parts, length = [], 0
        try:
            for part in self:
                parts.append(part)
                length += len(part)
                if length > LONGEST:
                    message = "%s yielded more than %d bytes for one reply"
                    raise HttpError(500, message % (self._name, LONGEST))
        finally:
            self.close()
        return b"".join(parts)


def is_stream(value):
    """True for an iterator, and for one with its content type."""
    if type(value) is tuple and len(value) == 2:
        value = value[0]
    return is_iterator(value)


def is_iterator(value):
    kind = type(value)
    return hasattr(kind, "__next__") or hasattr(kind, "__anext__")


def _awaited(iterator):
    """What an asynchronous iterator yields, on a loop of its own that runs while it is awaited."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                part = loop.run_until_complete(iterator.__anext__())
            except StopAsyncIteration:
                return
            yield part
    finally:
        try:
            loop.run_until_complete(_end(iterator, asyncio))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


async def _end(iterator, asyncio):
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
