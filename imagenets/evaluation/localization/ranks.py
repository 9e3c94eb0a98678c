"""The measures that follow from the order of values alone: compiled into what calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import inlined
from imagenets.evaluation.localization.measures import (
    AUC,
    BEST_IOU,
    POINTING,
    PRECISION,
    RANK,
    SHARE_IOU,
)

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.unsignedinteger[Any]]

_STEP = 8
"""Codes that are compared at a time."""


@inlined()
def from_ranks(own: Codes, others: Codes, share: float, values: Float64) -> None:
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
        above = _above(others, reached, code)
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
    values[SHARE_IOU] = in_share / (inside + part - in_share)
    values[BEST_IOU], values[PRECISION] = best / best_of, precision / inside
    if outside:
        values[AUC] = pairs / (2 * inside * outside)


@inlined()
def _above(others: Codes, start: int, code: np.uint64) -> int:
    """How many of ascending codes lie below a code, if the first `start` are known to."""
    count = _STEP
    while count == _STEP and start + _STEP <= len(others):
        count = 0  # several at a time, without a branch for each
        for k in range(_STEP):
            count += others[start + k] < code
        start += count
    while start < len(others) and others[start] < code:
        start += 1
    return start


@inlined()
def _hits(rank: int, first: int, end: int, above: int, reached: int) -> float:
    """How many of the `rank` highest pixels lie inside, on average over all orders of ties."""
    if rank <= first + above:
        return float(first)
    return first + (rank - first - above) * (end - first) / (end - first + reached - above)
