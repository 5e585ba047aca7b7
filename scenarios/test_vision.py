"""examples/vision: pictures in, labelled boxes out, the same as the reference says."""

import importlib.util
import json
import sys

import pytest

import support

VISION = support.ROOT / "examples/vision"
PAGES = sorted(path for path in (VISION / "pages").glob("*") if path.suffix in (".jpg", ".png"))
CONTENT_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}

pytestmark = pytest.mark.skipif(
    not (VISION / "model.onnx").is_file(), reason="examples/vision has no model yet"
)


@pytest.fixture(scope="module")
def reference():
    """The example's own detector: Python's ONNX Runtime and Pillow."""
    spec = importlib.util.spec_from_file_location("detect", VISION / "detect.py")
    sys.modules["detect"] = detect = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detect)
    detector = detect.Detector()
    return lambda page: detector.detect(detect.open_picture(page))


@pytest.fixture(scope="module")
def vision(client, endpoint_url):
    """One endpoint for all pages."""
    from deployment import Deployment

    s3, bucket = client("s3"), "vision-scenario"
    s3.create_bucket(Bucket=bucket)
    deployment = Deployment(client, "vision-scenario", bucket)
    files = {
        name: (VISION / name).read_bytes() for name in ("model.onnx", "serving.json", "labels.txt")
    }
    yield deployment(files)
    deployment.clean()
    s3.delete_object(Bucket=bucket, Key="vision-scenario/model.tar.gz")
    s3.delete_bucket(Bucket=bucket)


def test_a_page_with_exif_is_among_them():
    from PIL import Image

    orientations = {Image.open(page).getexif().get(0x0112, 1) for page in PAGES}
    assert orientations - {1}, "no committed page is turned"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_answer_is_the_reference_s(runtime, vision, reference, page):
    answer = runtime.invoke_endpoint(
        EndpointName=vision, Body=page.read_bytes(), ContentType=CONTENT_TYPES[page.suffix]
    )
    assert answer["ContentType"].startswith("application/json")
    seen, wanted = json.loads(answer["Body"].read()), reference(page)
    assert wanted["detections"], "a page without digits proves nothing"
    assert seen["image"] == wanted["image"]
    assert_same(detections(seen), detections(wanted))


def detections(answer):
    """(label, box) in an order of places, so that near-equal scores may change theirs."""
    boxes = [(entry["label"], entry["box"]) for entry in answer["detections"]]
    return sorted(boxes, key=lambda entry: (round(entry[1][1] / 8), entry[1][0]))


def assert_same(seen, wanted):
    assert [label for label, _ in seen] == [label for label, _ in wanted]
    for (label, box), (_, reference) in zip(seen, wanted, strict=True):
        off = max(abs(a - b) for a, b in zip(box, reference, strict=True))
        assert off <= 2.0, (label, box, reference)
