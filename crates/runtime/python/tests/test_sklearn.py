import io
import json

import pytest

joblib = pytest.importorskip("joblib")
np = pytest.importorskip("numpy")
linear_model = pytest.importorskip("sklearn.linear_model")

from sagebrush import HttpError  # noqa: E402


@pytest.fixture
def transformer(tmp_path, serve):
    data = np.arange(12, dtype="float64").reshape(6, 2)
    model = linear_model.LogisticRegression().fit(data, [0, 0, 0, 1, 1, 1])
    joblib.dump(model, str(tmp_path / "model.joblib"))
    return serve(framework="sklearn")


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize("body, content_type, answer", [
    (b"[[0, 1], [10, 11]]", "application/json", [0, 1]),
    (b"[10, 11]", "application/json", [1]),
    (b"[10, 11]", None, [1]),
    (b"0,1\n10,11\n", "text/csv", [0, 1]),
    (b"10,11", "text/csv; charset=utf-8", [1]),
    (npy(np.array([[10.0, 11.0]])), "application/x-npy", [1]),
])
def test_predictions(transformer, call, body, content_type, answer):
    payload, answered, _ = call(transformer, body, content_type)
    assert (json.loads(payload), answered) == (answer, "application/json")


def test_answers_in_csv_and_npy(transformer, call):
    body = b"[[0, 1], [10, 11]]"
    assert call(transformer, body, accept="text/csv")[:2] == (b"0\n1\n", "text/csv")
    payload, answered, _ = call(transformer, body, accept="application/x-npy")
    assert answered == "application/x-npy" and np.load(io.BytesIO(payload)).tolist() == [0, 1]


@pytest.mark.parametrize("body, content_type, status", [
    (b"red,blue", "text/csv", 400),
    (b"1,2\n3", "text/csv", 400),
    (b"", "text/csv", 400),
    (b'{"a": 1}', "application/json", 400),
    (b'[["a", "b"]]', "application/json", 400),
    (b"<a/>", "application/xml", 415),
])
def test_bodies_that_make_no_rows(transformer, call, body, content_type, status):
    with pytest.raises(HttpError) as info:
        call(transformer, body, content_type)
    assert info.value.status == status


def test_one_column_stays_one_column(tmp_path, serve, call):
    model = linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    joblib.dump(model, str(tmp_path / "other.pkl"))
    payload, _, _ = call(serve(framework="sklearn"), b"1\n2\n3\n", "text/csv")
    assert np.allclose(json.loads(payload), [2, 4, 6])


def test_own_model_fn_and_default_rest(tmp_path, serve, call):
    joblib.dump({"scale": 3}, str(tmp_path / "scale.bin"))
    source = """
import joblib, os
class Model:
    def __init__(self, scale): self.scale = scale
    def predict(self, rows): return rows.sum(axis=1) * self.scale
def model_fn(model_dir): return Model(joblib.load(os.path.join(model_dir, "scale.bin"))["scale"])
"""
    assert json.loads(call(serve(source, "sklearn"), b"1,2\n3,4", "text/csv")[0]) == [9, 21]


def test_an_array_from_output_fn_is_written_as_accepted(serve, call):
    source = """
import numpy as np
def model_fn(model_dir): pass
def transform_fn(model, data, content_type, accept): return np.array([1.5, 2.5])
"""
    transformer = serve(source, "sklearn")
    assert call(transformer)[:2] == (b"[1.5, 2.5]", "application/json")
    assert call(transformer, accept="text/csv")[:2] == (b"1.5\n2.5\n", "text/csv")


@pytest.mark.parametrize("names, found", [([], "none"), (["a.joblib", "b.pkl"], "a.joblib, b.pkl")])
def test_no_model_or_several(tmp_path, serve, names, found):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="model.joblib.*found: " + found):
        serve(framework="sklearn")
