"""Makes what `cargo xtask bench` measures with: a forest of 200 trees, a row, a 1280x720 JPEG."""

import pathlib
import sys

import numpy as np
from PIL import Image
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

ROOT = pathlib.Path(__file__).resolve().parents[3]


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "forest").mkdir(parents=True, exist_ok=True)
    iris = load_iris()
    rows = iris.data.astype(np.float32)
    forest = RandomForestClassifier(n_estimators=200, random_state=0).fit(rows, iris.target)
    options = {id(forest): {"zipmap": False}}
    model = to_onnx(forest, rows[:1], options=options).SerializeToString()
    (out / "forest/model.onnx").write_bytes(model)
    (out / "row.csv").write_text(",".join(str(value) for value in rows[75]))
    page = Image.open(ROOT / "examples/vision/pages/wide.jpg").convert("RGB")
    page.resize((1280, 720), Image.Resampling.LANCZOS).save(out / "page.jpg", quality=90)


if __name__ == "__main__":
    main()
