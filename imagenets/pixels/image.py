"""Encoded image in, RGB pixels out: the one decoder, and the one list of what decoders raise."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

Data = bytes | bytearray | memoryview

DECODE_ERRORS = (
    OSError,  # Pillow, for most damage
    SyntaxError,  # Pillow, for PNG chunks
    ValueError,  # simplejpeg, Pillow
    EOFError,
    LookupError,  # simplejpeg, for sampling factors that it has no name for; Pillow
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,  # a header that claims more than there is
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow and simplejpeg raise on files that are damaged or that they do not know."""


class DecodeError(ValueError):
    """An image cannot be decoded; the message says why, whoever catches it says which."""


@contextmanager
def decoding() -> Iterator[None]:
    """Turns whatever a decoder raises into a `DecodeError`, and keeps its warnings quiet.

    Raises:
        DecodeError: The block raised one of `DECODE_ERRORS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF blocks, palettes with transparency
            yield
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("not an image") from None
    except DECODE_ERRORS as error:
        raise DecodeError(f"does not decode: {error or type(error).__name__}") from error


def open_image(data: Data | Path) -> Image.Image:
    """Reads an image's header with Pillow; its pixels are read when they are used.

    Raises:
        DecodeError: It is no image.
    """
    with decoding():
        return Image.open(data if isinstance(data, Path) else io.BytesIO(data))


def size(data: Data | Path) -> tuple[int, int]:
    """Width and height from an image's header.

    Raises:
        DecodeError: It is no image.
    """
    with open_image(data) as image:
        return image.size


def decode(data: Data) -> npt.NDArray[np.uint8]:
    """Decodes all of an image as Pillow's `convert("RGB")` does: H x W x 3.

    Raises:
        DecodeError: It cannot be decoded.
    """
    with decoding(), Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def decode_into(data: Data, out: npt.NDArray[np.uint8]) -> None:
    """Decodes all of an image as `decode` does.

    Args:
        data: The encoded image.
        out: H x W x 3, contiguous; written.

    Raises:
        DecodeError: It cannot be decoded, or has another size.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except DECODE_ERRORS:  # not for simplejpeg, or broken: Pillow says which
        pixels = decode(data)
        if pixels.shape == out.shape:
            out[:] = pixels
    if pixels.shape != out.shape:
        raise DecodeError(
            f"it has {pixels.shape[1]} x {pixels.shape[0]} pixels, its record says "
            f"{out.shape[1]} x {out.shape[0]}"
        )
