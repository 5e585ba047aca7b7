"""Many models behind one container: loaded when called, unloaded when there is no room."""

import json
import os
import random
import threading
import time

import pytest
from botocore.exceptions import ClientError

import calls
import conftest
import metrics
import models
import processes
import support
import trained
from deployment import Deployment

boto3 = pytest.importorskip("boto3")

# In CI; with 10,000 it is the long run.
ZIPF_CALLS = int(os.environ.get("SAGEBRUSH_SCENARIO_ZIPF_CALLS", "2000"))
ZIPF_MODELS, ZIPF_ROOM, ZIPF_THREADS = 200, 50, 8
ZIPF_BYTES = 2 << 30


class Models:
    """A multi-model endpoint and the archives below its prefix."""

    def __init__(self, deploy, runtime, image, **options):
        self.deploy, self.runtime = deploy, runtime
        self.prefix = f"{deploy.name}/models/"
        self.options = {"image": image, "multi_model": True, **options}

    def start(self):
        url = f"s3://{self.deploy.bucket}/{self.prefix}"
        self.endpoint = self.deploy(url=url, **self.options)
        return self

    def put(self, name, files):
        self.deploy.s3.put_object(
            Bucket=self.deploy.bucket, Key=self.prefix + name, Body=support.archive(files)
        )

    def ask(self, name, body=b"{}"):
        return calls.ask(self.runtime, self.endpoint, body, TargetModel=name)

    def refused(self, name, body=b"{}"):
        return calls.validation_error(self.runtime, self.endpoint, body, TargetModel=name)


def saying(word):
    """The files of a model that answers `word`, what it was asked, and which load of it it is."""
    source = f"""
    import json, os

    def model_fn(model_dir):
        with open(os.path.join(model_dir, "word.txt")) as file:
            return {{"word": file.read(), "load": os.urandom(8).hex()}}

    def input_fn(data, content_type):
        return json.loads(data)

    def predict_fn(data, model):
        return {{"asked": data, **model}}
    """
    return support.inference_py(source, {"word.txt": word})


@pytest.fixture
def python(deploy, runtime):
    """A multi-model endpoint of Python models that is not started yet."""
    return Models(deploy, runtime, support.PYTHON)


def test_onnx_models(deploy, runtime):
    many = Models(deploy, runtime, support.IMAGE)
    made = {"a.tar.gz": models.logistic(), "deep/er/b.tar.gz": models.logistic(0.01)}
    for name, model in made.items():
        many.put(name, {"model.onnx": model})
    many.start()
    rows = models.ROWS[:5]
    for name, model in made.items():
        answer = calls.invoke(
            runtime, many.endpoint, models.csv(rows), "text/csv", "text/csv", TargetModel=name
        )
        wanted = models.reference(model, rows)[1]
        values = models.csv_values(answer["Body"])[:, -3:]
        assert abs(values - wanted).max() < 1e-4, name


def test_python_models(python):
    for word in ("one", "two"):
        python.put(f"{word}.tar.gz", saying(word))
    python.start()
    for word in ("one", "two", "one"):
        answer = python.ask(f"{word}.tar.gz", {"n": 1})
        assert (answer["word"], answer["asked"]) == (word, {"n": 1})


def test_scikit_learn_models(deploy, runtime):
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    many = Models(deploy, runtime, image)
    many.put("forest.tar.gz", trained.sklearn_files())
    many.start()
    rows = trained.iris()[0][::7]
    assert many.ask("forest.tar.gz", rows.tolist()) == trained.forest().predict(rows).tolist()


# Names.

HOSTILE = [
    "none.tar.gz", "../t.tar.gz", "a/../../x.tar.gz", "/etc/passwd", "..", ".", "a//b.tar.gz",
    "%2e%2e/x.tar.gz", "one.tar.gz/", "one", "ONE.tar.gz", "one.tar.gz?versionId=1", "\\x.tar.gz",
    "s3://elsewhere/one.tar.gz", "x" * 1024,
]


def test_names_that_are_no_model(python):
    python.put("one.tar.gz", saying("one"))
    # Beside the prefix, not below it.
    python.deploy.s3.put_object(
        Bucket=python.deploy.bucket, Key=f"{python.deploy.name}/t.tar.gz",
        Body=support.archive(saying("not to be found")),
    )
    python.start()
    for name in HOSTILE:
        message = python.refused(name)
        assert message, name
    assert python.ask("one.tar.gz")["word"] == "one"


def test_a_call_without_a_name(python):
    python.put("one.tar.gz", saying("one"))
    python.start()
    message = calls.validation_error(python.runtime, python.endpoint)
    assert "TargetModel" in message, message


def test_a_name_where_there_is_one_model_only(deploy, runtime):
    endpoint = deploy({"model.onnx": models.logistic()})
    message = calls.validation_error(
        runtime, endpoint, models.csv(models.ROWS[:1]), content_type="text/csv", TargetModel="a.gz"
    )
    assert "TargetModel" in message or "multi-model" in message.lower(), message


