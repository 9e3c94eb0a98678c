"""The loops over heat maps: one sort of each image, then one way down its values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import compiled

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.unsignedinteger[Any]]
Float64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

FINE, NOT_A_NUMBER, BAD_TARGET = 0, 1, 2
"""What `measure` says of a batch: all is well, or what is wrong with the image that it names."""

CONSTANT, INFINITE, WITHOUT_ENERGY, COVERED = 1, 2, 4, 8
"""Bits of an image's flags: one value everywhere, some value infinite, no value above 0, and no
pixel outside the object."""

POINTING, NEAR, ENERGY, RANK, SHARE, MEAN, BEST, PRECISION, AUC = range(9)
"""Columns of the values, in the order of `measures.MEASURES`."""

_DIGIT = 11
"""Bits that one pass of the sort takes: its counters fit into the processor's first cache."""


@compiled
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
            own, others = room[1, :inside], room[0, :outside]
            low, high = _extremes(own, others)
            facts[image, 2] = _flags(low, high, outside)
            _from_values(own, others, low, high, values[image], facts[image])
            if math.isfinite(low) and math.isfinite(high):
                _add_bins(others, low, high, pooled[0])
                _add_bins(own, low, high, pooled[1])
            _encode(own, codes[0])
            _encode(others, codes[0, inside:])
            both = inside + outside
            ranked = _sorted(codes[0, :inside], codes[1, :inside])
            rest = _sorted(codes[0, inside:both], codes[1, inside:both])
            _from_ranks(ranked, rest, settings[0], values[image])
            near = _near_share(heat[image], target[image], high, settings[1])
            values[image, NEAR] = near
    return FINE, 0


@compiled
def _has_nan(h: Floats) -> bool:
    found = np.uint8(0)
    for k in range(len(h)):
        found |= np.uint8(h[k] != h[k])
    return bool(found)


@compiled
def _is_odd(t: Bytes) -> bool:
    """Whether a target holds a value that has no meaning."""
    found = np.uint8(0)
    for k in range(len(t)):
        found |= np.uint8((t[k] > 1) & (t[k] < 255))
    return bool(found)


@compiled
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


@compiled
def _extremes(own: Floats, others: Floats) -> tuple[float, float]:
    low = high = own[0]
    for part in (own, others):
        for k in range(len(part)):
            low = part[k] if part[k] < low else low
            high = part[k] if part[k] > high else high
    return np.float64(low), np.float64(high)


@compiled
def _flags(low: float, high: float, outside: int) -> int:
    flags = CONSTANT if low == high else 0
    flags |= 0 if math.isfinite(low) and math.isfinite(high) else INFINITE
    flags |= WITHOUT_ENERGY if high <= 0 else 0
    return flags | (0 if outside else COVERED)


@compiled
def _scale(low: float, high: float) -> float:
    """A power of two that keeps sums and quotients of values inside float64."""
    if max(-low, high) > 1e290:
        return 2.0**-64
    return 2.0**200 if high - low < 1e-290 else 1.0


@compiled
def _sums(x: Floats, scale: float, of_above: float) -> tuple[float, float]:
    """The sum and the sum of what is above 0, each scaled.

    In four parts, written out: the same for any type and machine.
    """
    rest = rest_above = 0.0
    t0 = t1 = t2 = t3 = a0 = a1 = a2 = a3 = 0.0
    whole = len(x) // 4 * 4
    for k in range(0, whole, 4):
        v0, v1, v2, v3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        t0, t1, t2, t3 = t0 + scale * v0, t1 + scale * v1, t2 + scale * v2, t3 + scale * v3
        a0 += of_above * v0 if v0 > 0 else 0.0
        a1 += of_above * v1 if v1 > 0 else 0.0
        a2 += of_above * v2 if v2 > 0 else 0.0
        a3 += of_above * v3 if v3 > 0 else 0.0
    for k in range(whole, len(x)):
        rest += scale * x[k]
        rest_above += of_above * x[k] if x[k] > 0 else 0.0
    return rest + ((t0 + t1) + (t2 + t3)), rest_above + ((a0 + a1) + (a2 + a3))


@compiled
def _from_values(
    own: Floats, others: Floats, low: float, high: float, values: Float64, facts: Int64
) -> None:
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
        values[MEAN] = hit / (len(own) + _count_above(others, mean, scale))


@compiled
def _count_above(x: Floats, limit: float, scale: float) -> int:
    count = 0
    for k in range(len(x)):
        count += scale * x[k] > limit
    return count


@compiled
def _add_bins(x: Floats, low: float, high: float, bins: Int64) -> None:
    """Counts values by bin after low..high was mapped to 0..1; a constant map is all 0."""
    scale = _scale(low, high)
    step = len(bins) / (scale * high - scale * low) if high > low else 0.0
    last = np.int32(len(bins) - 1)
    for k in range(len(x)):
        place = np.int32((scale * x[k] - scale * low) * step)
        bins[min(place, last)] += 1


