"""Measures over the pixels of all images at once, from counts by bin, with their largest error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pooled:
    """Measures over all pixels of all images, in percent; NaN where there are none.

    The values of each map are first brought to 0..1, its lowest value at 0 and its highest at 1 (a
    constant map is 0 everywhere), and then counted by bin. What the bins hide is bounded: each
    `_error` says how far, at most, the measure without bins can be away, in percentage points,
    and is reckoned from the bins as they are filled.

    Attributes:
        bins: Number of bins, equal parts of 0..1.
        pixels: Pixels that are counted: not ignored, of images with a target and a finite map.
        average_precision: Precision averaged over recall; PxAP of Choe et al., "Evaluating Weakly
            Supervised Object Localization Methods Right", CVPR 2020.
        average_precision_error: See above.
        roc_auc: Area under the ROC curve.
        roc_auc_error: See above.
        iou: Sum of intersections over sum of unions at the best threshold of all bins' lower ends.
        iou_error: How much higher a threshold inside of a bin can score.
        threshold: That threshold, 0..1: a pixel counts as found where its value is not below it.
    """

    bins: int
    pixels: int
    average_precision: float
    average_precision_error: float
    roc_auc: float
    roc_auc_error: float
    iou: float
    iou_error: float
    threshold: float


def pool(counts: Int64) -> Pooled:
    """The pooled measures.

    Args:
        counts: 2 x bins: pixels outside and inside of objects, the lowest values first.
    """
    bins, total = counts.shape[1], int(counts.sum())
    outside, inside = counts[:, ::-1].astype(np.float64)  # from the highest value down; < 2^53
    negatives, positives = outside.sum(), inside.sum()
    nan = float("nan")
    if not positives:
        return Pooled(bins, total, nan, nan, nan, nan, nan, nan, nan)
    hit, false = inside.cumsum(), outside.cumsum()
    precision, precision_error = _precision(inside, outside, hit, false)
    roc_auc, roc_auc_error = nan, nan
    if negatives:
        pairs = negatives * positives
        roc_auc = float((inside * (negatives - false + outside / 2)).sum() / pairs)
        roc_auc_error = float((inside * outside / 2).sum() / pairs)
    ious = hit / (positives + false)
    best = int(ious.argmax())
    possible = hit / (positives + false - outside)  # all of a bin's object above the rest of it
    threshold = (bins - 1 - best) / bins
    return Pooled(
        bins,
        total,
        100 * precision,
        100 * precision_error,
        100 * roc_auc,
        100 * roc_auc_error,
        100 * float(ious[best]),
        100 * float(possible.max() - ious[best]),
        threshold,
    )


def _precision(
    inside: Float64, outside: Float64, hit: Float64, false: Float64
) -> tuple[float, float]:
    """Average precision, 0..1, and its largest error.

    Inside of a bin the object's pixels add most if they all come first and are equal, and least
    if each comes by itself after all others. Their precision then rises along a concave curve, so
    its chord is below the sum.
    """
    rows = inside > 0
    n, other, tp, fp = inside[rows], outside[rows], hit[rows], false[rows]
    last = tp / (tp + fp)
    most = tp / (tp + fp - other)
    first = (tp - n + 1) / (tp - n + 1 + fp)
    value, high, low = ((n * x).sum() / n.sum() for x in (last, most, (first + last) / 2))
    return float(value), float(max(high - value, value - low))