def test_an_archive_that_cannot_be_loaded(python):
    python.put("bad.tar.gz", support.inference_py("import no_such_package\n"))
    python.put("good.tar.gz", saying("good"))
    python.start()
    assert python.ask("good.tar.gz")["word"] == "good"
    response = calls.refused(python.runtime, python.endpoint, TargetModel="bad.tar.gz")
    assert response["Error"]["Code"] == "ModelError", response
    assert "No module named 'no_such_package'" in response["OriginalMessage"], response
    assert python.ask("good.tar.gz")["word"] == "good"
    # Once it is mended it works.
    python.put("bad.tar.gz", saying("mended"))
    wait_for_word(python, "bad.tar.gz", "mended")


# Archives that change.


def test_a_new_archive_works_at_once(python):
    python.start()
    python.refused("late.tar.gz")
    python.put("late.tar.gz", saying("late"))
    assert python.ask("late.tar.gz")["word"] == "late"


def test_an_overwritten_archive_is_served_fresh(python):
    python.put("one.tar.gz", saying("old"))
    python.start()
    assert python.ask("one.tar.gz")["word"] == "old"
    python.put("one.tar.gz", saying("new"))
    wait_for_word(python, "one.tar.gz", "new")
    # And it stays so.
    assert [python.ask("one.tar.gz")["word"] for _ in range(5)] == ["new"] * 5


def wait_for_word(many, name, word):
    """Whether there is a newer archive need not be asked on each call."""

    def says_it():
        try:
            return many.ask(name)["word"] == word
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ModelError", error.response
            return False

    support.wait_for(says_it, f"{name} says {word}", 15)


# The cache.


