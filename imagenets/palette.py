"""The fixed colour of every id, masks laid over photographs, and what the colours stand for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imagenets.masks import BACKGROUND, IGNORED

_LINE = 16
"""Height of one line of a key, pixels."""


@cache
def palette() -> npt.NDArray[np.uint8]:
    """Gives the fixed colour of every id: 0 black, 1000 white, neighbours far apart.

    Returns:
        1001 x 3 uint8, R, G and B of the ids 0..1000. Every call gives the same array, so copy it
        before you change it.
    """
    ids = np.arange(IGNORED + 1)
    hue = ids * 0.618034 % 1.0  # steps of the golden ratio never come close to each other
    value = np.array([1.0, 0.75, 0.9])[ids % 3]
    wave = np.abs((hue[:, None] * 6 + [0, 4, 2]) % 6 - 3) - 1
    saturation = np.array([1.0, 0.6])[ids % 2][:, None]
    rgb = value[:, None] * (1 - saturation * (1 - wave.clip(0, 1)))
    rgb[BACKGROUND], rgb[IGNORED] = 0.0, 1.0
    colours: npt.NDArray[np.uint8] = (rgb * 255).round().astype(np.uint8)
    return colours


def overlay(
    photo: npt.NDArray[np.uint8], ids: npt.NDArray[np.integer], share: float = 0.6
) -> npt.NDArray[np.uint8]:
    """Lays a mask over a photograph; the background stays as it is.

    Args:
        photo: H x W x 3 uint8 RGB.
        ids: H x W ids from 0, of any integer dtype. Those above 1000 get the colour of 1000.
        share: Of the colour in the result, 0 (the photograph alone) to 1 (the colour alone).

    Returns:
        H x W x 3 uint8.
    """
    shown = ids.clip(max=IGNORED)
    shares = np.where(shown == BACKGROUND, 0.0, share)[..., None]
    mixed: npt.NDArray[np.uint8] = (photo * (1 - shares) + palette()[shown] * shares).astype(
        np.uint8
    )
    return mixed


def with_key(picture: npt.NDArray[np.uint8], names: Mapping[int, str]) -> npt.NDArray[np.uint8]:
    """Writes below a picture what its colours stand for, one line an id.

    Args:
        picture: H x W x 3 uint8 RGB.
        names: Id 0..1000 -> name, in the order of the lines.

    Returns:
        H' x W x 3 uint8, H' = H + 16 pixels for each name; a long line is cut at the edge.
    """
    key = Image.new("RGB", (picture.shape[1], _LINE * len(names)), "white")
    draw = ImageDraw.Draw(key)
    for line, (i, name) in enumerate(names.items()):
        top = line * _LINE + 3
        colour = tuple(palette()[i].tolist())
        draw.rectangle((3, top, 12, top + 9), fill=colour, outline="black")
        draw.text((18, top), f"{i} {name}", fill="black")
    return np.concatenate([picture, np.asarray(key)])
