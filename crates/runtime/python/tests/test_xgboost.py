import json
import pickle

import pytest

np = pytest.importorskip("numpy")
xgboost = pytest.importorskip("xgboost")

from sagebrush import HttpError  # noqa: E402
from sagebrush.frameworks import xgboost_output  # noqa: E402

ROWS = np.random.default_rng(7).random((80, 3)).astype("float32")
LABELS = (ROWS[:, 0] > 0.5).astype(int)
CSV_BODY = b"0.9,0.2,0.3\n0.1,0.2,0.3\n"
ASKED = np.array([[0.9, 0.2, 0.3], [0.1, 0.2, 0.3]], dtype="float32")


def train(**parameters):
    labels = LABELS if "num_class" not in parameters else np.arange(80) % 3
    return xgboost.train({"nthread": 1, **parameters}, xgboost.DMatrix(ROWS, labels), 5)


@pytest.fixture
def booster(tmp_path):
    model = train(objective="binary:logistic")
    model.save_model(str(tmp_path / "model.ubj"))
    return model


def scores(model):
    return model.predict(xgboost.DMatrix(ASKED)).tolist()


def save(model, path, form):
    if form == "pickle":
        path.write_bytes(pickle.dumps(model))
    else:
        path.write_bytes(bytes(model.save_raw(form)))


@pytest.mark.parametrize("form", ["pickle", "json", "ubj"])
@pytest.mark.parametrize("name", ["xgboost-model", "anything.bin"])
def test_formats_of_the_model(tmp_path, serve, call, form, name):
    model = train(objective="binary:logistic")
    save(model, tmp_path / name, form)
    if name == "xgboost-model":
        (tmp_path / "readme.txt").write_text("not a model")
    payload, content_type, _ = call(serve(framework="xgboost"), CSV_BODY, "text/csv")
    assert content_type == "text/csv"
    assert payload.decode() == "".join("%s\n" % score for score in scores(model))


def test_a_pickled_wrapper(tmp_path, serve, call):
    model = xgboost.XGBClassifier(n_estimators=3).fit(ROWS, LABELS)
    (tmp_path / "xgboost-model").write_bytes(pickle.dumps(model))
    payload, _, _ = call(serve(framework="xgboost"), CSV_BODY, "text/csv")
    assert [float(line) for line in payload.split()] == scores(model.get_booster())


@pytest.mark.parametrize("content", [b"\x80nonsense", b"nonsense", b"{"])
def test_a_file_that_is_no_model(tmp_path, serve, content):
    (tmp_path / "xgboost-model").write_bytes(content)
    with pytest.raises(ValueError, match="is no XGBoost model"):
        serve(framework="xgboost")


def test_several_files(tmp_path, serve, booster):
    (tmp_path / "second").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="xgboost-model.*model.ubj, second"):
        serve(framework="xgboost")


@pytest.mark.parametrize("body, content_type", [
    (CSV_BODY, "text/csv"),
    (CSV_BODY, "text/csv; label_size=1"),
    (b"0.9;0.2;0.3\n0.1;0.2;0.3", "text/csv"),
    (b"0.9 0.2 0.3\n0.1 0.2 0.3", "text/csv"),
    (b"0.9\t0.2\t0.3\r\n0.1\t0.2\t0.3\r\n", "text/csv"),
    (b"1:0.9 2:0.2 3:0.3\n1:0.1 2:0.2 3:0.3\n", "text/libsvm"),
    (b"0:0.9 1:0.2 2:0.3\n0:0.1 1:0.2 2:0.3\n", "text/x-libsvm"),
    (b"1 0:0.9 1:0.2 2:0.3\n0 0:0.1 1:0.2 2:0.3\n", None),
])
def test_formats_of_the_body(serve, call, booster, body, content_type):
    payload, _, _ = call(serve(framework="xgboost"), body, content_type)
    assert np.allclose([float(line) for line in payload.split()], scores(booster))


def test_what_is_left_out_is_missing(serve, call, booster):
    transformer = serve(framework="xgboost")
    expected = booster.predict(xgboost.DMatrix(np.array([[0.9, np.nan, np.nan]])))
    for body, content_type in [
        (b"0.9,,", "text/csv"), (b"0.9,", "text/csv"), (b"0:0.9", "text/libsvm"),
    ]:
        payload, _, _ = call(transformer, body, content_type)
        assert np.allclose(float(payload), expected), body


@pytest.mark.parametrize("body, content_type, status, words", [
    (b"0:1 9:1", "text/libsvm", 400, "libsvm data have 10 features, the model 3"),
    (b"1,2,3,4", "text/csv", 400, "csv data have 4 features, the model 3"),
    (b"a,b,c", "text/csv", 415, "csv format"),
    (b"1,2,3\n1,2", "text/csv", 415, "csv format"),
    (b"x:1", "text/libsvm", 415, "libsvm format"),
    (b"-1:1", "text/libsvm", 415, "libsvm format"),
    (b"\x00", "application/x-recordio-protobuf", 415, "application/x-recordio-protobuf"),
    (b"[1]", "application/json", 415, "text/csv, text/libsvm"),
    (b"", "text/csv", 204, ""),
])
def test_refused_bodies(serve, call, booster, body, content_type, status, words):
    with pytest.raises(HttpError) as info:
        call(serve(framework="xgboost"), body, content_type)
    assert info.value.status == status and words in str(info.value)


