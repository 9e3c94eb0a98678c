"""The one mask codec: a mask is an RGB PNG whose class id is R + 256 * G; B is unused."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from imagenets.core.files import write_file
from imagenets.errors import CorruptError, UsageError
from imagenets.pixels import png
from imagenets.pixels.image import DECODE_ERRORS

BACKGROUND = 0
"""Id of pixels of no class of the tier; the published word is "other"."""

OTHER = BACKGROUND
"""The same by the published word."""

IGNORED = 1000
"""Id of pixels left out of every count and loss."""

MAX_PIXELS = 1 << 27
"""The largest image of ImageNet has half of this; a larger mask is refused before decoding."""

Ids = npt.NDArray[np.uint16]


def from_rgb(rgb: npt.NDArray[np.uint8]) -> Ids:
    """Turns a mask image into ids.

    Args:
        rgb: H x W x 3 uint8. B is not looked at.

    Returns:
        H x W uint16 ids, R + 256 * G.
    """
    ids: Ids = rgb[..., 1].astype(np.uint16)  # widened first: uint8 * 256 overflows on NumPy 2
    ids <<= 8
    ids |= rgb[..., 0]
    return ids


def to_rgb(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Turns ids into a mask image.

    Args:
        ids: H x W ids 0..65535, of any integer dtype. The range is not checked.

    Returns:
        H x W x 3 uint8, with B = 0.
    """
    rgb = np.zeros((*ids.shape, 3), np.uint8)
    rgb[..., 0] = ids & 255
    rgb[..., 1] = ids >> 8
    return rgb


def decode(data: bytes | memoryview | str | Path, name: str | None = None) -> Ids:
    """Reads a mask PNG.

    Args:
        data: The PNG's bytes, or the path of the file.
        name: What to call it in an error; the path by default.

    Returns:
        H x W uint16 ids.

    Raises:
        CorruptError: The data is no readable RGB PNG, has a B that is not 0, or claims more than
            MAX_PIXELS.
        FileNotFoundError: There is no such file.
    """
    what = name or (str(data) if isinstance(data, str | Path) else "mask")
    if isinstance(data, str):
        data = Path(data).expanduser()
    encoded = data.read_bytes() if isinstance(data, Path) else data
    head = png.header(encoded)
    if head is None:
        raise CorruptError(f"{what}: not a readable PNG (it does not begin like one).")
    width, height, bits = head
    if width * height > MAX_PIXELS:
        raise CorruptError(f"{what}: not a readable PNG (it claims {width} x {height} pixels).")
    try:
        ids = png.decode(encoded)
        if ids is not None:
            return ids
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the bound
            opened = Image.open(io.BytesIO(encoded), formats=["PNG"])
        with opened as image:
            if image.mode != "RGB" or bits != 8:
                raise CorruptError(
                    f"{what}: a mask must be an RGB PNG (id = R + 256 * G) of 8 bits a channel, "
                    f"this one has mode {image.mode} and {bits} bits. "
                    "Write it with imagenets.masks.save."
                )
            rgb = np.asarray(image)
            if rgb[..., 2].any():
                raise CorruptError(
                    f"{what}: B is not 0 everywhere, as it is in a mask (id = R + 256 * G). Was it "
                    "written in B, G, R order, as OpenCV does? Write it with imagenets.masks.save."
                )
            return from_rgb(rgb)
    except CorruptError:
        raise
    except UnidentifiedImageError:
        raise CorruptError(f"{what}: not a readable PNG (its header is broken).") from None
    except DECODE_ERRORS as error:
        raise CorruptError(f"{what}: not a readable PNG ({error}).") from error


def encode(ids: npt.NDArray[np.integer]) -> bytes:
    """Writes ids as an RGB PNG, in the form that `decode` reads fastest.

    The same ids give the same bytes.

    Args:
        ids: H x W ids 0..65535, of any integer dtype.

    Returns:
        The PNG's bytes.

    Raises:
        UsageError: The array is empty, not two-dimensional or holds other ids.
    """
    whole = ids.dtype.kind in "iu" and ids.ndim == 2 and ids.size
    if not whole or ids.min() < 0 or ids.max() > 0xFFFF:
        raise UsageError(
            f"a mask must be H x W ids from 0 to 65535, not an array of {ids.dtype} {ids.shape}."
        )
    return png.encode(ids)


def load(path: str | Path) -> Ids:
    """Reads a mask from a file.

    Args:
        path: Of the PNG; `~` is expanded.

    Returns:
        H x W uint16 ids.

    Raises:
        CorruptError: The file is no mask; see `decode`.
        FileNotFoundError: There is no such file.
    """
    return decode(Path(path).expanduser())


def save(path: str | Path, ids: npt.NDArray[np.integer]) -> None:
    """Writes a mask to a file in one step; see `encode`.

    Args:
        path: Of the PNG; an older one is replaced.
        ids: H x W, 0..65535.

    Raises:
        UsageError: The array is no mask.
        OSError: It cannot be written.
    """
    write_file(Path(path).expanduser(), encode(ids), durable=False)
