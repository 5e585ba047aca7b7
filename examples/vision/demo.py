"""Asks an endpoint about a page, with nothing but boto3, and draws what it answered."""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import boto3
from PIL import Image, ImageDraw, ImageFont, ImageOps

FOLDER = Path(__file__).parent
CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
COLOUR = (220, 40, 40)


def ask(endpoint: str, page: Path) -> tuple[dict[str, Any], float]:
    """The endpoint's answer and how long it took, in seconds."""
    runtime = boto3.client("sagemaker-runtime")  # AWS_ENDPOINT_URL says where.
    call = {
        "EndpointName": endpoint,
        "ContentType": CONTENT_TYPES[page.suffix.lower()],
        "Body": page.read_bytes(),
    }
    runtime.invoke_endpoint(**call)  # The first call pays for the connection.
    began = time.perf_counter()
    answer = json.loads(runtime.invoke_endpoint(**call)["Body"].read())
    return answer, time.perf_counter() - began


def annotate(page: Path, answer: dict[str, Any]) -> Image.Image:
    """The page with each box and its label on it."""
    picture = ImageOps.exif_transpose(Image.open(page)).convert("RGB")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for found in answer["detections"]:
        left, top, right, bottom = found["box"]
        draw.rectangle((left, top, right, bottom), outline=COLOUR, width=3)
        text = f"{found['label']} {found['score']:.2f}"
        place = (left, max(0, top - 24))
        draw.rectangle(draw.textbbox(place, text, font), fill=COLOUR)
        draw.text(place, text, (255, 255, 255), font)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=FOLDER / "pages/square.png")
    parser.add_argument("--endpoint", default="digits")
    parser.add_argument("--out", type=Path, default=Path("target/demo/annotated.png"))
    options = parser.parse_args()
    answer, seconds = ask(options.endpoint, options.page)
    print(json.dumps(answer, indent=2))
    print(f"{len(answer['detections'])} digits in {seconds * 1000:.1f} ms")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the result, so that the next command a person tries has a page to send.
    shutil.copyfile(options.page, options.out.parent / f"page{options.page.suffix}")
    annotate(options.page, answer).save(options.out)
    print(f"The page with the boxes on it: {options.out}")


if __name__ == "__main__":
    main()