def test_shapes_of_the_answer(serve, call, booster):
    transformer = serve(framework="xgboost")
    first, second = scores(booster)
    payload, content_type, _ = call(transformer, CSV_BODY, "text/csv", "application/json")
    assert content_type == "application/json"
    assert json.loads(payload) == {"predictions": [{"score": first}, {"score": second}]}
    payload, _, _ = call(transformer, CSV_BODY, "text/csv", "application/jsonlines")
    assert [json.loads(line)["score"] for line in payload.splitlines()] == [first, second]
    with pytest.raises(HttpError) as info:
        call(transformer, CSV_BODY, "text/csv", "application/x-recordio-protobuf")
    assert info.value.status == 406


def test_shapes_behind_a_multi_model_endpoint(serve, call, booster, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_MULTI_MODEL", "true")
    transformer = serve(framework="xgboost", environment={"SAGEMAKER_MULTI_MODEL": "true"})
    payload, content_type, _ = call(transformer, CSV_BODY, "text/csv")
    assert (json.loads(payload), content_type) == (scores(booster), "application/json")
    payload, _, _ = call(transformer, CSV_BODY, "text/csv", "text/csv")
    assert payload.decode() == ",".join(map(str, scores(booster)))


def test_several_classes(tmp_path, serve, call):
    model = train(objective="multi:softprob", num_class=3)
    model.save_model(str(tmp_path / "xgboost-model.json"))
    payload, _, _ = call(serve(framework="xgboost"), CSV_BODY, "text/csv")
    assert payload.decode() == "".join(",".join(map(str, row)) + "\n" for row in scores(model))


def test_a_linear_booster(tmp_path, serve, call):
    model = train(objective="reg:squarederror", booster="gblinear")
    model.save_model(str(tmp_path / "xgboost-model.json"))
    payload, _, _ = call(serve(framework="xgboost"), CSV_BODY, "text/csv")
    assert np.allclose([float(line) for line in payload.split()], scores(model))


def test_selected_content(serve, call, booster, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_INFERENCE_OUTPUT", "predicted_label, probabilities")
    transformer = serve(framework="xgboost")
    first, second = scores(booster)
    payload, _, _ = call(transformer, CSV_BODY, "text/csv", "application/json")
    assert json.loads(payload) == {"predictions": [
        {"predicted_label": 1, "probabilities": [1 - first, first]},
        {"predicted_label": 0, "probabilities": [1 - second, second]},
    ]}
    payload, _, _ = call(transformer, CSV_BODY, "text/csv")
    assert payload.decode().splitlines()[1] == '0,"%s"' % [1 - second, second]


@pytest.mark.parametrize("objective, selected, score, line", [
    ("multi:softprob", "predicted_label,labels,probability", [0.2, 0.7, 0.1],
     '1,"[0, 1, 2]",0.7'),
    ("multi:softmax", "predicted_label,labels", 2.0, '2.0,"[0, 1, 2]"'),
    ("binary:logitraw", "predicted_label,probability,raw_score", -0.5, "0,nan,-0.5"),
    ("binary:hinge", "predicted_label", 1.0, "1.0"),
    ("reg:squarederror", "predicted_score,labels", 3.5, "3.5,nan"),
    ("reg:squarederror", "nothing_of_the_kind", 3.5, "nan"),
])
def test_selected_content_by_objective(objective, selected, score, line):
    encode = xgboost_output.encoder({"SAGEMAKER_INFERENCE_OUTPUT": selected}, objective, 3)
    assert encode(np.array([score]), "text/csv") == (line, "text/csv")


def test_selected_content_of_an_unknown_objective():
    with pytest.raises(ValueError, match="rank:ndcg"):
        xgboost_output.encoder({"SAGEMAKER_INFERENCE_OUTPUT": "labels"}, "rank:ndcg", 0)


def test_batch_transform(serve, call, booster, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_BATCH", "true")
    payload, _, _ = call(serve(framework="xgboost"), CSV_BODY, "text/csv")
    assert payload.decode() == "".join("%s\n" % score for score in scores(booster))


def test_script_mode(serve, call, booster):
    source = """
import os, xgboost
def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.ubj"))
    return booster
"""
    transformer = serve(source, "xgboost")
    payload, content_type, _ = call(transformer, CSV_BODY, "text/csv")
    assert content_type == "application/json"
    assert np.allclose(json.loads(payload), scores(booster))
    payload, _, _ = call(transformer, CSV_BODY, "text/csv", "text/csv")
    assert np.allclose([float(line) for line in payload.split()], scores(booster))
