"""A threshold that needs no ground truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import CorruptError, UsageError


def otsu(values: npt.NDArray[np.floating[Any]]) -> float:
    """The threshold that parts values into two groups, each as close to its own mean as can be.

    Of Otsu, 1979: the variance between the groups is the largest. No histogram is made; every value
    is tried as the threshold.

    Args:
        values: Of any shape.

    Returns:
        The smallest value of the upper group: `values >= otsu(values)` is that group.

    Raises:
        UsageError: All values are equal, or there is none.
        CorruptError: A value is no finite number.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    if not np.isfinite(ordered).all():
        raise CorruptError("the attention holds NaN or infinite values; give it finite ones.")
    cuts = np.flatnonzero(np.diff(ordered) > 0) + 1  # sizes of the lower group
    if not len(cuts):
        raise UsageError("a threshold needs two different values, and there are none.")
    ordered_sum = np.cumsum(ordered)
    lower = ordered_sum[cuts - 1] / cuts
    upper = (ordered_sum[-1] - ordered_sum[cuts - 1]) / (len(ordered) - cuts)
    between = cuts * (len(ordered) - cuts.astype(np.float64)) * (upper - lower) ** 2
    return float(ordered[cuts[int(between.argmax())]])