def test_no_room_for_all(python, endpoint_url):
    python.options["environment"] = {
        "SAGEBRUSH_MODEL_CACHE_MODELS": "2", "SAGEBRUSH_PINNED_MODELS": "pinned.tar.gz",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    words = ["pinned", "b", "c", "d"]
    for word in words:
        python.put(f"{word}.tar.gz", saying(word))
    python.start()
    load = python.ask("pinned.tar.gz")["load"]
    for word in ("b", "c", "d", "b", "c", "d"):
        assert python.ask(f"{word}.tar.gz")["word"] == word
        loaded = metrics.value(endpoint_url, "sagebrush_loaded_models", endpoint=python.endpoint)
        assert 1 <= loaded <= 2
    # The pinned one was never unloaded.
    assert python.ask("pinned.tar.gz")["load"] == load


def test_hits_and_misses_are_counted(python, endpoint_url):
    def counts():
        return [
            metrics.value(
                endpoint_url, f"sagebrush_model_cache_{what}_total", endpoint=python.endpoint,
                variant="AllTraffic",
            )
            for what in ("hits", "misses")
        ]

    python.put("one.tar.gz", saying("one"))
    python.start()
    for _ in range(5):
        python.ask("one.tar.gz")
    assert counts() == [4, 1]


def test_a_cache_that_is_disabled(python, endpoint_url):
    """Each call has a model of its own, which is unloaded right after."""
    python.options["cache"] = "Disabled"
    for word in ("one", "two"):
        python.put(f"{word}.tar.gz", saying(word))
    python.start()
    for word in ("one", "two", "one"):
        assert python.ask(f"{word}.tar.gz")["word"] == word

    def none_is_loaded():
        name = "sagebrush_loaded_models"
        return metrics.value(endpoint_url, name, endpoint=python.endpoint) == 0

    support.wait_for(none_is_loaded, "no model is loaded", 10)


def test_one_load_for_many_first_calls(client, python, endpoint_url):
    """Twenty callers of a model that is not loaded yet share one load."""
    python.put("one.tar.gz", saying("one"))
    python.start()
    answers = support.in_threads(
        20, lambda i: calls.ask(
            client("sagemaker-runtime", config={"user_agent_extra": f"first-{i}"}),
            python.endpoint, {"i": i}, TargetModel="one.tar.gz",
        )
    )
    assert [answer["asked"] for answer in answers] == [{"i": i} for i in range(20)], answers
    misses = metrics.value(
        endpoint_url, "sagebrush_model_cache_misses_total", endpoint=python.endpoint
    )
    assert misses >= 1
    assert metrics.value(endpoint_url, "sagebrush_loaded_models", endpoint=python.endpoint) == 1


# The long run.


@pytest.fixture
def stage(server):
    """A multi-model endpoint on a server of its own, whose processes can be looked at."""
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="zipf")
    deployment = Deployment(client, "zipf", "zipf")
    many = Models(
        deployment, client("sagemaker-runtime"), support.PYTHON,
        environment={
            "SAGEBRUSH_MODEL_CACHE_MODELS": str(ZIPF_ROOM),
            "SAGEBRUSH_MODEL_CACHE_BYTES": str(ZIPF_BYTES), "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        },
    )
    for i in range(ZIPF_MODELS):
        many.put(f"{i}.tar.gz", saying(f"model {i}"))
    many.client, many.server = client, server
    return many.start()


def test_two_hundred_models_with_room_for_fifty(stage):
    """Popular and unpopular models by Zipf's law: no error but 429, and memory stays flat."""
    at_first = processes.resident([stage.server.process.pid])
    with Watch(stage) as watch:
        outcomes = support.in_threads(ZIPF_THREADS, lambda i: zipf_calls(stage, i))
    for outcome in outcomes:
        assert isinstance(outcome, dict), outcome
    n_answered = sum(outcome["answered"] for outcome in outcomes)
    n_refused = sum(outcome["refused"] for outcome in outcomes)
    print(f"{n_answered} answered, {n_refused} refused with 429, {watch.summary()}")
    assert n_answered >= 0.95 * ZIPF_CALLS
    assert 1 <= max(watch.loaded) <= ZIPF_ROOM
    assert max(watch.resident) <= at_first + ZIPF_BYTES, watch.summary()
    # After the first half nothing grows any more.
    half = len(watch.resident) // 2
    first, second = max(watch.resident[:half]), max(watch.resident[half:])
    assert second <= 1.25 * first + (64 << 20), watch.summary()
    # A model's worker and what it takes to hold it, the loads under way beside them.
    assert max(watch.processes) <= 3 * (ZIPF_ROOM + ZIPF_THREADS), watch.summary()

    stage.deploy.delete(stage.endpoint)
    support.wait_for(lambda: not processes.related(stage.server), "no process is left", 30)
    support.wait_for(lambda: not processes.left_over(stage.server), "no file is left", 10)


def zipf_calls(stage, i):
    """One thread's share of the calls; each answer must be that of the model it asked."""
    client = stage.client("sagemaker-runtime", config={"user_agent_extra": f"zipf-{i}"})
    chance = random.Random(i)
    order = random.Random(0).sample(range(ZIPF_MODELS), ZIPF_MODELS)
    weights = [1 / (rank + 1) for rank in range(ZIPF_MODELS)]
    seen = {"answered": 0, "refused": 0}
    for n in range(ZIPF_CALLS // ZIPF_THREADS):
        [model] = chance.choices(order, weights)
        try:
            answer = calls.ask(
                client, stage.endpoint, {"i": i, "n": n}, TargetModel=f"{model}.tar.gz"
            )
        except ClientError as error:
            response = error.response
            assert response["ResponseMetadata"]["HTTPStatusCode"] == 429, response
            assert response["Error"]["Code"] in (
                "ModelNotReadyException", "ThrottlingException"
            ), response
            seen["refused"] += 1
            continue
        assert (answer["word"], answer["asked"]) == (f"model {model}", {"i": i, "n": n})
        seen["answered"] += 1
    return seen


class Watch:
    """Looks at metrics and processes while calls go on."""

    EVERY = 0.25

    def __init__(self, stage):
        self.stage = stage
        self.loaded, self.resident, self.processes = [], [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _look(self):
        server = self.stage.server
        while not self.over.is_set():
            began = time.monotonic()
            running = processes.descendants(server.process.pid)
            self.loaded.append(
                metrics.value(server.url, "sagebrush_loaded_models", endpoint=self.stage.endpoint)
            )
            self.resident.append(processes.resident(running | {server.process.pid}))
            self.processes.append(len(running))
            # It shares two cores with what it looks at.
            self.over.wait(max(self.EVERY, 4 * (time.monotonic() - began)))

    def summary(self):
        return json.dumps({
            "looks": len(self.loaded), "loaded": max(self.loaded),
            "processes": max(self.processes),
            "MiB": [size >> 20 for size in self.resident[:: max(1, len(self.resident) // 10)]],
        })


def test_an_unloaded_model_s_process_ends(server):
    client = conftest.make_clients(boto3, server.url)
    client("s3").create_bucket(Bucket="one-room")
    deployment = Deployment(client, "one-room", "one-room")
    many = Models(
        deployment, client("sagemaker-runtime"), support.PYTHON,
        environment={"SAGEBRUSH_MODEL_CACHE_MODELS": "1", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )
    for word in ("one", "two"):
        many.put(f"{word}.tar.gz", saying(word))
    many.start()
    at_first = processes.descendants(server.process.pid)
    many.ask("one.tar.gz")
    first = processes.descendants(server.process.pid) - at_first
    assert first
    many.ask("two.tar.gz")
    support.wait_for(lambda: processes.are_gone(first), "the first model's processes end", 10)
    # Its archive stays on disk: loading it again does not fetch it.
    assert many.ask("one.tar.gz")["word"] == "one"
