"""The labels of patches: what a vision transformer's tokens or a grid of features show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from imagenets.data.dataset.targets import LEFT_OUT
from imagenets.data.dataset.view import on_cpu
from imagenets.errors import UsageError
from imagenets.masks import IGNORED

_LARGEST = 2**16
"""Ids are less than this, as in masks on disk."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchLabels:
    """What the patches of a mask, or of a batch of masks, show.

    Attributes:
        labels: (N x) rows x cols, of the mask's type: the id of most pixels of a patch; of several
            with as many, the smallest. A patch whose pixels are all ignored has the ignored id.
        ids: int64, the K ids that occur, ascending, without the ignored one.
        shares: float32, (N x) rows x cols x K: the share of each id in the pixels of a patch that
            are not ignored. The shares of a patch sum to 1, or are 0 where all is ignored.
    """

    labels: npt.NDArray[Any]
    ids: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float32]


def patch_labels(mask: npt.NDArray[Any] | Tensor, grid: int | tuple[int, int]) -> PatchLabels:
    """Divides a mask or target into patches and says what each of them shows.

    Row i of the grid covers the pixel rows from floor(i H / rows) to floor((i + 1) H / rows), and
    columns likewise: where the grid does not divide the mask, patches differ by one pixel.

    Args:
        mask: H x W, or N x H x W, an array or a tensor on the CPU: ids of 0 to 65535, of which 1000
            is ignored; or a target, uint8, of which 255 is ignored.
        grid: Patches on each side, or rows and columns: 14 for patches of 16 pixels of 224.

    Returns:
        Label and shares of rows x cols patches, or of N x rows x cols for N masks.

    Raises:
        UsageError: The mask is of another shape or type, or has fewer pixels than the grid.
    """
    ids = on_cpu(mask) if isinstance(mask, Tensor) else mask
    rows, cols = (grid, grid) if isinstance(grid, int) else grid
    if ids.ndim not in (2, 3) or ids.dtype.kind not in "iu" or not ids.size:
        raise UsageError(f"a mask is (N x) H x W whole numbers, not {ids.dtype} of {ids.shape}.")
    height, width = ids.shape[-2:]
    if not (1 <= rows <= height and 1 <= cols <= width):
        raise UsageError(
            f"a grid of {rows} x {cols} patches does not fit a mask of {height} x {width} pixels "
            "(rows, columns)."
        )
    if ids.dtype.itemsize > 1 and (ids.min() < 0 or ids.max() >= _LARGEST):
        raise UsageError(
            f"the mask holds {ids.min()} to {ids.max()}: ids are 0 to {_LARGEST - 1}, such as "
            "masks.decode gives."
        )
    ignored = LEFT_OUT if ids.dtype == np.uint8 else IGNORED
    found, counts = _count(ids.reshape(-1, height, width), rows, cols, ignored)
    shape = (*ids.shape[:-2], rows, cols)
    totals = counts.sum(1)
    labels = np.full(len(totals), ignored, ids.dtype)
    some = totals > 0
    if len(found):
        labels[some] = found[counts[some].argmax(1)]  # the first of the largest: the smallest id
    shares = (counts / np.maximum(totals, 1)[:, None]).astype(np.float32)
    return PatchLabels(labels.reshape(shape), found, shares.reshape(*shape, len(found)))


def _count(
    ids: npt.NDArray[Any], rows: int, cols: int, ignored: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ids that occur in N masks, and how often each does in each of the patches."""
    occurs = np.bincount(ids.reshape(-1), minlength=ignored + 1) > 0
    occurs[ignored] = False
    found = np.flatnonzero(occurs)
    place = np.cumsum(occurs) - 1  # of an id among those found
    down, across = (_patch_of(n, k) for n, k in zip(ids.shape[1:], (rows, cols), strict=True))
    patches = down[:, None] * cols + across
    cells = np.arange(len(ids))[:, None, None] * (rows * cols) + patches
    kept = ids != ignored
    flat = cells[kept] * len(found) + place[ids[kept]]
    counts = np.bincount(flat, minlength=len(ids) * rows * cols * len(found))
    return found, counts.reshape(len(ids) * rows * cols, len(found))


def _patch_of(length: int, patches: int) -> npt.NDArray[np.int64]:
    """The patch that each row, or column, of pixels belongs to."""
    bounds = np.arange(patches + 1) * length // patches
    return np.repeat(np.arange(patches), np.diff(bounds))
