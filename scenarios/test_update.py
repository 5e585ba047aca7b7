"""Updates: no call is lost, and a bad one changes nothing."""

import numpy as np

import models
from load import Load

ROW = models.ROWS[:1]


def load_of(client, endpoint):
    return Load(client, endpoint, models.csv(ROW), lambda body: models.csv_values(body)[0])


def test_no_call_is_lost_while_updates_go_on(client, sagemaker, deploy):
    name = deploy({"model.onnx": models.logistic()})
    other = deploy.config({"model.onnx": models.logistic(0.01)}, suffix="-other")
    with load_of(client, name) as load:
        load.at_least(20)
        for config in [other, name, other]:
            sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
            sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
            assert sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == config
            load.at_least(20)
    assert load.errors == []
    # Old and new answers, and nothing else.
    olds = models.reference(models.logistic(), ROW)[1][0]
    news = models.reference(models.logistic(0.01), ROW)[1][0]
    assert abs(olds - news).max() > 0.01
    seen = [values[-3:] for answers in load.answers for values in answers]
    if len(load.answers[0][0]) >= 3:
        for values in seen:
            close = [np.allclose(values, wanted, atol=1e-4) for wanted in (olds, news)]
            assert any(close), values
        assert all(np.allclose(answers[-1][-3:], news, atol=1e-4) for answers in load.answers)


def test_a_failed_update_keeps_the_old_fleet(client, sagemaker, deploy):
    name = deploy({"model.onnx": models.logistic()})
    bad = deploy.config({"notes.txt": b"x"}, suffix="-bad")
    with load_of(client, name) as load:
        load.at_least(5)
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=bad)
        seen = deploy.settled()
        load.at_least(20)
    assert load.errors == []
    assert (seen["EndpointStatus"], seen["EndpointConfigName"]) == ("InService", name)
    assert "model.onnx" in seen["FailureReason"]


def test_a_later_update_clears_the_reason(sagemaker, deploy):
    name = deploy({"model.onnx": models.logistic()})
    bad = deploy.config({"notes.txt": b"x"}, suffix="-bad")
    good = deploy.config({"model.onnx": models.forest()}, suffix="-good")
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=bad)
    assert "FailureReason" in deploy.settled()
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=good)
    seen = deploy.settled()
    assert (seen["EndpointConfigName"], "FailureReason" in seen) == (good, False)


def test_an_update_of_the_number_of_instances(sagemaker, runtime, deploy):
    name = deploy({"model.onnx": models.logistic()})
    more = deploy.config({"model.onnx": models.logistic()}, suffix="-more", instances=3)
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=more)
    seen = deploy.settled()
    assert seen["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    runtime.invoke_endpoint(EndpointName=name, Body=models.csv(ROW), ContentType="text/csv")
