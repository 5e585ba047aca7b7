"""scikit-learn and XGBoost by the images' own names, compared with the libraries themselves."""

import io
import json
import pickle
import re

import numpy as np
import pytest

import calls
import models
import support
import trained

REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
SKLEARN = f"{REGISTRY}/sagemaker-scikit-learn:1.2-1-cpu-py3"
XGBOOST = f"{REGISTRY}/sagemaker-xgboost:1.7-1"
ROWS = trained.iris()[0][::7]


def numbers(body):
    """All numbers of an answer, in order, however they are set."""
    found = re.findall(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", body.decode())
    return np.array([float(one) for one in found])


# scikit-learn.


def test_a_pipeline_with_model_fn_only(deploy, runtime):
    endpoint = deploy(trained.sklearn_files(), image=SKLEARN)
    wanted = trained.forest().predict(ROWS)

    answer = calls.invoke(runtime, endpoint, models.csv(ROWS), "text/csv", "text/csv")
    assert numbers(answer["Body"]).tolist() == wanted.tolist()

    answer = calls.invoke(runtime, endpoint, ROWS.tolist())
    assert json.loads(answer["Body"]) == wanted.tolist()

    packed = io.BytesIO()
    np.save(packed, ROWS)
    answer = calls.invoke(
        runtime, endpoint, packed.getvalue(), "application/x-npy", "application/x-npy"
    )
    assert np.load(io.BytesIO(answer["Body"])).tolist() == wanted.tolist()


PROBABILITIES = trained.SKLEARN + """
def predict_fn(data, model):
    return model.predict_proba(data)
"""


def test_probabilities(deploy, runtime):
    endpoint = deploy(trained.sklearn_files(PROBABILITIES), image=SKLEARN)
    wanted = trained.forest().predict_proba(ROWS)
    answer = calls.invoke(runtime, endpoint, models.csv(ROWS), "text/csv")
    assert answer["ContentType"].startswith("application/json")
    np.testing.assert_allclose(json.loads(answer["Body"]), wanted, atol=1e-6)
    answer = calls.invoke(runtime, endpoint, models.csv(ROWS), "text/csv", "text/csv")
    np.testing.assert_allclose(models.csv_values(answer["Body"]), wanted, atol=1e-6)


def test_a_row_that_does_not_fit(deploy, runtime):
    endpoint = deploy(trained.sklearn_files(), image=SKLEARN)
    message = calls.model_error(runtime, endpoint, b"1,2\n3,4", content_type="text/csv")
    assert "2 features" in message and "4 features" in message, message


# XGBoost.


def libsvm(rows):
    lines = (
        " ".join(["0", *(f"{i}:{value!r}" for i, value in enumerate(map(float, row)))])
        for row in rows
    )
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["saved", "pickled"])
def test_the_built_in_algorithm(deploy, runtime, form):
    """`xgboost-model` in the archive and no code at all."""
    import xgboost

    booster = trained.booster()
    packed = trained.xgboost_bytes(booster) if form == "saved" else pickle.dumps(booster)
    endpoint = deploy({"xgboost-model": packed}, image=XGBOOST)
    wanted = booster.predict(xgboost.DMatrix(ROWS))
    for content_type, body in [
        ("text/csv", models.csv(ROWS)), ("text/libsvm", libsvm(ROWS)),
        ("text/x-libsvm", libsvm(ROWS)),
    ]:
        answer = calls.invoke(runtime, endpoint, body, content_type)
        np.testing.assert_allclose(numbers(answer["Body"]), wanted, atol=1e-5)
    answer = calls.invoke(runtime, endpoint, models.csv(ROWS[:1]), "text/csv")
    np.testing.assert_allclose(numbers(answer["Body"]), wanted[:1], atol=1e-5)


def test_the_built_in_algorithm_without_its_model(deploy):
    reason = deploy.failing({"other.txt": "no model"}, image=XGBOOST)
    assert "xgboost-model" in reason, reason


SCRIPT = """
import io, os
import numpy as np
import xgboost

def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "iris.json"))
    return booster

def input_fn(data, content_type):
    return xgboost.DMatrix(np.loadtxt(io.StringIO(data), delimiter=",", ndmin=2))

def predict_fn(data, model):
    return model.predict(data)
"""


def test_script_mode(deploy, runtime):
    import xgboost

    booster = trained.booster()
    files = support.inference_py(SCRIPT, {"iris.json": trained.xgboost_bytes(booster)})
    endpoint = deploy(files, image=XGBOOST)
    answer = calls.invoke(runtime, endpoint, models.csv(ROWS), "text/csv")
    wanted = booster.predict(xgboost.DMatrix(ROWS))
    np.testing.assert_allclose(json.loads(answer["Body"]), wanted, atol=1e-5)


# Code that is not in the model's archive.


def test_code_in_a_folder_of_its_own_in_s3(s3, bucket, deploy, runtime):
    """As SDK 2 deploys: `SAGEMAKER_SUBMIT_DIRECTORY` names a sourcedir.tar.gz."""
    code = support.archive({"serve.py": trained.SKLEARN, "requirements.txt": ""})
    s3.put_object(Bucket=bucket, Key="code/sourcedir.tar.gz", Body=code)
    endpoint = deploy(
        {"model.joblib": trained.joblib_bytes(trained.forest())}, image=SKLEARN,
        environment={
            "SAGEMAKER_PROGRAM": "serve.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bucket}/code/sourcedir.tar.gz",
            "SAGEMAKER_CONTAINER_LOG_LEVEL": "20", "SAGEMAKER_REGION": support.REGION,
        },
    )
    answer = calls.invoke(runtime, endpoint, models.csv(ROWS), "text/csv", "text/csv")
    assert numbers(answer["Body"]).tolist() == trained.forest().predict(ROWS).tolist()
