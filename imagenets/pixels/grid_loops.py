"""The compiled loop that turns ids and attention on a grid into the labels of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from imagenets.core.jit import compiled_for

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
