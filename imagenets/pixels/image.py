"""Encoded image in, RGB pixels out: all of them, or just those of a box."""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

Data = bytes | memoryview


def decode_into(data: Data, out: npt.NDArray[np.uint8]) -> None:
    """Decodes all of an image as Pillow's `convert("RGB")` does.

    Args:
        data: The encoded image.
        out: H x W x 3, contiguous; written.

    Raises:
        ValueError: It cannot be decoded, or has another size.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except ValueError:  # not for simplejpeg, or broken: Pillow says which
        pixels = out[:] = _decode_slowly(data, out.shape)
    if pixels.shape != out.shape:
        raise ValueError(_other_size(pixels.shape, out.shape))


def _decode_slowly(data: Data, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # palettes with transparency and the like
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"does not decode: {error}") from error
    if pixels.shape != shape:
        raise ValueError(_other_size(pixels.shape, shape))
    return pixels


def _other_size(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return f"it has {found[1]} x {found[0]} pixels, its record says {wanted[1]} x {wanted[0]}"
