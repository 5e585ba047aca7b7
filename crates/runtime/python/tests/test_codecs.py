import io
import json
import os
import subprocess
import sys

import pytest

from sagebrush import HttpError, codecs, media


@pytest.mark.parametrize("value, name", [
    ("text/csv", "text/csv"), ("Text/CSV ; charset=utf-8", "text/csv"), ("", ""),
])
def test_media_type(value, name):
    assert media.media_type(value) == name


@pytest.mark.parametrize("accept, chosen", [
    ("text/csv", "text/csv"),
    ("TEXT/CSV; q=0.5", "text/csv"),
    ("image/png, text/csv", "text/csv"),
    ("*/*", "application/json"),
    ("image/png, */*;q=0.1", "application/json"),
    ("text/csv;q=0, application/x-npy", "application/x-npy"),
])
def test_negotiate(accept, chosen):
    assert media.negotiate(accept, codecs.ENCODED, "application/json") == chosen


def test_nothing_acceptable():
    with pytest.raises(HttpError) as info:
        codecs.encode([1], "image/png")
    assert info.value.status == 406 and "image/png" in str(info.value)


def test_no_such_content_type():
    with pytest.raises(HttpError) as info:
        codecs.decode(b"", "image/png")
    assert info.value.status == 415 and "application/x-npy" in str(info.value)


@pytest.fixture
def no_numpy(monkeypatch):
    monkeypatch.setattr(codecs, "numpy", lambda: None)


@pytest.mark.parametrize("body, content_type, value", [
    ("[[1, 2.5]]", "application/json", [[1, 2.5]]),
    (b"[1]", None, [1]),
    ('{"a": 1}', "Application/Json; charset=utf-8", {"a": 1}),
    ("1,2\n3,\n", "text/csv", [[1.0, 2.0], [3.0, None]]),
    (b"caf\xc3\xa9", "text/plain", "caf\xe9"),
    (b"\x00", "application/octet-stream", b"\x00"),
])
def test_decode_without_numpy(no_numpy, body, content_type, value):
    decoded = codecs.decode(body, content_type)
    if content_type == "text/csv":
        decoded = [[None if cell != cell else cell for cell in row] for row in decoded]
    assert decoded == value


@pytest.mark.parametrize("value, accept, payload", [
    ({"a": [1, 2]}, "application/json", '{"a": [1, 2]}'),
    ([[1, 2.5], ["x,y", None]], "text/csv", '1,2.5\n"x,y",\n'),
    ([1, 2], "text/csv", "1\n2\n"),
    (7, "text/csv", "7\n"),
    ("yes", "text/csv", "yes\n"),
    ("yes", "text/plain", "yes"),
    (b"\x00", "application/octet-stream", b"\x00"),
])
def test_encode_without_numpy(no_numpy, value, accept, payload):
    assert codecs.encode(value, accept) == (payload, accept)


def test_npy_without_numpy(no_numpy):
    with pytest.raises(HttpError, match="numpy"):
        codecs.decode(b"", "application/x-npy")


@pytest.mark.parametrize("body, content_type", [
    ("{", "application/json"),
    ("[" * 100_000, "application/json"),
    (b"not numpy", "application/x-npy"),
    (b"not numpy", "application/x-npz"),
    (b"", "application/x-npy"),
    (b"PK\x03\x04broken", "application/x-npz"),
])
def test_bodies_that_are_not_what_they_say(body, content_type):
    if "np" in content_type:
        pytest.importorskip("numpy")
    with pytest.raises(HttpError) as info:
        codecs.decode(body, content_type)
    assert info.value.status == 400


@pytest.mark.parametrize("body, content_type, value", [
    ("[[1, 2], [3, 4]]", "application/json", [[1, 2], [3, 4]]),
    ("3.5", "application/json", 3.5),
    ("1,2.5\n3,4\n", "text/csv", [[1, 2.5], [3, 4]]),
    ("1,2\n", "text/csv", [1, 2]),
    ("1\n2\n", "text/csv", [1, 2]),
    ("7", "text/csv", 7),
])
def test_decode_to_arrays(body, content_type, value):
    np = pytest.importorskip("numpy")
    decoded = codecs.decode(body, content_type)
    assert isinstance(decoded, np.ndarray) and decoded.tolist() == value


