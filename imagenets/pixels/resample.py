"""Crops of one image on the CPU: Pillow's antialiased resampling, several times as fast.

The arithmetic is Pillow's (weights of 22 bits behind the point, rows first, then columns, bytes
between), so results are equal bit by bit; the way there is not (`resample_loops.py`).

Nothing here imports torch, and nothing holds the interpreter's lock while it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagenets.errors import UsageError
from imagenets.pixels.resample_loops import nearest_at, resize_at, scale_at

Mode = Literal["bilinear", "bicubic"]

_CODES = {("bilinear", True): 0, ("bicubic", True): 1, ("bilinear", False): 2}


def filter_code(mode: Mode, antialias: bool = True) -> int:
    """The number by which compiled loops and kernels know a filter.

    Args:
        mode: Bilinear, or bicubic with a = -0.5, as in Pillow.
        antialias: Whether the filter widens where it shrinks. False takes the nearest pixels
            whatever the scale, as OpenCV does; there is no such bicubic.

    Raises:
        UsageError: There is no such filter.
    """
    if (mode, antialias) not in _CODES:
        raise UsageError(
            f"there is no filter mode={mode!r} with antialias={antialias}: choose bilinear, or "
            "bicubic with antialias=True."
        )
    return _CODES[mode, antialias]


Box = tuple[int, int, int, int]


def resize_crop_into(
    source: NDArray[np.uint8],
    box: Box,
    flip: bool,
    out: NDArray[np.uint8],
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> None:
    """Cuts a box out of an image, resizes it, and mirrors it if asked to.

    Equals `Image.resize(size, filter, box)` of Pillow up to 12 bit by bit (Pillow 13 takes the
    columns first where an image is much higher than the result: then within 1 of 255). As there,
    a filter reaches over the edge of the box where the image goes on: for a crop that is cut off
    first, hand over the view of its pixels.

    Args:
        source: H x W x 3; rows may be strided.
        box: Left, top, width, height, inside the image.
        flip: Mirror the result horizontally.
        out: h x w x 3 or 3 x h x w, contiguous; written. One that could be either is h x w x 3.
        mode: The filter, see `filter_code`.
        antialias: Whether it widens where it shrinks.
    """
    _check(source, box, out, np.uint8, 3)
    rows, columns = source.shape[:2]
    if source.strides[1:] != (3, 1) or source.strides[0] < 3 * columns:
        source = np.ascontiguousarray(source)
    place = source.__array_interface__["data"][0], source.strides[0], columns, rows
    left, top, width, height = map(int, box)
    code, planes = filter_code(mode, antialias), out.shape[2] != 3
    resize_at(*place, left, top, width, height, bool(flip), code, planes, _rows(out))


def check_box(box: Sequence[int], width: int, height: int) -> None:
    """Refuses a box that reaches out of an image: compiled code would read what lies there.

    Raises:
        UsageError: With box and image.
    """
    left, top, wide, high = box
    if left < 0 or top < 0 or wide < 1 or high < 1 or left + wide > width or top + high > height:
        raise UsageError(
            f"box {tuple(map(int, box))} (left, top, width, height) is not inside an image of "
            f"{width} x {height} pixels."
        )


def _check(
    source: NDArray[Any], box: Box, out: NDArray[Any], dtype: type[np.generic], channels: int
) -> None:
    """Refuses what compiled code would take at its word."""
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
        raise UsageError(
            f"the image must be uint8, H x W x 3, not {source.dtype} of shape {source.shape}."
        )
    if out.dtype != dtype or out.ndim != 3 or channels not in (out.shape[0], out.shape[2]):
        raise UsageError(
            f"the result must be {np.dtype(dtype)}, h x w x 3 or 3 x h x w, not {out.dtype} of "
            f"shape {out.shape}."
        )
    if not out.size or not out.flags.c_contiguous or not out.flags.writeable:
        raise UsageError("the result must be contiguous, writeable and not empty.")
    check_box(box, source.shape[1], source.shape[0])


def _rows(out: NDArray[Any]) -> NDArray[Any]:
    """A view: h x (w x 3) of an interleaved image, (3 x h) x w of planes."""
    return out.reshape(-1, out.shape[2]) if out.shape[2] != 3 else out.reshape(len(out), -1)


def crop_normalised_into(
    source: NDArray[np.uint8],
    box: Box,
    flip: bool,
    out: NDArray[np.float32],
    scale: NDArray[np.float32],
    bias: NDArray[np.float32],
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> None:
    """Writes the crop of `resize_crop_into`, times scale plus bias of its channel.

    Args:
        source: As there.
        box: As there.
        flip: As there.
        out: float32, h x w x 3 or 3 x h x w, contiguous; written.
        scale: 3 float32, 1 / (255 std).
        bias: 3 float32, -mean / std.
        mode: The filter, see `filter_code`.
        antialias: Whether it widens where it shrinks.
    """
    _check(source, box, out, np.float32, 3)
    for name, values in (("scale", scale), ("bias", bias)):
        if values.shape != (3,) or values.dtype != np.float32:
            raise UsageError(f"{name} must be 3 float32, not {values.dtype} of {values.shape}.")
    scale, bias = np.ascontiguousarray(scale), np.ascontiguousarray(bias)
    crop = np.empty(out.shape, np.uint8)
    resize_crop_into(source, box, flip, crop, mode, antialias)
    scale_at(_rows(crop), out.shape[2] != 3, scale, bias, _rows(out))


def nearest_crop_into(source: NDArray[Any], box: Box, flip: bool, out: NDArray[Any]) -> None:
    """Cuts a box out of a label map and resizes it, nearest pixel centre, equal to Pillow's.

    Args:
        source: H x W, int16 or int64.
        box: Left, top, width, height, inside the map.
        flip: Mirror the result horizontally.
        out: h x w of the same type, contiguous; written.
    """
    if source.dtype not in (np.int16, np.int64) or source.ndim != 2 or not source.size:
        raise UsageError(
            f"a label map must be int16 or int64, H x W, not {source.dtype} of {source.shape}."
        )
    if out.dtype != source.dtype or out.ndim != 2 or not out.size or not out.flags.writeable:
        raise UsageError(
            f"the result must be {source.dtype}, h x w, not {out.dtype} of {out.shape}."
        )
    if not out.flags.c_contiguous:
        raise UsageError("the result must be contiguous.")
    check_box(box, source.shape[1], source.shape[0])
    left, top, width, height = map(int, box)
    nearest_at(source, left, top, width, height, bool(flip), out)
