"""Writes the pictures beside it that `image` cannot write. Run: `python make.py` with Pillow."""

from pathlib import Path

from PIL import Image, __version__

HERE = Path(__file__).parent
COLOUR = (200, 100, 50)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def flat() -> None:
    plain = Image.new("RGB", (24, 16), COLOUR)
    palette = plain.quantize(4)
    palette.save(HERE / "palette.png")
    palette.save(HERE / "palette_alpha.png", transparency=0)
    Image.new("1", (24, 16), 1).save(HERE / "one_bit.png")
    interlaced(HERE / "interlaced.png")
    plain.convert("CMYK").save(HERE / "cmyk.jpg", quality=95)
    plain.save(HERE / "progressive.jpg", quality=95, progressive=True)
    plain.save(HERE / "lossy.webp", quality=90)
    clear = Image.new("RGBA", (24, 16), (*COLOUR, 128))
    clear.save(HERE / "lossy_alpha.webp", quality=90)
    other = Image.new("RGB", (24, 16), (0, 0, 255))
    plain.save(HERE / "animated.webp", quality=90, save_all=True, append_images=[other])


def interlaced(path: Path) -> None:
    """Pillow does not write Adam7."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width, height, rows = 24, 16, b""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    for x, y, dx, dy in [*passes, (0, 1, 1, 2)]:
        row = b"\0" + bytes(COLOUR) * len(range(x, width, dx))
        rows += row * len(range(y, height, dy))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def scene() -> None:
    picture = Image.new("RGB", (61, 37))
    for y in range(37):
        for x in range(61):
            picture.putpixel((x, y), (x * 4, (x * y * 7) % 256, 255 - y * 6))
    picture.save(HERE / "scene.png")
    for name, how in FILTERS.items():
        (HERE / f"scene_{name}.rgb").write_bytes(picture.resize((16, 9), how).tobytes())


def luma() -> None:
    """JPEGs and what Pillow decodes of them when asked for their luma alone."""
    picture = Image.open(HERE / "scene.png").crop((5, 3, 42, 26))
    kinds = {"444": {"subsampling": 0}, "422": {"subsampling": 1}, "420": {"subsampling": 2}}
    for name, how in {**kinds, "progressive": {"progressive": True}}.items():
        picture.save(HERE / f"luma_{name}.jpg", quality=85, **how)
        with Image.open(HERE / f"luma_{name}.jpg") as stored:
            stored.draft("L", stored.size)
            (HERE / f"luma_{name}.l").write_bytes(stored.tobytes())


def photo() -> None:
    """JPEGs of something like a photograph: slopes, grain, edges, writing."""
    from random import Random

    from PIL import ImageDraw, ImageFilter

    random, size = Random(4), (333, 251)
    slopes = [Image.linear_gradient("L").rotate(40 * turn).resize(size) for turn in range(3)]
    picture = Image.merge("RGB", slopes)
    draw = ImageDraw.Draw(picture)
    for number in range(30):
        x, y, side = random.randrange(333), random.randrange(251), random.randrange(5, 60)
        colour = tuple(random.randrange(256) for _ in "rgb")
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape([x, y, x + side, y + side], outline=colour, fill=colour if number % 3 else None)
        draw.text((x, y), f"sagebrush {number}", fill=colour)
    grain = bytes(random.randrange(24) for _ in range(333 * 251))
    picture.paste((0, 0, 0), mask=Image.frombytes("L", size, grain))
    picture = picture.filter(ImageFilter.GaussianBlur(0.7))
    for name, how in {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "restarts": {"subsampling": 2, "restart_marker_blocks": 7},
    }.items():
        picture.save(HERE / f"photo_{name}.jpg", quality=85, **how)


flat()
scene()
luma()
photo()
print("Pillow", __version__)