@compiled
def _encode(x: Floats, codes: Codes) -> None:
    """Turns values into integers of the reverse order, in place of their bits in `codes`."""
    bits = x.view(codes.dtype)
    one = bits.itemsize * 8 - 1
    sign = codes.dtype.type(1 << one)
    flip = codes.dtype.type((1 << one) - 1)
    for k in range(len(x)):
        b = bits[k]
        codes[k] = b if b > sign else flip - (b & flip)  # -0 is 0


@compiled
def _sorted(codes: Codes, spare: Codes) -> Codes:
    """Sorts ascending, digit by digit from the lowest; a digit that is one for all costs little."""
    passes = (codes.itemsize * 8 + _DIGIT - 1) // _DIGIT
    counts = np.zeros((passes, 1 << _DIGIT), np.int32)
    mask = codes.dtype.type((1 << _DIGIT) - 1)
    for k in range(len(codes)):
        for digit in range(passes):
            counts[digit, (codes[k] >> codes.dtype.type(digit * _DIGIT)) & mask] += 1
    here, there = codes, spare
    for digit in range(passes):
        places = counts[digit]
        if _to_places(places, len(codes)):
            shift = codes.dtype.type(digit * _DIGIT)
            for k in range(len(here)):
                own = (here[k] >> shift) & mask
                there[places[own]] = here[k]
                places[own] += 1
            here, there = there, here
    return here


@compiled
def _to_places(counts: Int32, total: int) -> bool:
    """Turns counts into where each digit begins; whether the values have more than one digit."""
    start = np.int32(0)
    for digit in range(len(counts)):
        count = counts[digit]
        if count == total:
            return False
        counts[digit] = start
        start += count
    return True


@compiled
def _from_ranks(own: Codes, others: Codes, share: float, values: Float64) -> None:
    """The measures that follow from the order of the values alone.

    Goes down the values inside of the object, those of one value at a time.

    Args:
        own: Codes inside of the object, ascending: values descending.
        others: Likewise outside.
        share: Of the pixels, for the IoU at a fixed share.
        values: Written.
    """
    inside, outside = len(own), len(others)
    part = max(1, int((inside + outside) * share + 0.5))
    in_rank = in_share = -1.0
    pairs, precision, best, best_of = 0, 0.0, 0, 1
    first = end = above = reached = 0  # of the ties: from, to; others above, others not below
    while end < inside:
        first, code = end, own[end]
        while end < inside and own[end] == code:
            end += 1
        above = reached
        while above < outside and others[above] < code:
            above += 1
        reached = above
        while reached < outside and others[reached] == code:
            reached += 1
        if first == 0:
            values[POINTING] = 0.0 if above else end / (end + reached)
        if in_rank < 0 and inside <= end + reached:
            in_rank = _hits(inside, first, end, above, reached)
        if in_share < 0 and part <= end + reached:
            in_share = _hits(part, first, end, above, reached)
        pairs += (end - first) * (2 * outside - above - reached)
        precision += (end - first) * (end / (end + reached))
        if end * best_of > best * (inside + reached):
            best, best_of = end, inside + reached
    in_share = inside if in_share < 0 else in_share
    values[RANK] = in_rank / inside
    values[SHARE] = in_share / (inside + part - in_share)
    values[BEST], values[PRECISION] = best / best_of, precision / inside
    if outside:
        values[AUC] = pairs / (2 * inside * outside)


@compiled
def _hits(rank: int, first: int, end: int, above: int, reached: int) -> float:
    """How many of the `rank` highest pixels lie inside, on average over all orders of ties."""
    if rank <= first + above:
        return float(first)
    return first + (rank - first - above) * (end - first) / (end - first + reached - above)


@compiled
def _near_share(h: Floats, t: Bytes, high: float, radius: float) -> float:
    """The share of the highest pixels that lie in the object or within the radius of it."""
    height, width = h.shape
    ties = near = 0
    before = np.zeros((0, 0), np.int32)
    for y in range(height):
        for x in range(width):
            if h[y, x] == high and t[y, x] < 2:
                ties += 1
                if t[y, x] == 1:
                    near += 1
                else:
                    if not len(before):
                        before = _counts_before(t)
                    near += _is_near(before, y, x, radius)
    return near / ties


@compiled
def _counts_before(t: Bytes) -> Int32:
    """Pixels of the object to the left of each pixel, in its row: H x (W + 1)."""
    height, width = t.shape
    before = np.zeros((height, width + 1), np.int32)
    for y in range(height):
        for x in range(width):
            before[y, x + 1] = before[y, x] + (t[y, x] == 1)
    return before


@compiled
def _is_near(before: Int32, y: int, x: int, radius: float) -> bool:
    """Whether a pixel of the object lies in the disc around (y, x), its border included."""
    height, width = before.shape[0], before.shape[1] - 1
    reach = int(min(radius, float(height)))
    for row in range(max(0, y - reach), min(height, y + reach + 1)):
        half = int(math.sqrt(max(0.0, radius * radius - (row - y) * (row - y))))
        if before[row, min(width, x + half + 1)] > before[row, max(0, x - half)]:
            return True
    return False
