"""Makes what `cargo xtask bench` measures with, and what must come back.

forest/      a forest of 200 trees and its questions: rows-<n>.csv
cnn/         a MobileNetV2 with made-up weights, its serving.json, and pictures: picture-<n>.jpg
many/        200 forests, each with answers of its own
expected.json  the numbers that each answer must hold
"""

import json
import pathlib
import sys

import network
import numpy as np
import onnx
import onnxruntime
from PIL import Image, ImageOps
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROWS = [0, 20, 50, 70, 75, 100, 120, 140]
MANY = 200
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    expected = {"rows": forest(out), "pictures": cnn(out), "many": MANY}
    (out / "expected.json").write_text(json.dumps(expected))


def forest(out):
    iris = load_iris()
    rows = iris.data.astype(np.float32)
    # Columns that are nearly noise, so that the trees do not agree.
    trees = RandomForestClassifier(n_estimators=200, random_state=0)
    trees.fit(rows + np.random.default_rng(0).normal(0, 0.7, rows.shape), iris.target)
    model = to_onnx(trees, rows[:1], options={id(trees): {"zipmap": False}})
    folder(out / "forest")
    (out / "forest/model.onnx").write_bytes(model.SerializeToString())
    for number, row in enumerate(ROWS):
        (out / f"row-{number}.csv").write_text(",".join(str(value) for value in rows[row]))
    many(out, model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return [session.run(None, {"X": rows[row : row + 1]})[1][0].tolist() for row in ROWS]


def many(out, model):
    """The n-th model's probabilities are 1 + n/1000 times the forest's."""
    folder(out / "many")
    (weights,) = [a for a in model.graph.node[0].attribute if a.name == "class_weights"]
    as_learnt = np.array(weights.floats, dtype=np.float64)
    for number in range(MANY):
        weights.floats[:] = (as_learnt * (1 + number / 1000)).tolist()
        (out / f"many/model-{number}.onnx").write_bytes(model.SerializeToString())
    weights.floats[:] = as_learnt.tolist()


def cnn(out):
    folder(out / "cnn")
    model = network.mobilenet_v2(np.random.default_rng(1))
    onnx.save(model, out / "cnn/model.onnx")
    image = {
        "width": 224, "height": 224, "resize": "cover", "filter": "bilinear",
        "mean": MEAN, "std": STD,
    }
    output = {"classification": {"activation": "softmax", "top_k": 5}}
    serving = {"version": 1, "input": {"image": image}, "output": output}
    (out / "cnn/serving.json").write_text(json.dumps(serving))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    page = Image.open(ROOT / "examples/vision/pages/wide.jpg").convert("RGB")
    best = []
    for number, (angle, colour) in enumerate([(0, 0), (90, 60), (180, 120), (270, 180)]):
        turned = page.rotate(angle, expand=True)
        picture = ImageOps.fit(turned, (1280, 720), Image.Resampling.LANCZOS)
        picture = tinted(picture, colour)
        path = out / f"picture-{number}.jpg"
        picture.save(path, quality=90)
        scores = session.run(None, {"input": tensor(Image.open(path))})[0][0]
        best.append(int(scores.argmax()))
    assert len(set(best)) > 1, "the pictures cannot be told apart"
    return best


def tinted(picture, degrees):
    hue, saturation, value = picture.convert("HSV").split()
    hue = hue.point(lambda old: (old + degrees * 255 // 360) % 256)
    saturation = saturation.point(lambda old: min(255, old + 60))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def tensor(picture):
    small = ImageOps.fit(picture.convert("RGB"), (224, 224), Image.Resampling.BILINEAR)
    values = (np.asarray(small, dtype=np.float32) / 255 - MEAN) / STD
    return values.transpose(2, 0, 1)[None].astype(np.float32)


def folder(path):
    path.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
