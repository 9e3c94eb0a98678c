"""Forms in which people hold predicted masks; the published one is the first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks
from imagenets.errors import CorruptError
from imagenets.pixels import png
from imagenets.pixels.image import DECODE_ERRORS

Format = Literal["rgb", "gray16", "npy"]

SUFFIXES: Mapping[Format, str] = MappingProxyType({"rgb": ".png", "gray16": ".png", "npy": ".npy"})
"""What the files of each form end in."""


def decode(form: Format, data: bytes | memoryview, name: str) -> masks.Ids:
    """Reads a mask of one of the forms.

    Args:
        form: "rgb", id = R + 256 * G; "gray16", a PNG of one channel and 16 bits that holds ids; or
            "npy", a NumPy file of H x W whole numbers.
        data: The file's bytes.
        name: What to call it in an error.

    Returns:
        H x W uint16 ids.

    Raises:
        CorruptError: The data is not of this form, or holds numbers that are no uint16.
    """
    if form == "rgb":
        return masks.decode(data, name)
    try:
        ids = _npy(data) if form == "npy" else _gray16(data)
    except (*DECODE_ERRORS, MemoryError) as error:
        raise CorruptError(f"{name}: not a readable {form} mask ({error}).") from error
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size:
        raise CorruptError(
            f"{name}: a mask is H x W whole numbers, this one has shape {ids.shape} and type "
            f"{ids.dtype}."
        )
    if ids.min() < 0 or ids.max() > np.iinfo(np.uint16).max:
        raise CorruptError(f"{name}: holds ids from {ids.min()} to {ids.max()}; write 0..1000.")
    return ids.astype(np.uint16)


def _npy(data: bytes | memoryview) -> npt.NDArray[Any]:
    ids: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return ids


def _gray16(data: bytes | memoryview) -> npt.NDArray[Any]:
    head = png.header(data)
    if head is None or head[0] * head[1] > masks.MAX_PIXELS:
        raise ValueError("not a PNG, or one too large")
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.mode not in ("I;16", "I;16B", "I") or head[2] != 16:
            raise ValueError(
                f"its mode is {image.mode}, {head[2]} bits, not 16 bits of one channel"
            )
        return np.asarray(image)
