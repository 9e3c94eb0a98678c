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
    from imagenets.evaluation.kernels import mark_boundary  # Numba: not before it is used

    d = boundary_width(*ids.shape) if distance is None else distance
    marked = np.empty(ids.shape, np.uint8)
    mark_boundary(plain(ids), d, marked)
    return marked.view(np.bool_)


def plain(ids: Array) -> Array:
    """The ids as one of the two types for which loops are compiled: uint16 or int64."""
    return np.ascontiguousarray(ids, np.uint16 if ids.dtype == np.uint16 else np.int64)
