"""From the counts of images to totals over them, and to what is said of each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.evaluation.counts import GT_EDGE, PRED_EDGE, Counts, Int64
from imagenets.masks import BACKGROUND
from imagenets.tiers import BUCKET_LIMITS, BUCKETS

BETA2 = 0.3
"""Weight of recall against precision in the F-measure."""

Flags = npt.NDArray[np.bool_]


def totals(counts: Counts) -> Int64:
    """Sums counts over their images to the totals that `Evaluator.pixels` holds."""
    ids = counts.num_classes + 1
    result = np.zeros((1 + len(BUCKETS), 2, 3, ids), np.int64)
    for index, (_, row, label) in entries(counts).items():
        sums = np.bincount(label, counts.pixels[row], ids)  # float64: exact up to 2^53 pixels
        result[index] = sums.astype(np.int64)
    return result


Entry = tuple[npt.NDArray[np.int32], Int64, npt.NDArray[np.int32]]


def entries(counts: Counts) -> dict[tuple[int, int, int], Entry]:
    """Which rows of the counts enter which total.

    Returns:
        (bucket, kind, which) as in `Evaluator.pixels` -> (image, row, id), arrays of one length.
    """
    shares = bucket_rows(counts)
    inside = counts.pred <= counts.num_classes
    correct = counts.gt == counts.pred
    gt_edge, pred_edge = counts.edge & GT_EDGE > 0, counts.edge & PRED_EDGE > 0
    columns = {
        (0, 0): (inside, counts.pred),
        (0, 1): (np.ones(len(inside), np.bool_), counts.gt),
        (0, 2): (correct, counts.gt),
        (1, 0): (inside & pred_edge, counts.pred),
        (1, 1): (gt_edge, counts.gt),
        (1, 2): (correct & gt_edge & pred_edge, counts.gt),
    }
    result = {}
    for bucket in range(1 + len(BUCKETS)):
        for (kind, which), (mask, label) in columns.items():
            row = np.flatnonzero(mask & shares[bucket])
            result[bucket, kind, which] = (counts.image[row], row, label[row])
    return result


def bucket_rows(counts: Counts) -> Flags:
    """Which rows belong to [all, S, MS, ML, L]: 5 x rows.

    In an image a class has the size v = ceil(100 * its pixels / pixels not ignored). A bucket
    takes the pixels of its classes and those of other, in images that have a class of it.
    """
    ids = counts.num_classes + 1
    key = counts.image.astype(np.int64) * ids + counts.gt
    keys, inverse = np.unique(key, return_inverse=True)
    inverse = inverse.reshape(-1)
    area = np.bincount(inverse, counts.pixels, len(keys)).astype(np.int64)
    whole = np.bincount(counts.image, counts.pixels, counts.images).astype(np.int64)
    percent = -(-100 * area // whole[keys // ids])  # ceil, in integers
    size = (1 + np.searchsorted(BUCKET_LIMITS, percent))[inverse]
    is_other = counts.gt == BACKGROUND
    rows = np.ones((1 + len(BUCKETS), len(key)), np.bool_)
    for bucket in range(1, 1 + len(BUCKETS)):
        own = ~is_other & (size == bucket)
        has = np.zeros(counts.images, np.bool_)
        has[counts.image[own]] = True
        rows[bucket] = own | (is_other & has[counts.image])
    return rows


def hits(counts: Counts) -> Flags:
    """Whether each image's largest predicted class (other excluded) is in its ground truth.

    Of two classes of the same area the lower id counts as the larger.
    """
    ids = counts.num_classes + 1
    rows = np.flatnonzero((counts.pred != BACKGROUND) & (counts.pred < ids))
    keys, inverse = np.unique(
        counts.image[rows].astype(np.int64) * ids + counts.pred[rows], return_inverse=True
    )
    area = np.bincount(inverse.reshape(-1), counts.pixels[rows], len(keys))
    order = np.lexsort((keys % ids, -area, keys // ids))
    best = keys[order][np.unique(keys[order] // ids, return_index=True)[1]]
    present = counts.image.astype(np.int64) * ids + counts.gt
    result = np.zeros(counts.images, np.bool_)
    result[best[np.isin(best, present)] // ids] = True
    return result


def fmeasures(
    counts: Counts, dtype: type[np.float32 | np.float64] = np.float64
) -> npt.NDArray[np.floating[Any]]:
    """F-measure of each image: foreground (any id but other) against foreground, beta^2 = 0.3.

    Args:
        counts: Of any number of images.
        dtype: Type to reckon in.

    Returns:
        0..1, one an image.
    """

    def area(rows: Flags) -> npt.NDArray[np.floating[Any]]:
        return np.bincount(counts.image[rows], counts.pixels[rows], counts.images).astype(dtype)

    predicted, true = counts.pred != BACKGROUND, counts.gt != BACKGROUND
    both = area(predicted & true)
    precision = both / (area(predicted) + dtype(1e-20))
    recall = both / (area(true) + dtype(1e-20))
    weighted = dtype(BETA2) * precision + recall + dtype(1e-20)
    return dtype(1 + BETA2) * precision * recall / weighted


def image_ious(counts: Counts) -> npt.NDArray[np.float64]:
    """Mean IoU and mean boundary IoU of each image, over the ids in its ground truth.

    Returns:
        images x 2, 0..1; NaN where an image has no such pixels.
    """
    ids = counts.num_classes + 1
    found = entries(counts)
    result = np.full((counts.images, 2), np.nan)
    for kind in (0, 1):
        parts = [found[0, kind, which] for which in range(3)]
        keys = [image.astype(np.int64) * ids + label for image, _, label in parts]
        known, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        sizes = np.cumsum([len(key) for key in keys[:2]])
        predicted, true, both = (
            np.bincount(where, counts.pixels[row], len(known))
            for where, (_, row, _) in zip(np.split(inverse.reshape(-1), sizes), parts, strict=True)
        )
        counted = true > 0
        iou = both[counted] / (predicted + true - both)[counted]
        image = known[counted] // ids
        number = np.bincount(image, minlength=counts.images)
        total = np.bincount(image, iou, counts.images)
        result[number > 0, kind] = total[number > 0] / number[number > 0]
    return result
