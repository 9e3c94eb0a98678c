"""Labels and logits on the grid of a network, brought to the size of their image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.pixels.grid_loops import labels_at, largest_at

Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def labels_of_grid(
    ids: npt.NDArray[np.uint16], level: Floats, threshold: float, size: tuple[int, int]
) -> npt.NDArray[np.uint16]:
    """Resizes ids (nearest) and level (bilinear); pixels below the threshold become 0.

    Places and weights are those of `torch.nn.functional.interpolate` (`align_corners=False`), in
    float32. Its sums may be rounded otherwise, by one unit of the last place, where a processor
    multiplies and adds in one step: a pixel can differ whose level is that close to the threshold.

    Args:
        ids: h x w uint16.
        level: h x w float32, such as the attention.
        threshold: Of the level, rounded to float32; what equals it keeps its id.
        size: Width and height of the image, pixels.

    Returns:
        H x W uint16 ids.

    Raises:
        UsageError: The grids are of other types or shapes, or the size is none.
    """
    if ids.dtype != np.uint16 or level.dtype != np.float32 or ids.ndim != 2 or not ids.size:
        raise UsageError(
            "a grid holds uint16 ids and float32 levels, h x w, not "
            f"{ids.dtype} of {ids.shape} and {level.dtype}."
        )
    if ids.shape != level.shape or min(size) < 1:
        raise UsageError(f"ids of {ids.shape}, levels of {level.shape}, an image of {size}.")
    (rows, tops, downs), (columns, lefts, rights) = (
        _places(length, pixels) for length, pixels in zip(ids.shape, size[::-1], strict=True)
    )
    out = np.empty((size[1], size[0]), np.uint16)
    ids, level = np.ascontiguousarray(ids), np.ascontiguousarray(level)
    places = (rows, tops, downs, columns, lefts, rights)
    labels_at(ids, level, np.float32(threshold), *places, out)
    return out


def largest_of_grid(logits: Floats, size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """The class of the largest logit of each pixel, resized bilinearly; of equal ones the first.

    The same ids as resizing all maps and taking the argmax, up to the rounding of the last place.
    No map of a class is held: between four neighbours of the grid only the few classes are looked
    at that can be the first there, so memory is needed for the result alone.

    Args:
        logits: h x w x C float32, at most 65,536 classes.
        size: Width and height of the result, pixels.

    Returns:
        H x W uint16, indices along the last axis of the logits.

    Raises:
        UsageError: The logits are of another type or shape, or the size is none.
    """
    if logits.dtype != np.float32 or logits.ndim != 3 or not 0 < logits.shape[2] <= 1 << 16:
        raise UsageError(f"logits are float32 h x w x C, not {logits.dtype} of {logits.shape}.")
    if not logits.size or min(size) < 1:
        raise UsageError(f"logits of {logits.shape}, an image of {size}.")
    (_, tops, downs), (_, lefts, rights) = (
        _places(length, pixels) for length, pixels in zip(logits.shape, size[::-1], strict=False)
    )
    out = np.empty((size[1], size[0]), np.uint16)
    largest_at(np.ascontiguousarray(logits), tops, downs, lefts, rights, out)
    return out


def nearest_of_grid(ids: npt.NDArray[np.uint16], size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Resizes ids to the size of their image, each pixel taking the nearest place's id.

    Places are those of `torch.nn.functional.interpolate` with `mode="nearest"`.

    Args:
        ids: h x w uint16; at least one.
        size: Width and height of the image, pixels.

    Returns:
        H x W uint16.
    """
    (rows, _, _), (columns, _, _) = (
        _places(length, pixels) for length, pixels in zip(ids.shape, size[::-1], strict=True)
    )
    return ids[rows[:, None], columns]


def level_of_grid(level: Floats, size: tuple[int, int]) -> Floats:
    """Resizes a level bilinearly to a width and height, as `labels_of_grid` does.

    Args:
        level: h x w float32.
        size: Width and height of the image, pixels.

    Returns:
        H x W float32.
    """
    (_, tops, downs), (_, lefts, rights) = (
        _places(length, pixels) for length, pixels in zip(level.shape, size[::-1], strict=True)
    )
    bottoms = np.minimum(tops + 1, level.shape[0] - 1)
    seconds = np.minimum(lefts + 1, level.shape[1] - 1)
    lines = level[:, lefts] * rights[0] + level[:, seconds] * rights[1]
    result: Floats = lines[tops] * downs[0][:, None] + lines[bottoms] * downs[1][:, None]
    return result


def _places(length: int, pixels: int) -> tuple[Longs, Longs, Floats]:
    """Of one side: the nearest place, the first of the two around, and their weights (2 x N)."""
    step = np.float32(length) / np.float32(pixels)
    at = np.arange(pixels, dtype=np.float32)
    nearest = np.minimum(np.floor(at * step), length - 1).astype(np.int64)
    source = np.maximum(step * (at + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    first = np.minimum(np.floor(source), np.float32(length - 1))
    second = np.clip(source - first, 0, 1).astype(np.float32)
    return nearest, first.astype(np.int64), np.stack([1 - second, second]).astype(np.float32)
