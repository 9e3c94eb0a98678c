"""The loops over heat maps: one sort of each image, then one way down its values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import compiled_for, inlined, types
from imagenets.evaluation.localization import measures, ranks, sorting
from imagenets.evaluation.localization.measures import (
    CONSTANT,
    COVERED,
    ENERGY,
    INFINITE,
    MEAN_IOU,
    NEAR,
    WITHOUT_ENERGY,
)
from imagenets.evaluation.localization.ranks import from_ranks
from imagenets.evaluation.localization.sorting import encode, extremes, sort

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.unsignedinteger[Any]]
Float64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

FINE, NOT_A_NUMBER, BAD_TARGET = 0, 1, 2
"""What `measure` says of a batch: all is well, or what is wrong with the image that it names."""

_BLOCK = 256
"""Values that simple loops take at a time: loops over arrays of this length are vectorised."""


@inlined()
def _has_nan(h: Floats) -> bool:
    found = False
    for k in range(len(h)):
        found |= h[k] != h[k]
    return found


@inlined()
def _is_odd(t: Bytes) -> bool:
    """Whether a target holds a value that has no meaning."""
    found = False
    for k in range(len(t)):
        found |= (t[k] > 1) & (t[k] < 255)
    return found


@inlined()
def _split(h: Floats, t: Bytes, room: Floats) -> tuple[int, int]:
    """Writes the values outside of the object to row 0, those inside to row 1; their numbers."""
    inside = outside = 0
    for k in range(len(h)):
        if t[k] == 1:
            room[1, inside] = h[k]
            inside += 1
        elif t[k] == 0:
            room[0, outside] = h[k]
            outside += 1
    return inside, outside


@inlined()
def _flags(low: float, high: float, outside: int) -> int:
    flags = CONSTANT if low == high else 0
    flags |= 0 if math.isfinite(low) and math.isfinite(high) else INFINITE
    flags |= WITHOUT_ENERGY if high <= 0 else 0
    return flags | (0 if outside else COVERED)


@inlined()
def _scale(low: float, high: float) -> float:
    """A power of two that keeps sums and quotients of values inside float64."""
    if max(-low, high) > 1e290:
        return 2.0**-64
    return 2.0**200 if high - low < 1e-290 else 1.0


@inlined()
def _sums(x: Floats, scale: float, of_above: float) -> tuple[float, float]:
    """The sum and the sum of what is above 0, each scaled.

    In as many parts as a block has values: fast, and the same for any type and machine.
    """
    total, above = np.zeros(_BLOCK), np.zeros(_BLOCK)
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        for k in range(len(part)):
            v = np.float64(part[k])
            total[k] += scale * v
            above[k] += of_above * v if v > 0 else 0.0
    return total.sum(), above.sum()


@inlined()
def _from_values(own: Floats, others: Floats, low: float, high: float, values: Float64) -> None:
    """The measures that need no order: energy, and IoU at the mean."""
    scale = _scale(low, high)
    of_energy = _scale(0.0, max(high, 1.0))
    total, energy = _sums(own, scale, of_energy)
    other_total, other_energy = _sums(others, scale, of_energy)
    if high < math.inf:
        values[ENERGY] = energy / (energy + other_energy) if high > 0 else 0.0
    if math.isfinite(low) and math.isfinite(high):
        mean = (total + other_total) / (len(own) + len(others))
        mean = min(max(mean, low * scale), high * scale)
        hit = _count_above(own, mean, scale)
        values[MEAN_IOU] = hit / (len(own) + _count_above(others, mean, scale))


@inlined()
def _count_above(x: Floats, limit: float, scale: float) -> int:
    count = 0
    for k in range(len(x)):
        count += scale * x[k] > limit
    return count


@inlined()
def _add_bins(x: Floats, low: float, high: float, bins: Int64) -> None:
    """Counts values by bin after low..high was mapped to 0..1; a constant map is all 0."""
    scale = _scale(low, high)
    step = len(bins) / (scale * high - scale * low) if high > low else 0.0
    last, places = np.int32(len(bins) - 1), np.empty(_BLOCK, np.int32)
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        for k in range(len(part)):
            place = np.int32((scale * part[k] - scale * low) * step)
            places[k] = place if place < last else last
        for k in range(len(part)):
            bins[places[k]] += 1


@inlined()
def _near_share(h: Floats, t: Bytes, top: Any, radius: float) -> float:
    """The share of the highest pixels that lie in the object or within the radius of it."""
    ties = near = 0
    before = np.zeros((0, 0), np.int32)
    for y in range(len(h)):
        if not _holds(h[y], top):
            continue
        for x in range(h.shape[1]):
            if h[y, x] == top and t[y, x] < 2:
                ties += 1
                if t[y, x] == 1:
                    near += 1
                else:
                    if not len(before):
                        before = _counts_before(t)
                    near += _is_near(before, y, x, radius)
    return near / ties


@inlined()
def _holds(row: Floats, value: Any) -> bool:
    found = False
    for k in range(len(row)):
        found |= row[k] == value
    return found


@inlined()
def _counts_before(t: Bytes) -> Int32:
    """Pixels of the object to the left of each pixel, in its row: H x (W + 1)."""
    height, width = t.shape
    before = np.zeros((height, width + 1), np.int32)
    for y in range(height):
        for x in range(width):
            before[y, x + 1] = before[y, x] + (t[y, x] == 1)
    return before


@inlined()
def _is_near(before: Int32, y: int, x: int, radius: float) -> bool:
    """Whether a pixel of the object lies in the disc around (y, x), its border included."""
    height, width = before.shape[0], before.shape[1] - 1
    reach = int(min(radius, float(height)))
    for row in range(max(0, y - reach), min(height, y + reach + 1)):
        half = int(math.sqrt(max(0.0, radius * radius - (row - y) * (row - y))))
        if before[row, min(width, x + half + 1)] > before[row, max(0, x - half)]:
            return True
    return False


@compiled_for(
    *(
        (
            types.Array(kind, 3, "C", readonly=True),
            types.Array(types.uint8, 3, "C", readonly=True),
            *(types.float64[::1], types.float64[:, ::1], types.int64[:, ::1], types.int64[:, ::1]),
            *(kind[:, ::1], code[:, ::1]),
        )
        for kind, code in ((types.float32, types.uint32), (types.float64, types.uint64))
    ),
    calls=(measures, ranks, sorting),
)
def measure(
    heat: Floats,
    target: Bytes,
    settings: Float64,
    values: Float64,
    facts: Int64,
    pooled: Int64,
    room: Floats,
    codes: Codes,
) -> tuple[int, int]:
    """Measures a batch of heat maps.

    Args:
        heat: N x H x W.
        target: N x H x W: 1 the object, 0 not, 255 ignored.
        settings: The share of pixels for the IoU at a fixed share, and the radius in pixels.
        values: N x 9, written: each measure, 0..1; all NaN for an image without object.
        facts: N x 3, written: pixels of the object, pixels that are not ignored, flags.
        pooled: 2 x B, added to: pixels outside and inside of objects by bin of their value.
        room: 2 x (H * W), overwritten.
        codes: 2 x (H * W) of the unsigned type as wide as `heat`, overwritten.

    Returns:
        One of FINE, NOT_A_NUMBER and BAD_TARGET, and the index of the image.
    """
    values[:] = np.nan
    for image in range(len(heat)):
        h, t = heat[image].ravel(), target[image].ravel()
        if _has_nan(h):
            return NOT_A_NUMBER, image
        if _is_odd(t):
            return BAD_TARGET, image
        inside, outside = _split(h, t, room)
        facts[image, 0], facts[image, 1], facts[image, 2] = inside, inside + outside, 0
        if inside:
            both = inside + outside
            own, others = room[1, :inside], room[0, :outside]
            encode(own, codes[0])
            encode(others, codes[0, inside:])
            low, high = extremes(codes[0, :both], own)
            facts[image, 2] = _flags(low, high, outside)
            _from_values(own, others, low, high, values[image])
            if math.isfinite(low) and math.isfinite(high):
                _add_bins(others, low, high, pooled[0])
                _add_bins(own, low, high, pooled[1])
            sort(codes[0, :inside], codes[1, :inside])
            sort(codes[0, inside:both], codes[1, inside:both])
            from_ranks(codes[0, :inside], codes[0, inside:both], settings[0], values[image])
            top = heat.dtype.type(high)
            near = _near_share(heat[image], target[image], top, settings[1])
            values[image, NEAR] = near
    return FINE, 0
