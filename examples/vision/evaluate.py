"""Measures the exported model on pages written with digits that training never saw."""

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from detect import Detector, iou, letterbox, read_output
from pages import Page, compose, load_glyphs

PAGES = 200
SEED = 20_000
# Every second page is not square, so that letterboxing is part of what is measured.
SHAPES = ((640, 640), (1280, 720), (640, 640), (720, 960))
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def held_out_pages(count: int = PAGES) -> Iterator[Page]:
    """Pages whose digits measure 20 to 120 pixels once they are letterboxed into 640x640."""
    _, glyphs = load_glyphs()
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        width, height = SHAPES[number % len(SHAPES)]
        blocks = int(rng.integers(4, 25))
        yield compose(rng, glyphs, width, height, blocks, scale=max(width, height) / 640)


def matches(page: Page, boxes: np.ndarray, classes: np.ndarray, wanted: float) -> np.ndarray:
    """Which findings, best first, are a digit of the page that no better finding has claimed."""
    hit = np.zeros(len(boxes), bool)
    free = np.ones(len(page.labels), bool)
    for index, (box, kind) in enumerate(zip(boxes, classes, strict=True)):
        covers = np.where(free & (page.labels == kind), iou(box, page.boxes), 0.0)
        if covers.size and covers.max() >= wanted:
            hit[index] = True
            free[covers.argmax()] = False
    return hit


def average_precision(scores: np.ndarray, hits: np.ndarray, total: int) -> float:
    """Precision averaged over 101 recalls, each the best still reached at that recall or more."""
    hits = hits[np.argsort(-scores, kind="stable")]
    found = hits.cumsum()
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(found / total, RECALLS)
    return float(np.append(precision, 0.0)[place].mean())


def evaluate(detector: Detector) -> dict[str, Any]:
    """mAP over classes, precision and recall as served, and the time of one page."""
    pages = list(held_out_pages())
    listing = detector.output | {"score_threshold": 0.01}
    results, spans = [], []
    for page in pages:
        tensor, place = letterbox(Image.fromarray(page.pixels), detector.image)
        began = time.perf_counter()
        output = detector.run(tensor)[0]
        spans.append(time.perf_counter() - began)
        results.append(read_output(output, listing, place))
    classes = np.concatenate([found[1] for found in results])
    scores = np.concatenate([found[2] for found in results])
    truth = np.concatenate([page.labels for page in pages])
    precisions = np.zeros((len(IOUS), 10))
    for row, wanted in enumerate(IOUS):
        hits = np.concatenate([
            matches(page, boxes, kinds, wanted)
            for page, (boxes, kinds, _) in zip(pages, results, strict=True)
        ])
        for kind in range(10):
            mine = classes == kind
            total = int((truth == kind).sum())
            precisions[row, kind] = average_precision(scores[mine], hits[mine], total)
        if row == 0:
            served = scores >= detector.output["score_threshold"]
            right, answers = int(hits[served].sum()), int(served.sum())
    return {
        "pages": len(pages),
        "digits": len(truth),
        "map50": round(float(precisions[0].mean()), 4),
        "map50_95": round(float(precisions.mean()), 4),
        "ap50_by_class": {str(kind): round(float(precisions[0, kind]), 4) for kind in range(10)},
        "precision_as_served": round(right / answers, 4),
        "recall_as_served": round(right / len(truth), 4),
        "milliseconds_per_page": round(float(np.median(spans)) * 1e3, 2),
    }


if __name__ == "__main__":
    print(json.dumps(evaluate(Detector()), indent=2))
