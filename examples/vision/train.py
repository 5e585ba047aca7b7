"""Makes everything this example ships from nothing but its seeds: model, labels, example pages.

    python examples/vision/train.py
"""

import json

import numpy as np
from PIL import Image

from detect import FOLDER, Detector
from evaluate import evaluate
from export import export
from learn import learn
from network import CLASSES
from pages import Page, compose, load_glyphs

SEED = 7
STEPS = 6000
EXIF_ORIENTATION, QUARTER_TURN_RIGHT = 0x0112, 6


def save_truth(name: str, page: Page) -> None:
    """The boxes of a page, in pixels of the upright picture, shaped like an answer."""
    height, width, _ = page.pixels.shape
    truth = {
        "detections": [
            {"label": str(label), "class": label, "box": box}
            for box, label in zip(page.boxes.tolist(), page.labels.tolist(), strict=True)
        ],
        "image": {"width": width, "height": height},
    }
    (FOLDER / "pages" / f"{name}.truth.json").write_text(json.dumps(truth, indent=2) + "\n")


def write_example_pages() -> None:
    """Three held-out pages, one each for plain, letterboxed and EXIF-turned input."""
    (FOLDER / "pages").mkdir(exist_ok=True)
    _, glyphs = load_glyphs()

    def page(seed: int, width: int, height: int, quiet: bool = False) -> Page:
        rng = np.random.default_rng([SEED, seed])
        scale = max(width, height) / 640
        return compose(rng, glyphs, width, height, 14, scale=scale, quiet=quiet)

    square = page(102, 640, 640, quiet=True)
    Image.fromarray(square.pixels).save(FOLDER / "pages/square.png", optimize=True)
    save_truth("square", square)

    wide = page(206, 1280, 720)
    Image.fromarray(wide.pixels).save(FOLDER / "pages/wide.jpg", quality=85)
    save_truth("wide", wide)

    portrait = page(301, 720, 960)
    turned = Image.fromarray(portrait.pixels).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN_RIGHT
    turned.save(FOLDER / "pages/portrait.jpg", quality=85, exif=exif)
    save_truth("portrait", portrait)


def main() -> None:
    write_example_pages()
    (FOLDER / "labels.txt").write_text("".join(f"{kind}\n" for kind in range(CLASSES)))
    export(learn(SEED, STEPS), FOLDER / "model.onnx")
    print(json.dumps(evaluate(Detector()), indent=2))


if __name__ == "__main__":
    main()
