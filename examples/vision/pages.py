"""Pages of handwritten digits, composed from the scanned digits of scikit-learn."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from sklearn.datasets import load_digits

HELD_OUT = 360
PAD_GREY = 114
SIZES = (20.0, 120.0)
CELL = 8
# Letters that no reader takes for a digit: printed text must teach "not a digit", never confuse.
LETTERS = list("AEFHKMNRTWXYacehkmnrtvwx")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Rng = np.random.Generator
Rect = tuple[int, int, int, int]


@dataclass(frozen=True)
class Glyphs:
    """Ink fields, smooth enough to be sampled at any size and cut into strokes of any width."""

    fields: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Page:
    """A picture with the tight boxes (x1, y1, x2, y2 in pixels) of the digits on it."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def load_glyphs() -> tuple[Glyphs, Glyphs]:
    """Training and held-out digits.

    The set seems to be stored writer after writer: its tail is read less well than a shuffled
    sample, which would let the same hands into both sides and flatter the figures.
    """
    digits = load_digits()
    padded = np.pad(digits.images / 16.0, ((0, 0), (2, 2), (2, 2)))
    zoom = (1, CELL, CELL)
    fields = ndimage.zoom(padded, zoom, order=3, mode="grid-constant", grid_mode=True)
    fields = fields.astype(np.float32)
    labels = digits.target.astype(np.int32)
    cut = len(labels) - HELD_OUT
    return Glyphs(fields[:cut], labels[:cut]), Glyphs(fields[cut:], labels[cut:])


