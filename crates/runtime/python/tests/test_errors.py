import http

import pytest

from sagebrush import HttpError
from sagebrush.errors import UnsupportedAccept, UnsupportedContentType, as_http_error


@pytest.mark.parametrize("message, body, content_type", [
    ("", b"", "text/plain"),
    ("no", b"no", "text/plain"),
    (b"\x00\x01", b"\x00\x01", "text/plain"),
    ({"field": "age"}, b'{"field": "age"}', "application/json"),
    ([1, 2], b"[1, 2]", "application/json"),
])
def test_bodies(message, body, content_type):
    error = HttpError(422, message)
    assert (error.status, error.body, error.content_type) == (422, body, content_type)


def test_own_content_type_and_status_enum():
    error = HttpError(http.HTTPStatus.CONFLICT, b"<no/>", content_type="text/xml")
    assert (error.status, error.content_type, str(error)) == (409, "text/xml", "<no/>")


@pytest.mark.parametrize("status", [0, 99, 199, 600])
def test_a_status_that_is_none(status):
    with pytest.raises(ValueError, match="not an HTTP status"):
        HttpError(status)


@pytest.mark.parametrize("error, status", [
    (UnsupportedContentType("text/x", ("text/csv", "application/json")), 415),
    (UnsupportedAccept("text/x", ("text/csv", "application/json")), 406),
])
def test_unsupported_types_name_the_supported_ones(error, status):
    assert error.status == status
    for word in ("text/x", "text/csv", "application/json"):
        assert word in str(error)


class ToolkitError(Exception):
    def __init__(self, status_code, message):
        super().__init__(status_code, message, "phrase")
        self.status_code, self.message, self.phrase = status_code, message, "phrase"


def raised(exception):
    try:
        raise exception
    except Exception as error:
        return as_http_error(error)


@pytest.mark.parametrize("exception, status, first_line", [
    (ValueError("bad row"), 500, "bad row"),
    (ToolkitError(429, "slow down"), 429, "slow down"),
    (ToolkitError("429", "a string is no status"), 500, "a string is no status"),
    (ToolkitError(7, "nor is 7"), 500, "nor is 7"),
    (ToolkitError(True, "nor is True"), 500, "nor is True"),
])
def test_other_exceptions(exception, status, first_line):
    answer = raised(exception)
    lines = answer.body.decode().splitlines()
    assert (answer.status, answer.content_type, lines[0]) == (status, "text/plain", first_line)
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1].split(":")[0].endswith(type(exception).__name__)


def test_http_error_stays_itself():
    error = HttpError(404, "gone")
    assert raised(error) is error


def test_the_traceback_begins_at_the_users_code(serve, call):
    transformer = serve(
        "def model_fn(d): pass\n"
        "def input_fn(data, content_type):\n    raise KeyError('colour')\n"
    )
    with pytest.raises(KeyError) as info:
        call(transformer)
    frames = info.value.__traceback__
    while not frames.tb_frame.f_code.co_filename.endswith("transformer.py"):
        frames = frames.tb_next
    lines = as_http_error(info.value.with_traceback(frames)).body.decode().splitlines()
    assert lines[0] == "'colour'"
    assert "inference.py" in lines[2] and lines[3].strip() == "raise KeyError('colour')"
