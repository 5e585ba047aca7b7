"""Transform jobs and `kill -9`: what comes of a job does not show how often it was cut off."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

import conftest
import models
import processes
import support
from deployment import Deployment
from transforms import LENGTHS, Transforms, lengths, many_lines

boto3 = pytest.importorskip("boto3")

KILLS = int(os.environ.get("SAGEBRUSH_TRANSFORM_KILLS", "3"))
MILLION = int(os.environ.get("SAGEBRUSH_TRANSFORM_ROWS", "0"))


@pytest.fixture
def own(server):
    """Clients of the server that is killed; made anew, so that no dead connection is kept."""
    return lambda: conftest.make_clients(boto3, server.url)


def test_killed_again_and_again_the_outputs_are_the_same(server, own):
    client = own()
    client("s3").create_bucket(Bucket="job")
    transforms = Transforms(client, "job")
    model = Deployment(client, "job", "job").model(
        {"code/inference.py": LENGTHS}, image=support.PYTHON, environment={"NAP": "0.01"}
    )
    texts = {f"part-{i:02}.csv": many_lines(120 + i, i * 1000) for i in range(20)}
    for key, text in texts.items():
        transforms.put(f"in/{key}", text)
    settings = {
        "BatchStrategy": "SingleRecord", "DataProcessing": {"JoinSource": "Input"},
        "MaxConcurrentTransforms": 2,
    }
    transforms.create("undisturbed", model, output="calm", **settings)
    transforms.completed("undisturbed", 180)
    transforms.create("killed", model, output="out", **settings)
    chance = random.Random(7)
    written = set()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.2, 1.5))
        server.kill()
        server.start()
        transforms = Transforms(own(), "job")
        now = set(transforms.keys("out/"))
        assert now >= written, "an output is gone"
        written = now
    transforms.completed("killed", 180)
    assert transforms.keys("out/") == [f"out/{key}.out" for key in texts]
    for key, text in texts.items():
        calm = transforms.get(f"calm/{key}.out")
        assert transforms.get(f"out/{key}.out") == calm
        joined = zip(text.splitlines(), lengths(text).splitlines(), strict=True)
        assert calm.decode() == "".join(f"{line},{length}\n" for line, length in joined)


def test_a_server_that_is_told_to_stop_does_not_fail_its_jobs(server, own):
    client = own()
    client("s3").create_bucket(Bucket="job")
    transforms = Transforms(client, "job")
    model = Deployment(client, "job", "job").model(
        {"code/inference.py": LENGTHS}, image=support.PYTHON, environment={"NAP": "0.05"}
    )
    text = many_lines(100)
    transforms.put("in/x.csv", text)
    transforms.create("job", model, BatchStrategy="SingleRecord")
    support.wait_for(lambda: transforms.describe("job").get("TransformStartTime"), "its start")
    assert server.stop() == 0
    server.start()
    transforms = Transforms(own(), "job")
    transforms.completed("job")
    assert transforms.get("out/x.csv.out").decode() == lengths(text)


def test_workers_that_are_killed_cost_retries_and_no_records(server, own):
    client = own()
    client("s3").create_bucket(Bucket="job")
    transforms = Transforms(client, "job")
    model = Deployment(client, "job", "job").model(
        {"code/inference.py": LENGTHS}, image=support.PYTHON, environment={"NAP": "0.02"}
    )
    text = many_lines(200)
    transforms.put("in/x.csv", text)
    transforms.create("job", model, BatchStrategy="SingleRecord")
    support.wait_for(lambda: transforms.describe("job").get("TransformStartTime"), "its start")
    for pids in (processes.leaves, processes.descendants):
        time.sleep(0.5)
        processes.kill(pids(server.process.pid))
    transforms.completed("job")
    assert transforms.get("out/x.csv.out").decode() == lengths(text)


def test_an_output_of_an_earlier_job_is_not_taken_for_this_ones(server, own):
    client = own()
    client("s3").create_bucket(Bucket="job")
    transforms = Transforms(client, "job")
    model = Deployment(client, "job", "job").model(
        {"code/inference.py": LENGTHS}, image=support.PYTHON
    )
    transforms.put("in/x.csv", "one\n")
    transforms.create("first", model)
    transforms.completed("first")
    transforms.put("in/x.csv", "three\n")
    transforms.create("second", model)
    server.kill()
    server.start()
    transforms = Transforms(own(), "job")
    transforms.completed("second")
    assert transforms.get("out/x.csv.out") == b"5\n"


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.skipif(not MILLION, reason="set SAGEBRUSH_TRANSFORM_ROWS to a million")
def test_a_million_rows_stream_through(server, own):
    client = own()
    client("s3").create_bucket(Bucket="job")
    transforms = Transforms(client, "job")
    model = Deployment(client, "job", "job").model({"model.onnx": models.logistic()})
    rows = models.csv(models.ROWS).splitlines()
    text = "".join(f"{i},{rows[i % len(rows)]}\n" for i in range(MILLION)).encode()
    transforms.put("in/rows.csv", text)
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.05):
            peak[0] = max(peak[0], resident_bytes(server.process.pid))

    # A small job first: what the libraries take is no matter of this one.
    transforms.put("few/rows.csv", text[: 1 << 20].rsplit(b"\n", 1)[0])
    processing = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    transforms.create("few", model, source="few/", output="few-out", DataProcessing=processing)
    transforms.completed("few", 600)
    before = resident_bytes(server.process.pid)
    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    transforms.create("many", model, DataProcessing=processing)
    transforms.completed("many", 3600)
    took = time.monotonic() - started
    ended.set()
    watcher.join()
    grown = peak[0] - before
    print(f"{MILLION} rows, {len(text)} bytes: {took:.1f} s, {MILLION / took:.0f} rows/s, "
          f"{before >> 20} MiB before, {grown >> 20} MiB more at most")
    written = transforms.get("out/rows.csv.out").splitlines()
    assert len(written) == MILLION
    assert written[-1].startswith(f"{MILLION - 1},".encode())
    assert grown < 192 << 20
