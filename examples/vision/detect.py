"""Finds digits in a picture: the plain reference for what a server answers with this model."""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
FILTERS = {"bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Letterbox:
    """Where the picture lies in the model's input, to carry boxes back."""

    ratio: float
    left: int
    top: int
    width: int
    height: int

    def restore(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the input as boxes of the picture, cut at its edges."""
        boxes = (boxes - [self.left, self.top, self.left, self.top]) / self.ratio
        return boxes.clip(0.0, [self.width, self.height, self.width, self.height])


def open_picture(path: Path) -> Image.Image:
    """The picture as a person sees it: turned as its EXIF tag says, in RGB."""
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def letterbox(picture: Image.Image, spec: dict[str, Any]) -> tuple[np.ndarray, Letterbox]:
    """The `[1, 3, height, width]` tensor that `serving.json` asks for."""
    if (spec["resize"], spec["channels"], spec["layout"]) != ("letterbox", "rgb", "nchw"):
        raise ValueError("this reference letterboxes RGB pictures into NCHW tensors only")
    ratio = min(spec["width"] / picture.width, spec["height"] / picture.height)
    # Halves round up, as in most languages; Python's round() takes them to the even side.
    width = max(1, math.floor(picture.width * ratio + 0.5))
    height = max(1, math.floor(picture.height * ratio + 0.5))
    left, top = (spec["width"] - width) // 2, (spec["height"] - height) // 2
    canvas = Image.new("RGB", (spec["width"], spec["height"]), tuple(spec["pad"]))
    canvas.paste(picture.resize((width, height), FILTERS[spec["filter"]]), (left, top))
    pixels = np.asarray(canvas, np.float32) * np.float32(spec["scale"])
    pixels = (pixels - np.float32(spec["mean"])) / np.float32(spec["std"])
    tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    return tensor, Letterbox(ratio, left, top, picture.width, picture.height)


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Overlap of one box with many."""
    inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = inner.clip(0.0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, threshold: float
) -> list[int]:
    """Per class, keeps each best box and drops the lesser ones that cover the same place."""
    kept: list[int] = []
    waiting = np.argsort(-scores, kind="stable")
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        rival = classes[waiting] == classes[best]
        waiting = waiting[~(rival & (iou(boxes[best], boxes[waiting]) > threshold))]
    return kept


def read_output(
    output: np.ndarray, spec: dict[str, Any], place: Letterbox
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, classes and scores of one picture, best first."""
    classes, scores = output[4:].argmax(0), output[4:].max(0)
    likely = scores >= spec["score_threshold"]
    classes, scores = classes[likely], scores[likely]
    centre, half = output[:2, likely].T, output[2:4, likely].T / 2
    boxes = np.concatenate([centre - half, centre + half], 1)
    kept = suppress(boxes, scores, classes, spec["iou_threshold"])[:spec["max_detections"]]
    return place.restore(boxes[kept]), classes[kept], scores[kept]


class Detector:
    """The exported model behind the settings of `serving.json`."""

    def __init__(self, folder: Path = FOLDER, threads: int = 1) -> None:
        serving = json.loads((folder / "serving.json").read_text())
        self.image = serving["input"]["image"]
        self.output = serving["output"]["detections"]
        self.labels = (folder / self.output["labels"]).read_text().splitlines()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """The raw output tensor for a batch of inputs."""
        return self.session.run([self.output["tensor"]], {self.image["tensor"]: tensor})[0]

    def detect(self, picture: Image.Image) -> dict[str, Any]:
        """The answer, shaped as the server gives it."""
        tensor, place = letterbox(picture, self.image)
        found = zip(*read_output(self.run(tensor)[0], self.output, place), strict=True)
        return {
            "detections": [
                {
                    "label": self.labels[kind],
                    "class": int(kind),
                    "score": float(score),
                    "box": [float(edge) for edge in box],
                }
                for box, kind, score in found
            ],
            "image": {"width": picture.width, "height": picture.height},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    print(json.dumps(Detector().detect(open_picture(parser.parse_args().picture)), indent=2))


if __name__ == "__main__":
    main()
