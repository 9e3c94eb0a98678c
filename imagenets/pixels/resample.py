"""Crops of one image on the CPU: Pillow's antialiased resampling, several times as fast.

The arithmetic is Pillow's (weights of 22 bits behind the point, rows first, then columns, bytes
between), so results are equal bit by bit; the way there is not (`resample_loops.py`,
`nearest_loops.py`).

Nothing here imports torch, and nothing holds the interpreter's lock while it computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagenets.errors import UsageError
from imagenets.pixels.nearest_loops import nearest_at, nearest_places
from imagenets.pixels.resample_loops import resize_at, resize_window_at, scale_at

Mode = Literal["bilinear", "bicubic"]

_LABELS = (np.uint8, np.uint16, np.int16, np.int64)

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


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a resized image: what resizing all of it and then cutting gives.

    Attributes:
        image: Width and height of the image, pixels.
        full: Width and height that it is resized to.
        corner: Left and top of the window in the resized image.
        size: Width and height of the window, inside the resized image.
    """

    image: tuple[int, int]
    full: tuple[int, int]
    corner: tuple[int, int]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.image) < 1 or min(self.full) < 1:
            raise UsageError(f"cannot resize {self.image} to {self.full} pixels (width, height).")
        check_box((*self.corner, *self.size), *self.full)

    def needs(self, mode: Mode = "bilinear") -> Box:
        """The pixels of the image that the window is made of: left, top, width, height."""
        (left, wide), (top, high) = (self._reach(axis, mode) for axis in (0, 1))
        return left, top, wide, high

    def _reach(self, axis: int, mode: Mode) -> tuple[int, int]:
        length = self.image[axis]
        scale = length / self.full[axis]
        reach = (2.0 if mode == "bicubic" else 1.0) * max(scale, 1.0) + 1  # 1: whatever rounds
        first = max(0, int((self.corner[axis] + 0.5) * scale - reach))
        last = math.ceil((self.corner[axis] + self.size[axis] - 0.5) * scale + reach)
        return first, min(length, last) - first


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


