"""The one mask codec: a mask is an RGB PNG whose class id is R + 256 * G; B is unused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets.errors import CorruptError

OTHER = 0
"""Id of pixels of no class of the tier (background)."""

IGNORED = 1000
"""Id of pixels left out of every count and loss."""

Ids = npt.NDArray[np.uint16]


def from_rgb(rgb: npt.NDArray[np.uint8]) -> Ids:
    """Turns an H x W x 3 uint8 mask image into H x W uint16 ids."""
    ids: Ids = rgb[..., 1].astype(np.uint16)  # widened first: uint8 * 256 overflows on NumPy 2
    ids <<= 8
    ids |= rgb[..., 0]
    return ids


def to_rgb(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Turns H x W ids (0..65535, any integer dtype) into an H x W x 3 uint8 mask image."""
    rgb = np.zeros((*ids.shape, 3), np.uint8)
    rgb[..., 0] = ids & 255
    rgb[..., 1] = ids >> 8
    return rgb


def decode(data: bytes | memoryview | Path, name: str | None = None) -> Ids:
    """Reads a mask PNG.

    Args:
        data: The PNG's bytes, or the path of the file.
        name: What to call it in an error; the path by default.

    Returns:
        H x W uint16 ids.

    Raises:
        CorruptError: The data is no readable RGB PNG.
    """
    what = name or (str(data) if isinstance(data, Path) else "mask")
    try:
        with Image.open(data if isinstance(data, Path) else io.BytesIO(data)) as image:
            if image.mode != "RGB":
                raise CorruptError(
                    f"{what}: a mask must be an RGB PNG (id = R + 256 * G), this one has mode "
                    f"{image.mode}. Write it with imagenets.masks.encode."
                )
            return from_rgb(np.asarray(image))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on broken PNGs
        raise CorruptError(f"{what}: not a readable PNG ({error}).") from error


def encode(ids: npt.NDArray[np.integer]) -> bytes:
    """Writes H x W ids as the bytes of an RGB PNG, the same bytes for the same ids."""
    buffer = io.BytesIO()
    Image.fromarray(to_rgb(ids)).save(buffer, "PNG")
    return buffer.getvalue()
