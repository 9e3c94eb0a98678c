"""Boundary maps of all classes at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

DILATION = 0.03
"""Width of the boundary band as a share of the image's diagonal."""


def boundary_width(height: int, width: int) -> int:
    """Width in pixels of the boundary band of an image: 3 % of its diagonal, at least 1."""
    return max(1, round(DILATION * math.sqrt(height**2 + width**2)))


def boundary(ids: Array, distance: int | None = None) -> Flags:
    """Marks the pixels that lie within `distance` of another id or of the image's border.

    A pixel is marked when the (2 d + 1) x (2 d + 1) window around it holds a second id or leaves
    the image. That is what remains of each class mask when its erosion (d times, 3 x 3, zero
    outside the image) is taken away, for all classes in one go.

    Args:
        ids: H x W ids of any integer dtype; every id, ignored pixels included, is a class.
        distance: d in pixels, at least 1; `boundary_width` of the image by default.

    Returns:
        H x W bool.
    """
    height, width = ids.shape
    d = boundary_width(height, width) if distance is None else distance
    marked = np.ones((height, width), np.bool_)
    inner_height, inner_width = height - 2 * d, width - 2 * d
    if inner_height <= 0 or inner_width <= 0:
        return marked  # every window leaves the image
    # A window is uniform when each of its rows is and its columns' steps are. Both are runs of
    # equal neighbours, sought in the flattened image: what wraps over a row's end lies in the
    # last 2 d columns and is cropped away.
    flat = np.ascontiguousarray(ids).reshape(-1)
    rows = _all_of(flat[1:] == flat[:-1], 2 * d, 1)  # at y, x: row y is uniform in x .. x + 2 d
    steps = flat[width + d : width + d + rows.size - width] == flat[d : d + rows.size - width]
    steps &= rows[width:]  # at y, x: centre pixels y and y + 1 are equal, row y + 1 is uniform
    uniform = _all_of(steps, 2 * d, width)
    uniform &= rows[: uniform.size]
    whole = np.zeros(inner_height * width, np.bool_)
    whole[: uniform.size] = uniform
    inner = whole.reshape(inner_height, width)[:, :inner_width]
    np.logical_not(inner, out=marked[d : height - d, d : width - d])
    return marked


def _all_of(flags: Flags, count: int, stride: int) -> Flags:
    """Whether `count` flags, `stride` apart, are all set; doubles the span at each step."""
    span = 1
    while 2 * span <= count:
        flags = flags[: flags.size - span * stride] & flags[span * stride :]
        span *= 2
    rest = (count - span) * stride
    return flags[: flags.size - rest] & flags[rest:] if rest else flags