def resize_window_into(
    part: NDArray[np.uint8],
    place: tuple[int, int],
    window: Window,
    out: NDArray[np.uint8],
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> None:
    """Resizes an image and cuts a window out; only what the window shows is computed.

    Equals `Image.resize(full, filter).crop(...)` of Pillow, as `resize_crop_into` does.

    Args:
        part: h x w x 3, the pixels of the image that are at hand; rows may be strided.
        place: Left and top of the part in the image. It must hold `window.needs(mode)`.
        window: What to cut out.
        out: window's height x width x 3, contiguous; written.
        mode: The filter, see `filter_code`.
        antialias: Whether it widens where it shrinks.

    Raises:
        UsageError: An array is of another shape or type, or the part does not hold what is needed.
    """
    needs = window.needs(mode)
    shifted = (needs[0] - place[0], needs[1] - place[1], *needs[2:])
    _check(part, shifted, out, np.uint8, 3)
    rows, columns = part.shape[:2]
    inside = place[0] + columns <= window.image[0] and place[1] + rows <= window.image[1]
    if out.shape != (*window.size[::-1], 3) or min(place) < 0 or not inside:
        raise UsageError(
            f"a part of {columns} x {rows} pixels at {tuple(place)} and a result of "
            f"{out.shape} do not fit {window}."
        )
    if window.full == window.image:  # every filter leaves such an image as it is
        left, top = (corner - start for corner, start in zip(window.corner, place, strict=True))
        out[:] = part[top : top + len(out), left : left + out.shape[1]]
        return
    if part.strides[1:] != (3, 1) or part.strides[0] < 3 * columns:
        part = np.ascontiguousarray(part)
    at = part.__array_interface__["data"][0], part.strides[0]
    sizes = np.array((*place, columns, rows, *window.image, *window.full, *window.corner), np.int64)
    resize_window_at(*at, sizes, filter_code(mode, antialias), _rows(out))


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


def normalised_into(
    crop: NDArray[np.uint8],
    out: NDArray[np.float32],
    scale: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> None:
    """Writes an image times scale plus bias of its channel.

    Args:
        crop: h x w x 3 or 3 x h x w, contiguous.
        out: float32 of the same shape, contiguous; written.
        scale: 3 float32, 1 / (255 std).
        bias: 3 float32, -mean / std.
    """
    if crop.dtype != np.uint8 or crop.shape != out.shape or crop.ndim != 3 or not crop.size:
        raise UsageError(f"an image is uint8, {out.shape}, not {crop.dtype} of {crop.shape}.")
    if out.dtype != np.float32 or 3 not in (out.shape[0], out.shape[2]):
        raise UsageError(
            f"the result must be float32, h x w x 3 or 3 x h x w, not {out.dtype} of {out.shape}."
        )
    for name, values in (("scale", scale), ("bias", bias)):
        if values.shape != (3,) or values.dtype != np.float32:
            raise UsageError(f"{name} must be 3 float32, not {values.dtype} of {values.shape}.")
    if not (crop.flags.c_contiguous and out.flags.c_contiguous and out.flags.writeable):
        raise UsageError("image and result must be contiguous, the result writeable.")
    scale, bias = np.ascontiguousarray(scale), np.ascontiguousarray(bias)
    scale_at(_rows(crop), out.shape[2] != 3, scale, bias, _rows(out))


def nearest_crop_into(source: NDArray[Any], box: Box, flip: bool, out: NDArray[Any]) -> None:
    """Cuts a box out of a label map and resizes it, nearest pixel centre, equal to Pillow's.

    Args:
        source: H x W, uint8, uint16, int16 or int64.
        box: Left, top, width, height, inside the map.
        flip: Mirror the result horizontally.
        out: h x w of the same type, contiguous; written.
    """
    _check_labels(source, out)
    check_box(box, source.shape[1], source.shape[0])
    left, top, width, height = map(int, box)
    xs, ys = np.empty(out.shape[1], np.int64), np.empty(out.shape[0], np.int64)
    nearest_places(left, width, len(xs), 0, xs)
    nearest_places(top, height, len(ys), 0, ys)
    nearest_at(source, bool(flip), xs, ys, out)


def nearest_window_into(source: NDArray[Any], window: Window, out: NDArray[Any]) -> None:
    """Resizes a label map to the nearest pixel centres, and cuts a window out.

    Equals `Image.resize(full, NEAREST).crop(...)` of Pillow.

    Args:
        source: H x W, uint8, uint16, int16 or int64, all of the map.
        window: What to cut out.
        out: window's height x width of the same type, contiguous; written.

    Raises:
        UsageError: An array is of another shape or type.
    """
    _check_labels(source, out)
    if source.shape[::-1] != window.image or out.shape[::-1] != window.size:
        raise UsageError(
            f"a map of {source.shape} and a result of {out.shape} do not fit {window}."
        )
    xs, ys = np.empty(out.shape[1], np.int64), np.empty(out.shape[0], np.int64)
    nearest_places(0, window.image[0], window.full[0], window.corner[0], xs)
    nearest_places(0, window.image[1], window.full[1], window.corner[1], ys)
    nearest_at(source, False, xs, ys, out)


def _check_labels(source: NDArray[Any], out: NDArray[Any]) -> None:
    """Refuses what compiled code would take at its word."""
    if source.dtype not in _LABELS or source.ndim != 2 or not source.size:
        raise UsageError(
            "a label map must be uint8, uint16, int16 or int64, H x W, not "
            f"{source.dtype} of {source.shape}."
        )
    if out.dtype != source.dtype or out.ndim != 2 or not out.size or not out.flags.writeable:
        raise UsageError(
            f"the result must be {source.dtype}, h x w, not {out.dtype} of {out.shape}."
        )
    if not out.flags.c_contiguous:
        raise UsageError("the result must be contiguous.")
