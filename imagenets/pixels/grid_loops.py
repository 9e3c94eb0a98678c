"""Compiled loops that turn what a network gives on its grid into the ids of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from imagenets.core.jit import compiled_for, inlined, types

_LONG = types.int64
_FLOAT = types.float32


@compiled_for(
    types.void(
        types.Array(types.uint16, 2, "C", readonly=True),
        types.Array(_FLOAT, 2, "C", readonly=True),
        _FLOAT,
        *(_LONG[::1], _LONG[::1], _FLOAT[:, ::1], _LONG[::1], _LONG[::1], _FLOAT[:, ::1]),
        types.uint16[:, ::1],
    )
)
def labels_at(
    ids: Any,
    level: Any,
    threshold: Any,
    rows: Any,
    tops: Any,
    downs: Any,
    columns: Any,
    lefts: Any,
    rights: Any,
    out: Any,
) -> None:
    """Fills the labels of an image; 0 where the level is below the threshold.

    Args:
        ids: h x w.
        level: h x w.
        threshold: Of the level.
        rows: H, the grid's nearest row.
        tops: H, the upper one of the two rows that the level is between.
        downs: 2 x H, the weights of the upper and of the lower one.
        columns: W, the nearest column.
        lefts: W, the left one of the two columns.
        rights: 2 x W, their weights.
        out: H x W; written.
    """
    height, width = out.shape
    last_row, last_column = level.shape[0] - 1, level.shape[1] - 1
    upper, lower = np.empty(width, np.float32), np.empty(width, np.float32)
    line = np.empty(width, np.uint16)
    before, row = -1, -1
    for y in range(height):
        top = tops[y]
        if top != before:
            bottom = min(top + 1, last_row)
            for x in range(width):
                left = lefts[x]
                right = min(left + 1, last_column)
                upper[x] = level[top, left] * rights[0, x] + level[top, right] * rights[1, x]
                lower[x] = level[bottom, left] * rights[0, x] + level[bottom, right] * rights[1, x]
            before = top
        if rows[y] != row:
            row = rows[y]
            for x in range(width):
                line[x] = ids[row, columns[x]]
        one, other = downs[0, y], downs[1, y]
        for x in range(width):
            reached = upper[x] * one + lower[x] * other >= threshold
            out[y, x] = line[x] if reached else np.uint16(0)


_ROUNDING = np.float32(1e-6)
"""Above the rounding of a weighted sum of four, as a share of the largest of them."""


@inlined()
def _contenders(a: Any, b: Any, c: Any, d: Any, chosen: Any) -> Any:
    """Finds the classes that can be the largest somewhere between four neighbours of the grid.

    A weighted mean lies between the smallest and the largest of the four: a class whose largest is
    below what another class has at least is nowhere the first. Fills `chosen`, in order; returns
    how many.
    """
    floor, scale = -np.float32(np.inf), np.float32(0)
    for k in range(a.shape[0]):
        low = min(min(a[k], b[k]), min(c[k], d[k]))
        high = max(max(a[k], b[k]), max(c[k], d[k]))
        floor = max(floor, low)
        scale = max(scale, max(high, -low))
    floor -= scale * _ROUNDING
    count = 0
    for k in range(a.shape[0]):
        if max(max(a[k], b[k]), max(c[k], d[k])) >= floor:
            chosen[count] = k
            count += 1
    return count


@compiled_for(
    types.void(
        types.Array(_FLOAT, 3, "C", readonly=True),
        *(_LONG[::1], _FLOAT[:, ::1], _LONG[::1], _FLOAT[:, ::1]),
        types.uint16[:, ::1],
    )
)
def largest_at(logits: Any, tops: Any, downs: Any, lefts: Any, rights: Any, out: Any) -> None:
    """Fills the class whose bilinearly resized logit is the largest; of equal ones the first.

    Args:
        logits: h x w x C.
        tops: H, the upper one of the two rows that an output row is between.
        downs: 2 x H, the weights of the upper and of the lower one.
        lefts: W, the left one of the two columns.
        rights: 2 x W, their weights.
        out: H x W; written.
    """
    height, width = out.shape
    chosen = np.empty(logits.shape[2], np.int64)
    best = np.empty(width, np.float32)
    first = 0
    while first < height:
        top, last = tops[first], first + 1
        while last < height and tops[last] == top:
            last += 1
        bottom = min(top + 1, logits.shape[0] - 1)
        start = 0
        while start < width:
            left, stop = lefts[start], start + 1
            while stop < width and lefts[stop] == left:
                stop += 1
            right = min(left + 1, logits.shape[1] - 1)
            a, b = logits[top, left], logits[top, right]
            c, d = logits[bottom, left], logits[bottom, right]
            count = _contenders(a, b, c, d, chosen)
            for y in range(first, last):
                one, other = downs[0, y], downs[1, y]
                line = out[y]
                best[start:stop] = -np.inf
                line[start:stop] = 0
                for n in range(count):
                    k = chosen[n]
                    upper, lower = a[k] * one + c[k] * other, b[k] * one + d[k] * other
                    for x in range(start, stop):
                        value = upper * rights[0, x] + lower * rights[1, x]
                        if value > best[x]:
                            best[x] = value
                            line[x] = k
            start = stop
        first = last
