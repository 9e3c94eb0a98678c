"""JPEG files of every kind, from the pictures of the generated sample."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from imagenets.data.raw import synthetic_images as drawing

SIZES = ((1, 1), (3, 40), (16, 16), (17, 33), (48, 32), (75, 100), (163, 122), (200, 151))
"""Widths and heights: tiny and odd ones, MCUs a row even, odd, and multiples of 3."""


def save(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def as_rgb(file: bytes) -> bytes:
    """The file with an Adobe segment for JFIF's: its components are red, green and blue then."""
    assert file[2:4] == b"\xff\xe0"
    return file[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + file[20:]


@cache
def picture(number: int, size: tuple[int, int]) -> Image.Image:
    """A drawn scene with some noise, RGB."""
    rng = np.random.default_rng(number)
    drawn = Image.fromarray(drawing.draw(rng, number % len(drawing.CATEGORIES)).rgb).resize(size)
    noise = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(drawn) + noise, 0, 255).astype(np.uint8))


@cache
def plain() -> dict[str, bytes]:
    """Files that get restart markers, by what is special about them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    files = {}
    for number, size in enumerate(SIZES):
        image = picture(number, size)
        grey = image.convert("L")
        pixels = np.asarray(image)
        name = f"{size[0]}x{size[1]}"
        files |= {
            f"4:4:4 {name}": save(image, subsampling=0, quality=92),
            f"4:2:2 {name}": save(image, subsampling=1),
            f"4:2:0 {name}": save(image, quality=60),
            f"4:4:0 {name}": simplejpeg.encode_jpeg(pixels, 85, "RGB", "440"),
            f"4:1:1 {name}": simplejpeg.encode_jpeg(pixels, 85, "RGB", "411"),
            f"grey {name}": save(grey),
            f"RGB {name}": as_rgb(save(image, subsampling=0)),
            f"optimised {name}": save(image, optimize=True, quality=30),
            f"with markers {name}": save(image, restart_marker_blocks=5),
            f"with markers each row {name}": save(image, restart_marker_rows=1, subsampling=0),
            f"EXIF, comment, ICC {name}": save(
                image, exif=exif, comment=b"a\xff\xd9b", icc_profile=bytes(3000)
            ),
            f"quality 100 {name}": save(image, quality=100),
            f"quality 1 {name}": save(image, quality=1, optimize=True),
        }
    return files


@cache
def odd() -> dict[str, bytes]:
    """Files that are stored as they are, yet decode."""
    image = picture(9, (163, 122))
    png, paletted = io.BytesIO(), io.BytesIO()
    image.convert("RGBA").save(png, "PNG")
    image.convert("P").save(paletted, "PNG", transparency=3)
    return {
        "progressive": save(image, progressive=True),
        "progressive 4:4:4": save(image, progressive=True, subsampling=0),
        "progressive grey": save(image.convert("L"), progressive=True),
        "progressive with markers": save(image, progressive=True, restart_marker_blocks=7),
        "CMYK": save(image.convert("CMYK")),
        "PNG": png.getvalue(),
        "paletted PNG": paletted.getvalue(),
    }


def broken(file: bytes) -> dict[str, bytes]:
    """What has no decodable end, or is nothing at all."""
    return {
        "empty": b"",
        "text": b"no image",
        "start": file[:2],
        "header": file[:300],
        "half": file[: len(file) // 2],
        "without its end": file[:-2],
    }
