"""The loops over pixels. Masks are flat: all work by runs of equal neighbours, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import compiled

Ids = npt.NDArray[np.integer[Any]]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]

GT_EDGE, PRED_EDGE = np.uint8(1), np.uint8(2)
EDGES = 4
"""Values that the two boundary bits of a pixel can have."""

_BYTES = np.uint64(1), np.uint64(0x0101010101010101)
_SPREAD = 0x9E3779B97F4A7C15 >> 1  # 2^63 over the golden ratio: neighbouring keys end far apart


@compiled
def mark_boundary(ids: Ids, distance: int, marked: Bytes) -> None:
    """Marks the pixels whose window holds another id or leaves the image.

    Args:
        ids: H x W.
        distance: The window has 2 `distance` + 1 rows and columns.
        marked: H x W, written: 1 or 0.
    """
    height, width = ids.shape
    since = np.zeros(width, np.int32)
    changed, ends = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty(width, np.int64)
    for y in range(height + distance):
        if y < height:
            _follow(ids, y, distance, since, changed, ends)
        if y >= distance:
            _edges(since, since, y, height, distance, marked[y - distance])
    marked &= np.uint8(1)


@compiled
def _follow(ids: Ids, y: int, distance: int, since: Int32, changed: Bytes, ends: Int64) -> None:
    """Follows row y: `since` is the row from which on all pixels x +- distance have one id."""
    row, above = ids[y], ids[max(y - 1, 0)]
    for x in range(1, len(row)):
        changed[x] = row[x] != row[x - 1]
    _restart(since, row, above, y)
    start = 0
    for run in range(_ends(changed, len(row), ends)):
        end = ends[run]
        for x in range(start, min(start + distance, end)):
            since[x] = y + 1
        for x in range(max(end - distance, start), end):
            since[x] = y + 1
        start = end


@compiled
def _edges(
    gt_since: Int32, pred_since: Int32, y: int, height: int, distance: int, edge: Bytes
) -> None:
    """Writes the boundary bits of row y - distance, when row y has been followed."""
    low = y - 2 * distance
    if low < 0 or y >= height:
        edge[:] = GT_EDGE | PRED_EDGE
        return
    limit = np.int32(low)
    for x in range(len(edge)):
        true = GT_EDGE if gt_since[x] > limit else np.uint8(0)
        edge[x] = true | (PRED_EDGE if pred_since[x] > limit else np.uint8(0))


@compiled
def _restart(since: Int32, row: Ids, above: Ids, y: int) -> None:
    here = np.int32(y)  # 32 bits throughout: others are not vectorised
    for x in range(len(since)):
        since[x] = since[x] if row[x] == above[x] else here


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
def count_pairs(
    gt: Ids, pred: Ids, distance: int, num_classes: int, ignored: int
) -> tuple[Int64, Int64, Int64]:
    """Counts the pixels of each (true id, predicted id, boundary bits), in one pass.

    Args:
        gt: H x W true ids 0..K or `ignored`, whose pixels are left out.
        pred: H x W predicted ids; those outside 0..K become K + 1.
        distance: As in `mark_boundary`; 0 sets no bits.
        num_classes: K.
        ignored: As said.

    Returns:
        Keys (gt * (K + 2) + pred) * EDGES + bits in no order, their pixels, and the first id that
        the ground gt_id must not hold, if any.
    """
    height, width = gt.shape
    gt_since, pred_since = np.zeros(width, np.int32), np.zeros(width, np.int32)
    edge = np.zeros(width, np.uint8)
    changed, ends = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty(width, np.int64)
    keys, pixels = np.full(256, -1, np.int64), np.zeros(256, np.int64)
    used = 0
    for y in range(height + distance):
        if distance > 0 and y < height:
            _follow(gt, y, distance, gt_since, changed, ends)
            _follow(pred, y, distance, pred_since, changed, ends)
        if y < distance:
            continue
        if distance > 0:
            _edges(gt_since, pred_since, y, height, distance, edge)
        true, guess = gt[y - distance], pred[y - distance]
        while 2 * (used + width) > len(keys):
            keys, pixels = _doubled(keys, pixels)
        _note_changes(true, guess, edge, changed)
        start = 0
        for run in range(_ends(changed, width, ends)):
            gt_id, guessed = np.int64(true[start]), np.int64(guess[start])
            if gt_id != ignored:
                if gt_id < 0 or gt_id > num_classes:
                    return keys[:0], pixels[:0], np.array([gt_id])
                if guessed < 0 or guessed > num_classes:
                    guessed = np.int64(num_classes + 1)
                key = (gt_id * (num_classes + 2) + guessed) * EDGES + np.int64(edge[start])
                slot = _slot(keys, key)
                if keys[slot] < 0:
                    keys[slot] = key
                    used += 1
                pixels[slot] += ends[run] - start
            start = ends[run]
    return keys[keys >= 0], pixels[keys >= 0], keys[:0]


@compiled
def count_levels(
    gt: Ids, pred: Ids, attention: Floats, limits: Floats, num_classes: int, ignored: int
) -> tuple[Int64, Int32, Int64, bool]:
    """Counts the pixels of each (true id, predicted id, number of limits reached).

    Args:
        gt: H x W true ids, as in `count_pairs`.
        pred: H x W predicted ids, as in `count_pairs`.
        attention: H x W.
        limits: Ascending, of the attention's type; a limit is reached by what is not below it.
        num_classes: K.
        ignored: Id of the pixels that are left out.

    Returns:
        Keys gt * (K + 2) + pred in no order, their pixels by level (keys x levels), the first id
        that the ground gt_id must not hold, if any, and whether the attention is free of NaN.
    """
    height, width = gt.shape
    levels, guesses = len(limits) + 1, np.zeros(width, np.int32)
    grid = np.array([limits[0], 0, 0, len(limits)]).astype(limits.dtype)
    if limits[-1] > limits[0]:
        grid[1] = (len(limits) - 1) / (limits[-1] - limits[0])
        grid[0] -= 1 / grid[1]
    changed, ends = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty(width, np.int64)
    keys, rows = np.full(256, -1, np.int64), np.zeros(256, np.int64)
    pairs, table = np.empty(64, np.int64), np.zeros((64, levels), np.int32)
    used = 0
    for y in range(height):
        true, guess, values = gt[y], pred[y], attention[y]
        while 2 * (used + width) > len(keys):
            keys, rows = _doubled(keys, rows)
        _guess_levels(values, grid, guesses)
        _note_changes(true, guess, guess, changed)
        runs = _ends(changed, width, ends)
        while used + runs > len(pairs):
            pairs, table = np.append(pairs, pairs), np.concatenate((table, np.zeros_like(table)))
        start = 0
        for run in range(runs):
            gt_id, guessed = np.int64(true[start]), np.int64(guess[start])
            if gt_id != ignored:
                if gt_id < 0 or gt_id > num_classes:
                    return pairs[:0], table[:0], np.array([gt_id]), True
                if guessed < 0 or guessed > num_classes:
                    guessed = np.int64(num_classes + 1)
                key = gt_id * (num_classes + 2) + guessed
                slot = _slot(keys, key)
                if keys[slot] < 0:
                    keys[slot], rows[slot], pairs[used] = key, used, key
                    used += 1
                if not _add_levels(values, guesses, start, ends[run], limits, table[rows[slot]]):
                    return pairs[:0], table[:0], keys[:0], False
            start = ends[run]
    return pairs[:used], table[:used], keys[:0], True


@compiled
def _guess_levels(values: Floats, grid: Floats, guesses: Int32) -> None:
    """How many limits each value would reach if they were evenly spaced."""
    origin, scale, low, high = grid  # all of one type: others are not vectorised
    for x in range(len(values)):
        level = (values[x] - origin) * scale
        level = low if level < low else level
        guesses[x] = np.int32(high if level > high else level)


@compiled
def _add_levels(
    values: Floats, guesses: Int32, start: int, end: int, limits: Floats, row: Int32
) -> bool:
    """Counts how many limits each value reaches, from a guess; False if a value is NaN."""
    for x in range(start, end):
        value, level = values[x], guesses[x]
        if value != value:
            return False
        while level < len(limits) and value >= limits[level]:
            level += 1
        while level > 0 and value < limits[level - 1]:
            level -= 1
        row[level] += 1
    return True


@compiled
def _note_changes(a: Ids, b: Ids, c: Ids, changed: Bytes) -> None:
    for x in range(1, len(a)):
        changed[x] = (a[x] != a[x - 1]) | (b[x] != b[x - 1]) | (c[x] != c[x - 1])


@compiled
def _slot(keys: Int64, key: np.int64) -> np.int64:
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