def ink(rng: Rng, field: np.ndarray, size: float) -> np.ndarray:
    """One digit as an opacity mask, cut to its tight box, `size` pixels being its eight cells."""
    angle, shear = rng.normal(0.0, 0.08), rng.normal(0.0, 0.1)
    aspect = math.exp(rng.normal(0.0, 0.1))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, 0.0], [shear, 1.0]])
    turn = turn @ np.diag([1.0, aspect]) * (size / (8 * CELL))
    side = math.ceil(size * 1.6)
    axis = np.arange(side) + 0.5 - side / 2
    wave = axis / size
    phase, turns = rng.uniform(0.0, 2 * math.pi, 2), rng.uniform(4.0, 9.0, 2)
    wobble = rng.normal(0.0, 0.016, 2) * size
    y = axis[:, None] + wobble[0] * np.sin(wave * turns[0] + phase[0])
    x = axis + wobble[1] * np.sin(wave * turns[1] + phase[1])[:, None]
    back, middle = np.linalg.inv(turn), field.shape[0] / 2 - 0.5
    source = np.stack([
        back[0, 0] * y + (back[0, 1] * x + middle), back[1, 0] * y + (back[1, 1] * x + middle)
    ])
    sampled = ndimage.map_coordinates(field, source, order=1, output=np.float32)
    level = rng.uniform(0.36, 0.56)
    edge = size / CELL * rng.uniform(0.4, 1.2)
    mask = np.clip((sampled - level) * edge + 0.5, 0.0, 1.0)
    rows, columns = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
    return mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def smooth_noise(rng: Rng, width: int, height: int, pitch: float) -> np.ndarray:
    """Noise with features about `pitch` pixels wide: shading, paper fibre, stains."""
    coarse = rng.normal(size=(math.ceil(height / pitch) + 2, math.ceil(width / pitch) + 2))
    image = Image.fromarray(coarse.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def paper_colour(rng: Rng) -> np.ndarray:
    """White and cream papers mostly, coloured papers and dark boards at times."""
    kind = rng.random()
    if kind < 0.55:
        return rng.uniform(205, 250) + rng.normal(0, 6, 3)
    if kind < 0.8:
        return rng.uniform(90, 245, 3)
    return rng.uniform(15, 70) + rng.uniform(0, 45, 3)


def ink_colour(rng: Rng, paper: np.ndarray) -> np.ndarray:
    """Any colour that a person would still read on this paper."""
    while True:
        spread = 90 if rng.random() < 0.5 else 255
        base = rng.uniform(0, 255 - spread)
        colour = rng.uniform(base, base + spread, 3)
        if abs((colour - paper) @ LUMA) > 80:
            return colour.astype(np.float32)


def background(rng: Rng, width: int, height: int, paper: np.ndarray, fibre: bool) -> np.ndarray:
    """An empty sheet: tone, shading, fibre, rules, and printed matter that is no digit."""
    sheet = np.tile(paper.astype(np.float32), (height, width, 1))
    if rng.random() < 0.5:
        slope = rng.normal(0, 18, 2)
        ramp = np.linspace(-1, 1, height)[:, None] * slope[0] + np.linspace(-1, 1, width) * slope[1]
        sheet += ramp[..., None].astype(np.float32)
    if rng.random() < 0.35:
        stain = smooth_noise(rng, width, height, rng.uniform(40, 160)) * rng.uniform(3, 12)
        sheet += stain[..., None] * rng.uniform(0.6, 1.0, 3).astype(np.float32)
    if fibre and rng.random() < 0.4:
        texture = smooth_noise(rng, width, height, rng.uniform(1.5, 6)) * rng.uniform(2, 9)
        sheet += texture[..., None]
    image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.45:
        rule_lines(rng, draw, width, height, paper)
    if rng.random() < 0.35:
        clutter(rng, draw, width, height, paper)
    return np.asarray(image, np.float32)


def tint(rng: Rng, paper: np.ndarray, low: float, high: float) -> tuple[int, int, int]:
    """A print colour between the paper and an ink, so that rules range from faint to strong."""
    mixed = paper + (ink_colour(rng, paper) - paper) * rng.uniform(low, high)
    red, green, blue = np.clip(mixed, 0, 255).astype(int).tolist()
    return red, green, blue


def rule_lines(
    rng: Rng, draw: ImageDraw.ImageDraw, width: int, height: int, paper: np.ndarray
) -> None:
    """Rules as in exercise books: lines, at times squares, at times a margin."""
    pitch, colour = rng.uniform(18, 90), tint(rng, paper, 0.15, 0.7)
    thick, slant = int(rng.integers(1, 3)), rng.normal(0, 0.01) * width
    for y in np.arange(rng.uniform(0, pitch), height, pitch):
        draw.line((0, y, width, y + slant), colour, thick)
    if rng.random() < 0.4:
        for x in np.arange(rng.uniform(0, pitch), width, pitch):
            draw.line((x, 0, x, height), colour, thick)
    elif rng.random() < 0.4:
        x = rng.uniform(0, width)
        draw.line((x, 0, x, height), tint(rng, paper, 0.3, 0.9), thick)


def clutter(
    rng: Rng, draw: ImageDraw.ImageDraw, width: int, height: int, paper: np.ndarray
) -> None:
    """Printed words, dots and long strokes: what a form carries besides its digits."""
    for _ in range(rng.poisson(1 + width * height / 60000)):
        x, y, kind = rng.uniform(0, width), rng.uniform(0, height), rng.random()
        colour = tint(rng, paper, 0.3, 1.0)
        if kind < 0.5:
            font = ImageFont.load_default(rng.uniform(12, 48))
            word = "".join(rng.choice(LETTERS, int(rng.integers(1, 7))))
            draw.text((x, y), word, colour, font)
        elif kind < 0.75:
            radius = rng.uniform(0.5, 3.0)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
        else:
            angle, reach = rng.uniform(0, math.pi), rng.uniform(150, 500)
            end = (x + reach * math.cos(angle), y + reach * math.sin(angle))
            draw.line((x, y, *end), colour, int(rng.integers(1, 4)))


def free_spot(rng: Rng, taken: list[Rect], area: Rect, width: int, height: int) -> Rect | None:
    """A place for a block of digits that touches no other block, if a few tries find one."""
    left, top, right, bottom = area
    if width >= right - left or height >= bottom - top:
        return None
    for _ in range(12):
        x, y = int(rng.integers(left, right - width)), int(rng.integers(top, bottom - height))
        spot = (x, y, x + width, y + height)
        if all(
            spot[2] + 3 < other[0] or other[2] + 3 < x or spot[3] + 3 < other[1] or other[3] + 3 < y
            for other in taken
        ):
            return spot
    return None


def write_digits(
    rng: Rng,
    glyphs: Glyphs,
    sheet: np.ndarray,
    paper: np.ndarray,
    area: Rect,
    blocks: int,
    scale: float,
    skew: float,
) -> tuple[list[Rect], list[int]]:
    """Writes blocks of one to five digits onto the sheet and tells where each digit landed."""
    boxes: list[Rect] = []
    labels: list[int] = []
    taken: list[Rect] = []
    pen = ink_colour(rng, paper)
    several_pens = rng.random() < 0.3
    for _ in range(blocks):
        size = SIZES[0] * (SIZES[1] / SIZES[0]) ** (rng.random() ** skew) * scale
        length = int(rng.integers(2, 6)) if rng.random() < 0.3 else 1
        picks = rng.integers(0, len(glyphs.labels), length)
        masks = [ink(rng, glyphs.fields[pick], size) for pick in picks]
        gaps = rng.uniform(0.1, 0.35, length) * size + 1
        drops = np.abs(rng.normal(0, 0.04, length)) * size
        height = max(int(drop) + mask.shape[0] for drop, mask in zip(drops, masks, strict=True))
        width = sum(int(gap) + mask.shape[1] for gap, mask in zip(gaps, masks, strict=True))
        spot = free_spot(rng, taken, area, width, height)
        if spot is None:
            continue
        taken.append(spot)
        colour = ink_colour(rng, paper) if several_pens else pen
        strength = rng.uniform(0.75, 1.0)
        x = spot[0]
        for pick, mask, gap, drop in zip(picks, masks, gaps, drops, strict=True):
            x, y = x + int(gap), spot[1] + int(drop)
            box = (x, y, x + mask.shape[1], y + mask.shape[0])
            under = sheet[box[1]:box[3], box[0]:box[2]]
            under += (colour - under) * (mask * strength)[..., None]
            boxes.append(box)
            labels.append(int(glyphs.labels[pick]))
            x = box[2]
    return boxes, labels


def camera(rng: Rng, sheet: np.ndarray) -> np.ndarray:
    """Blur, sensor noise and JPEG blocks, as a scan or a phone adds them."""
    image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.4:
        pixels = np.asarray(image, np.float32)
        noise = rng.standard_normal(pixels.shape, np.float32) * rng.uniform(1, 9)
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=int(rng.integers(30, 95)))
        image = Image.open(stored)
    return np.asarray(image, np.uint8)


