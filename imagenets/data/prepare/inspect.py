"""One sample's bytes, checked: an image that decodes, a mask of its size, both ready to store."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from imagenets import masks
from imagenets.data.prepare.archive import decode_mask
from imagenets.errors import CorruptError
from imagenets.pixels.image import DECODE_ERRORS, DecodeError, decoding, open_image

_ORIENTATION = 0x0112  # the EXIF tag
_MANY_PIXELS = 1 << 26  # above this Pillow decides whether an image is a decompression bomb


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded image: its bytes, its size in pixels as decoded, what is odd about it."""

    data: bytes
    width: int
    height: int
    oddities: tuple[str, ...] = ()


def inspect(data: bytes, where: object) -> EncodedImage:
    """Reads an image's size and oddities from its header.

    Args:
        data: The encoded image.
        where: Names the image in errors, as `str` makes it.

    Raises:
        CorruptError: It is no image.
    """
    if b"Exif\0" not in data:  # most: a tenth of the time that Pillow takes
        with suppress(*DECODE_ERRORS):
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours in ("YCbCr", "Gray") and width * height <= _MANY_PIXELS:
                return EncodedImage(
                    data, width, height, ("greyscale",) if colours == "Gray" else ()
                )
    image = _open(data, where)
    return EncodedImage(data, *image.size, _oddities(image))


def check_decodes(data: bytes, where: object) -> None:
    """Checks that all of an image can be decoded.

    Reads every coefficient of a JPEG, which is where damage shows, but spares the arithmetic that
    makes pixels of them: greyscale at an eighth of the size.

    Raises:
        CorruptError: It cannot.
    """
    try:
        simplejpeg.decode_jpeg(
            data, "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8, strict=True
        )
    except DECODE_ERRORS:  # Pillow decodes more than simplejpeg, such as PNGs named JPEG
        _load(_open(data, where), where)


def shrink(
    data: bytes, where: object, short_side: int, quality: int
) -> tuple[EncodedImage, EncodedImage]:
    """Re-encodes an image so that its short side has `short_side` pixels.

    An image that is not larger is kept as it is: enlarging adds bytes, no detail.

    Returns:
        The image as it was, and as it is to be stored.

    Raises:
        CorruptError: It does not decode.
    """
    image = _open(data, where)
    _load(image, where)
    width, height = image.size
    original = EncodedImage(data, width, height, _oddities(image))
    if min(width, height) <= short_side:
        return original, original
    factor = short_side / min(width, height)
    size = (max(short_side, round(width * factor)), max(short_side, round(height * factor)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # palettes with transparency and the like
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return original, EncodedImage(buffer.getvalue(), *size)


def store_mask(
    data: bytes, where: str, classes: int, original: EncodedImage, stored: EncodedImage
) -> bytes:
    """Re-encodes a mask into the PNG that decodes fastest, at the stored image's size.

    Args:
        data: The published PNG.
        where: Names it in errors.
        classes: Number of classes of the tier.
        original: The raw image; the mask must have its size.
        stored: The image as stored; the mask is brought to its size by nearest neighbour.

    Raises:
        CorruptError: It does not decode, has ids outside the tier, or another size.
    """
    ids = decode_mask(data, where, classes)
    height, width = ids.shape
    if (width, height) != (original.width, original.height):
        raise CorruptError(
            f"{where}: the mask has {width} x {height} pixels, its image "
            f"{original.width} x {original.height}. One of the two is not the published file."
        )
    if (width, height) != (stored.width, stored.height):
        rows = (np.arange(stored.height) * 2 + 1) * height // (2 * stored.height)
        columns = (np.arange(stored.width) * 2 + 1) * width // (2 * stored.width)
        ids = ids[rows[:, None], columns]
    return masks.encode(ids)


def _open(data: bytes, where: object) -> Image.Image:
    """Reads the header."""
    with _faults(where):
        return open_image(data)


def _load(image: Image.Image, where: object) -> None:
    """Decodes all of an image."""
    with _faults(where), decoding():
        image.load()


@contextmanager
def _faults(where: object) -> Iterator[None]:
    """Names the image that does not decode."""
    try:
        yield
    except DecodeError as error:
        raise CorruptError(f"{where}: {error}. Replace it with the original.") from error


def _oddities(image: Image.Image) -> tuple[str, ...]:
    odd = []
    if image.format != "JPEG":
        odd.append(f"{image.format} named JPEG")
    if image.mode not in ("RGB", "L"):
        odd.append(image.mode)
    elif image.mode == "L":
        odd.append("greyscale")
    if "exif" in image.info and _orientation(image) not in (None, 1):
        odd.append("EXIF orientation")
    return tuple(odd)


def _orientation(image: Image.Image) -> object:
    try:
        with decoding():
            return image.getexif().get(_ORIENTATION)
    except DecodeError:
        return None  # a broken EXIF block turns nothing
