"""Small pictures inside a page: photographs, masks in their colours, maps as heat."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks
from imagenets.palette import palette

SIDE = 200
"""Longest side of a picture, pixels."""

STRIP = 64
"""Side of the squares in a strip, pixels."""

_HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""From none to all of a map: black, violet, red, orange, light yellow."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Attributes:
        label: Stands below it.
        source: Its data, as a URI.
        alt: What it shows, for those who do not see it.
        is_mask: Whether its colours are those of the card's legend.
    """

    label: str
    source: str
    alt: str
    is_mask: bool = False


@dataclass(frozen=True)
class Key:
    """What a colour of a mask stands for.

    Attributes:
        name: Of the class.
        rgb: The colour, 0..255.
    """

    name: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Card:
    """An image of a gallery.

    Attributes:
        name: Of the image.
        measures: What is said of it.
        pictures: Photograph, masks and maps of it.
        legend: What the colours of the masks stand for.
    """

    name: str
    measures: str
    pictures: Sequence[Picture]
    legend: Sequence[Key]


def photograph(pixels: Pixels) -> str:
    """A data URI of an H x W x 3 photograph at the size of the page."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    return _webp(image, 72)


def mask(ids: npt.NDArray[np.integer[Any]]) -> str:
    """A data URI of an H x W mask in its colours, without loss: colours can be looked up."""
    height, width = ids.shape
    wide, high = fitted(width, height)
    rows, columns = (np.arange(n) * full // n for n, full in ((high, height), (wide, width)))
    small = ids[rows[:, None], columns]
    present, places = np.unique(small, return_inverse=True)
    if len(present) > 256:  # more than a PNG's palette holds
        return _png(Image.fromarray(palette()[small]))
    image = Image.fromarray(places.reshape(small.shape).astype(np.uint8))
    image.putpalette(palette()[present].tobytes())
    return _png(image)


def heat(level: npt.NDArray[np.floating[Any]], photo: Pixels) -> str:
    """A data URI of an H x W map as heat over the grey photograph of the same size.

    The lowest finite value of the map is dark, the highest light.
    """
    finite = level[np.isfinite(level)].astype(np.float64)
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    if high <= low or not finite.size:
        low, high = 0.0, 1.0
    level = ((np.clip(level.astype(np.float64), low, high)) - low) / (high - low)
    image = Image.fromarray(photo).convert("L").convert("RGB")
    coloured = Image.fromarray(_heat_colours()[(level * 255).astype(np.uint8)])
    mixed = Image.blend(image, coloured, 0.7)
    mixed.thumbnail((SIDE, SIDE))
    return _webp(mixed, 72)


def strip(photos: Iterable[Pixels]) -> str:
    """A data URI of squares side by side, each the middle of a photograph."""
    squares = [_square(Image.fromarray(pixels)) for pixels in photos]
    whole = Image.new("RGB", (STRIP * len(squares), STRIP))
    for place, square in enumerate(squares):
        whole.paste(square, (place * STRIP, 0))
    return _webp(whole, 55)


def legend(parts: Sequence[npt.NDArray[np.integer[Any]]], names: Mapping[int, str]) -> list[Key]:
    """What the colours of some masks stand for, in the order of the ids.

    Args:
        parts: The masks.
        names: Id -> name.
    """
    present = np.unique(np.concatenate([np.unique(part) for part in parts])).tolist()
    told = {masks.BACKGROUND: "background", masks.IGNORED: "ignored", **names}
    return [Key(told.get(i, f"id {i}"), _rgb(i)) for i in present]


def fitted(width: int, height: int) -> tuple[int, int]:
    """A width and height that fit into the size of the page."""
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _rgb(number: int) -> tuple[int, int, int]:
    red, green, blue = palette()[min(number, masks.IGNORED)].tolist()
    return red, green, blue


@cache
def _heat_colours() -> Pixels:
    anchors = np.array(_HEAT)
    at = np.linspace(0, 255, len(anchors))
    columns = [np.interp(np.arange(256), at, anchors[:, channel]) for channel in range(3)]
    return np.stack(columns, 1).round().astype(np.uint8)


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((STRIP, STRIP), box=(left, top, left + side, top + side), reducing_gap=2.0)


def _webp(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
