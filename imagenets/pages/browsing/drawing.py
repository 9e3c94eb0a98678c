"""The pictures of a browser: photographs as JPEG, masks as PNG in the published form."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks

LARGE, SMALL = 320, 144
"""Longest side of a photograph that was clicked on, and of one among many; pixels."""


def drawn_photos(pixels: npt.NDArray[np.uint8]) -> tuple[str, str]:
    """An H x W x 3 photograph, large and small, as base64 of JPEGs."""
    image = Image.fromarray(pixels)
    image.thumbnail((LARGE, LARGE))
    large = _jpeg(image, 78)
    image.thumbnail((SMALL, SMALL))
    return large, _jpeg(image, 72)


def drawn_mask(ids: npt.NDArray[np.integer[Any]]) -> str:
    """An H x W mask at the size of the large photograph, as base64 of a PNG: id = R + 256 * G.

    A pixel takes the id at its place: no new ids arise.
    """
    height, width = ids.shape
    scale = min(1.0, LARGE / max(width, height))
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    rows, columns = (np.arange(n) * full // n for n, full in ((high, height), (wide, width)))
    buffer = io.BytesIO()
    Image.fromarray(masks.to_rgb(ids[rows[:, None], columns])).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _jpeg(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return base64.b64encode(buffer.getvalue()).decode()
