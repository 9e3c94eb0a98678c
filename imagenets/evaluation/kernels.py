"""The loops over pixels. Masks are flat: all work by runs of equal neighbours, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.compiled import compiled

Ids = npt.NDArray[np.integer[Any]]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

EDGES = 4
"""Values that the two boundary bits of a pixel can have."""

_BYTES = np.uint64(1), np.uint64(0x0101010101010101)
_SPREAD = 0x9E3779B97F4A7C15 >> 1  # 2^63 over the golden ratio: neighbouring keys end far apart


@compiled
def mark_boundary(ids: Ids, distance: int, edge: Bytes, bit: int) -> None:
    """Sets a bit where the window around a pixel holds another id or leaves the image.

    Args:
        ids: H x W.
        distance: The window has 2 `distance` + 1 rows and columns.
        edge: H x W, changed.
        bit: What to set.
    """
    height, width = ids.shape
    since = np.zeros(width, np.int32)  # row from which on all x +- distance are of one id
    changed, ends = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty(width, np.int64)
    flag = np.uint8(bit)
    for y in range(min(distance, height)):
        edge[y] |= flag
        edge[height - 1 - y] |= flag
    for y in range(height):
        row, above = ids[y], ids[max(y - 1, 0)]
        for x in range(1, width):
            changed[x] = row[x] != row[x - 1]
        _restart(since, row, above, y)
        start = 0
        for run in range(_ends(changed, width, ends)):
            end = ends[run]
            for x in range(start, min(start + distance, end)):
                since[x] = y + 1
            for x in range(max(end - distance, start), end):
                since[x] = y + 1
            start = end
        if y >= 2 * distance:
            _flag_later(since, y - 2 * distance, edge[y - distance], flag)


@compiled
def _restart(since: Int32, row: Ids, above: Ids, y: int) -> None:
    here = np.int32(y)  # 32 bits throughout: others are not vectorised
    for x in range(len(since)):
        since[x] = since[x] if row[x] == above[x] else here


@compiled
def _flag_later(since: Int32, y: int, edge: Bytes, flag: np.uint8) -> None:
    limit = np.int32(y)
    for x in range(len(since)):
        edge[x] |= flag if since[x] > limit else np.uint8(0)


@compiled
def _ends(changed: Bytes, width: int, ends: Int64) -> int:
    """Lists where the runs of a row end: x at which the pixel differs from the one before."""
    words = changed.view(np.uint64)
    count = 0
    for word in range(len(words)):
        left = words[word]  # of 8 pixels: a byte each, 0 or 1; the lowest is the first
        while left != 0:
            below = ((left & (~left + _BYTES[0])) - _BYTES[0]) & _BYTES[1]
            ends[count] = 8 * word + np.int64((below * _BYTES[1]) >> np.uint64(56))
            count += 1
            left &= left - _BYTES[0]
    ends[count] = width
    return count + 1


@compiled
def tally(
    gt: Ids, pred: Ids, edge: Bytes, num_classes: int, ignored: int
) -> tuple[Int64, Int64, Int64]:
    """Counts the pixels of each (true id, predicted id, boundary bits).

    Args:
        gt: H x W true ids 0..K or `ignored`, whose pixels are left out.
        pred: H x W predicted ids; those outside 0..K become K + 1.
        edge: H x W, two bits.
        num_classes: K.
        ignored: As said.

    Returns:
        Keys (gt * (K + 2) + pred) * EDGES + edge in no order, their pixels, and the first id that the
        ground truth must not hold, if any.
    """
    height, width = gt.shape
    changed, ends = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty(width, np.int64)
    keys, pixels = np.full(256, -1, np.int64), np.zeros(256, np.int64)
    used = 0
    for y in range(height):
        true, guess, bits = gt[y], pred[y], edge[y]
        while 2 * (used + width) > len(keys):
            keys, pixels = _doubled(keys, pixels)
        _note_changes(true, guess, bits, changed)
        start = 0
        for run in range(_ends(changed, width, ends)):
            truth, guessed = np.int64(true[start]), np.int64(guess[start])
            if truth != ignored:
                if truth < 0 or truth > num_classes:
                    return keys[:0], pixels[:0], np.array([truth])
                if guessed < 0 or guessed > num_classes:
                    guessed = num_classes + 1
                key = (truth * (num_classes + 2) + guessed) * EDGES + np.int64(bits[start])
                slot = _slot(keys, key)
                if keys[slot] < 0:
                    keys[slot] = key
                    used += 1
                pixels[slot] += ends[run] - start
            start = ends[run]
    return keys[keys >= 0], pixels[keys >= 0], keys[:0]


@compiled
def _note_changes(a: Ids, b: Ids, c: Bytes, changed: Bytes) -> None:
    for x in range(1, len(a)):
        changed[x] = (a[x] != a[x - 1]) | (b[x] != b[x - 1]) | (c[x] != c[x - 1])


@compiled
def _slot(keys: Int64, key: int) -> int:
    """Where a key is, or belongs, in a table of open addressing."""
    slot = ((key * _SPREAD) >> 20) & (len(keys) - 1)
    while keys[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


@compiled
def _doubled(keys: Int64, pixels: Int64) -> tuple[Int64, Int64]:
    larger, sums = np.full(2 * len(keys), -1, np.int64), np.zeros(2 * len(keys), np.int64)
    for old in range(len(keys)):
        if keys[old] >= 0:
            slot = _slot(larger, keys[old])
            larger[slot], sums[slot] = keys[old], pixels[old]
    return larger, sums
