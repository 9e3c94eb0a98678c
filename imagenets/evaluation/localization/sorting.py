"""Sorts values as integers of the reverse order: compiled into what calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import inlined

Floats = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.unsignedinteger[Any]]

_DIGIT = 11
"""Bits that one pass of the sort takes: its counters fit into the processor's first cache."""


@inlined()
def encode(x: Floats, codes: Codes) -> None:
    """Writes the values as integers of the reverse order."""
    bits = x.view(codes.dtype)
    flip = _flip(codes)
    sign = flip + codes.dtype.type(1)
    for k in range(len(x)):
        b = bits[k]
        codes[k] = b if b > sign else flip - (b & flip)  # -0 is 0


@inlined()
def extremes(codes: Codes, x: Floats) -> tuple[float, float]:
    """The lowest and the highest value, from codes; x is some array of their type."""
    first, last = _ends(codes)
    flip = _flip(codes)
    ends = np.empty(2, x.dtype)
    bits = ends.view(codes.dtype)
    bits[0] = last if last > flip else flip - last
    bits[1] = first if first > flip else flip - first
    return np.float64(ends[0]), np.float64(ends[1])


@inlined()
def _ends(codes: Codes) -> tuple[np.uint64, np.uint64]:
    """The lowest and the highest code."""
    first = last = codes[0]
    for k in range(len(codes)):
        first = min(first, codes[k])
        last = max(last, codes[k])
    return first, last


@inlined()
def _flip(codes: Codes) -> np.uint64:
    """All bits but the sign's."""
    return codes.dtype.type((1 << (codes.itemsize * 8 - 1)) - 1)


@inlined()
def sort(codes: Codes, spare: Codes) -> None:
    """Sorts ascending: by the two highest digits in which they differ, then by what is left.

    Values that share both digits are neighbours then, mostly one or two, and are inserted where
    they belong. Where they are too many, all digits are sorted by, from the lowest.
    """
    if not len(codes):
        return
    first, last = _ends(codes)
    bits = 0
    while bits < codes.itemsize * 8 and (last - first) >> codes.dtype.type(bits) > 0:
        bits += 1
    low = max(0, bits - 2 * _DIGIT)
    _by_two_digits(codes, spare, first, codes.dtype.type(low))
    if not _insert(codes):
        for shift in range(0, bits, 2 * _DIGIT):
            _by_two_digits(codes, spare, first, codes.dtype.type(shift))


@inlined()
def _by_two_digits(codes: Codes, spare: Codes, first: np.uint64, shift: np.uint64) -> None:
    """Sorts by two digits of the difference to the first, the lower one beginning at a bit."""
    mask, next_ = codes.dtype.type((1 << _DIGIT) - 1), codes.dtype.type(_DIGIT)
    low, high = np.zeros(1 << _DIGIT, np.uint32), np.zeros(1 << _DIGIT, np.uint32)
    for k in range(len(codes)):
        rest = (codes[k] - first) >> shift
        low[np.intp(rest & mask)] += np.uint32(1)
        high[np.intp((rest >> next_) & mask)] += np.uint32(1)
    for places in (low, high):
        start = np.uint32(0)
        for k in range(len(places)):
            count = places[k]
            places[k] = start
            start += count
    for k in range(len(codes)):
        digit = np.intp(((codes[k] - first) >> shift) & mask)
        spare[low[digit]] = codes[k]
        low[digit] += np.uint32(1)
    for k in range(len(codes)):
        digit = np.intp((((spare[k] - first) >> shift) >> next_) & mask)
        codes[high[digit]] = spare[k]
        high[digit] += np.uint32(1)


@inlined()
def _insert(codes: Codes) -> bool:
    """Sorts what is nearly sorted; False if that takes too long: then all are still there."""
    left = 4 * len(codes) + 64
    for k in range(1, len(codes)):
        code, place = codes[k], k
        if codes[k - 1] > code:
            while place > 0 and codes[place - 1] > code:
                codes[place] = codes[place - 1]
                place -= 1
            codes[place] = code
            left -= k - place
            if left < 0:
                return False
    return True