def compose(
    rng: Rng,
    glyphs: Glyphs,
    width: int,
    height: int,
    blocks: int,
    *,
    scale: float = 1.0,
    skew: float = 1.0,
    area: Rect | None = None,
    quiet: bool = False,
) -> Page:
    """One page with digits of any size alike, or with more small ones where `skew` is over 1.

    `quiet` leaves out fibre and camera noise, which no lossless format can pack.
    """
    paper = paper_colour(rng)
    sheet = background(rng, width, height, paper, fibre=not quiet)
    area = area or (0, 0, width, height)
    boxes, labels = write_digits(rng, glyphs, sheet, paper, area, blocks, scale, skew)
    pixels = np.clip(sheet, 0, 255).astype(np.uint8) if quiet else camera(rng, sheet)
    return Page(pixels, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32))


def training_crop(rng: Rng, glyphs: Glyphs, side: int) -> Page:
    """A dense crop, at times with the grey bars that letterboxing leaves around a picture.

    Small digits are the hard ones to read, so there are more of them than on a page.
    """
    left, top, right, bottom = 0, 0, side, side
    if rng.random() < 0.25:
        bar = int(rng.integers(8, side // 2))
        match rng.integers(4):
            case 0: left = bar
            case 1: top = bar
            case 2: right = side - bar
            case _: bottom = side - bar
    area = (left, top, right, bottom)
    page = compose(rng, glyphs, side, side, int(rng.integers(0, 10)), skew=1.7, area=area)
    pixels = np.full_like(page.pixels, PAD_GREY)
    pixels[top:bottom, left:right] = page.pixels[top:bottom, left:right]
    return Page(pixels, page.boxes, page.labels)
