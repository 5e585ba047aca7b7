"""What every peer does with a question: the same packages, the same settings.

One thread a session, because there are as many workers as cores.
"""

import io
import os
import pathlib

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

INPUTS = pathlib.Path(os.environ["BENCH_INPUTS"])
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
SCALE = 1 / (255 * np.array([0.229, 0.224, 0.225], dtype=np.float32))
SHIFT = MEAN * 255 * SCALE


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = INPUTS / model / "model.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Row:
    def __init__(self):
        self.session = session("forest")

    def of_csv(self, text):
        """As in most services that take CSV: the standard library's floats."""
        return self.of_values([[float(value) for value in text.split(",")]])

    def of_values(self, rows):
        label, probabilities = self.session.run(None, {"X": np.asarray(rows, dtype=np.float32)})
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


class Picture:
    def __init__(self):
        self.session = session("cnn")

    def of_bytes(self, body):
        image = Image.open(io.BytesIO(body))
        image.draft("RGB", (224, 224))  # libjpeg decodes at a reduced scale.
        image = ImageOps.fit(image.convert("RGB"), (224, 224), Image.Resampling.BILINEAR)
        values = np.asarray(image, dtype=np.float32) * SCALE - SHIFT
        tensor = np.ascontiguousarray(values.transpose(2, 0, 1)[None])
        logits = self.session.run(None, {"input": tensor})[0][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argpartition(scores, -5)[-5:]
        best = best[np.argsort(-scores[best])]
        return [{"class": int(n), "score": float(scores[n])} for n in best]