@pytest.mark.parametrize(
    "text", ["1,2\n3,4", "1,\n,4\n", "a,1\n2,b", "1\n2", "1", " 1 , 2 \n\n3,4"]
)
def test_csv_as_genfromtxt_reads_it(text):
    np = pytest.importorskip("numpy")
    decoded = codecs.decode(text, "text/csv")
    expected = np.genfromtxt(io.StringIO(text), dtype="float32", delimiter=",")
    assert decoded.dtype == expected.dtype
    np.testing.assert_array_equal(decoded, expected)


def test_csv_of_uneven_rows():
    pytest.importorskip("numpy")
    with pytest.raises(HttpError) as info:
        codecs.decode("1,2\n3", "text/csv")
    assert info.value.status == 400


@pytest.mark.parametrize("body, value", [
    ('{"a": [1]}', {"a": [1]}), ('"x"', "x"), ("null", None), ("[[1], [2, 3]]", [[1], [2, 3]]),
])
def test_json_that_makes_no_array(body, value):
    pytest.importorskip("numpy")
    assert codecs.decode(body, "application/json") == value


def test_npy_and_npz_there_and_back():
    np = pytest.importorskip("numpy")
    array = np.arange(6, dtype="float32").reshape(2, 3)
    payload, _ = codecs.encode(array, "application/x-npy")
    assert (codecs.decode(payload, "application/x-npy") == array).all()
    payload, _ = codecs.encode({"a": array}, "application/x-npz")
    assert (codecs.decode(payload, "application/x-npz")["a"] == array).all()
    payload, _ = codecs.encode(array, "application/x-npz")
    assert (codecs.decode(payload, "application/x-npz")["arr_0"] == array).all()


def test_sparse_there_and_back():
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_matrix([[0, 1], [2, 0]])
    payload, _ = codecs.encode(matrix, "application/x-npz")
    assert (codecs.decode(payload, "application/x-npz") != matrix).nnz == 0


def test_pickles_inside_npy_are_not_run():
    np = pytest.importorskip("numpy")
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(HttpError) as info:
        codecs.decode(out.getvalue(), "application/x-npy")
    assert info.value.status == 400


def test_encode_arrays():
    np = pytest.importorskip("numpy")
    array = np.array([[0.1, 2], [3, 4]], dtype="float32")
    assert codecs.encode(array, "text/csv")[0] == "0.1,2.0\n3.0,4.0\n"
    assert codecs.encode(array.astype("float64")[1], "text/csv")[0] == "3.0\n4.0\n"
    assert codecs.encode(np.float64(0.5), "text/csv")[0] == "0.5\n"
    assert codecs.encode(np.array(["a", "b,c"]), "text/csv")[0] == 'a\n"b,c"\n'
    assert json.loads(codecs.encode({"p": array[1], "n": np.int64(1)}, "application/json")[0]) == {
        "p": [3.0, 4.0], "n": 1}


def test_encode_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert json.loads(codecs.encode(frame, "application/json")[0]) == [
        {"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert codecs.encode(frame, "text/csv")[0] == "1,x\n2,y\n"
    assert codecs.encode(frame["a"], "application/json")[0] == "[1, 2]"


@pytest.mark.parametrize("value, accept", [
    ({"a": 1}, "text/csv"), ([1], "text/plain"), (object(), "application/json"),
])
def test_values_that_cannot_be_written(value, accept):
    with pytest.raises(TypeError, match="cannot be written as"):
        codecs.encode(value, accept)


def test_the_import_is_light():
    script = (
        "import sys, sagebrush, sagebrush.handlers;"
        "heavy = {'numpy', 'pandas', 'sklearn', 'torch', 'asyncio', 'socket'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    environment = {"PYTHONPATH": os.path.dirname(os.path.dirname(media.__file__))}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
