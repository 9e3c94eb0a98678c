"""Every published figure, from pixel counts that are exact and mergeable in any order."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.counts import (
    GT_EDGE,
    PRED_EDGE,
    Counts,
    Int64,
    concatenate,
    count,
    masks_of,
)
from imagenets.masks import IGNORED, OTHER

BUCKETS = ("S", "MS", "ML", "L")
"""Object sizes: a class covers up to 5, 25, 50 percent of its image, or more."""

BUCKET_LIMITS = (5, 25, 50)
"""Upper limits of the first three buckets, in percent of the pixels that are not ignored."""

BETA2 = 0.3
"""Weight of recall against precision in the F-measure."""

_FIXED = 1 << 40  # F-measures are summed as multiples of 2^-40: exact in any order

Float = npt.NDArray[np.float64]


class Figures(TypedDict):
    """The figures by their published names, in percent; `IoUs` holds one for each id 0..K."""

    Acc: float
    mIoU: float
    mBIoU: float
    FMeasure: float
    S: float
    MS: float
    ML: float
    L: float
    BS: float
    BMS: float
    BML: float
    BL: float
    IoUs: list[float]


class Evaluator:
    """Accumulates every figure; images may come in any order and in any number of parts.

    Example:
        >>> evaluator = Evaluator(num_classes=50)
        >>> evaluator.update(pred, gt)  # H x W ids, as often as there are images
        >>> evaluator.compute()["mIoU"]

    Attributes:
        num_classes: K; ids are 0 (other) to K.
        images: Number of images so far.
        pixels: int64, 5 x 2 x 3 x (K + 1): [all, S, MS, ML, L] x [areas, boundaries] x
            [predicted, true, both] x id.
        confusion: int64, (K + 1) x (K + 2): pixels by true and predicted id, the last column for
            predictions outside 0..K.
    """

    def __init__(self, num_classes: int, *, ignored: int = IGNORED) -> None:
        """Starts at nothing.

        Args:
            num_classes: K, the number of classes without other.
            ignored: Ground-truth id that is left out; must lie above K.

        Raises:
            UsageError: K is below 1, or `ignored` is one of the classes.
        """
        if num_classes < 1 or 0 <= ignored <= num_classes:
            raise UsageError(
                f"{num_classes} classes with ignored id {ignored}: the number of classes must be "
                "at least 1, and the ignored id must not be one of them."
            )
        self.num_classes = num_classes
        self.ignored = ignored
        self.images = 0
        self.pixels = np.zeros((1 + len(BUCKETS), 2, 3, num_classes + 1), np.int64)
        self.confusion = np.zeros((num_classes + 1, num_classes + 2), np.int64)
        self._hits = 0
        self._fmeasure = 0

    def update(self, pred: Any, gt: Any) -> None:
        """Adds one image or a batch.

        Args:
            pred: H x W or N x H x W predicted ids, NumPy array or tensor of any device, or a list
                of such; ids outside 0..K count as no class.
            gt: The true ids likewise, 0..K or the ignored id.

        Raises:
            UsageError: Shapes or types do not fit.
            CorruptError: The ground truth holds an id above K that is not the ignored one.
        """
        preds, gts = list(masks_of(pred)), list(masks_of(gt))
        if len(preds) != len(gts):
            raise UsageError(f"{len(preds)} predictions for {len(gts)} ground-truth masks.")
        parts = [
            count(p, g, self.num_classes, ignored=self.ignored)
            for p, g in zip(preds, gts, strict=True)
        ]
        self.add(concatenate(parts, self.num_classes))

    def add(self, counts: Counts) -> None:
        """Adds images that were counted before."""
        self._same(counts.num_classes)
        self.images += counts.images
        self.pixels += totals(counts)
        np.add.at(self.confusion, (counts.gt, counts.pred), counts.pixels)
        self._hits += int(hits(counts).sum())
        self._fmeasure += int(np.rint(fmeasures(counts) * _FIXED).astype(np.int64).sum())

    def merge(self, other: Evaluator) -> None:
        """Adds what another evaluator has seen; the order makes no difference at all."""
        self._same(other.num_classes)
        self.images += other.images
        self.pixels += other.pixels
        self.confusion += other.confusion
        self._hits += other._hits
        self._fmeasure += other._fmeasure

    def compute(self) -> Figures:
        """The figures so far.

        Raises:
            UsageError: Nothing was added yet.
        """
        if not self.images:
            raise UsageError("there is nothing to compute figures from: no image was added.")
        return figures(self.pixels, self._hits / self.images, self._fmeasure / _FIXED / self.images)

    def _same(self, num_classes: int) -> None:
        if num_classes != self.num_classes:
            raise UsageError(f"cannot merge {num_classes} classes with {self.num_classes}.")


def figures(pixels: npt.NDArray[Any], accuracy: float, fmeasure: float) -> Figures:
    """Figures from totals.

    Args:
        pixels: 5 x 2 x 3 x (K + 1) as in `Evaluator.pixels`.
        accuracy: Image accuracy, 0..1.
        fmeasure: Mean F-measure, 0..1.
    """
    whole = ious(pixels[0])  # 2 x (K + 1)
    result: dict[str, Any] = {
        "Acc": 100 * accuracy,
        "mIoU": 100 * float(whole[0].mean()),
        "mBIoU": 100 * float(whole[1].mean()),
        "FMeasure": 100 * fmeasure,
    }
    for kind, prefix in enumerate(("", "B")):
        for bucket, name in enumerate(BUCKETS, start=1):
            present = pixels[bucket, kind, 1] > 0
            values = ious(pixels[bucket, kind])[present]
            result[prefix + name] = 100 * float(values.mean()) if values.size else 0.0
    result["IoUs"] = [100 * float(value) for value in whole[0]]
    return cast(Figures, result)


def ious(pixels: npt.NDArray[Any]) -> Float:
    """TP / (T + P - TP + 1e-10) along the last axis, from [..., (T, P, TP), id] pixel totals."""
    predicted, true, both = (pixels[..., i, :].astype(np.float64) for i in range(3))
    result: Float = both / (predicted + true - both + 1e-10)
    return result


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


def bucket_rows(counts: Counts) -> npt.NDArray[np.bool_]:
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
    is_other = counts.gt == OTHER
    rows = np.ones((1 + len(BUCKETS), len(key)), np.bool_)
    for bucket in range(1, 1 + len(BUCKETS)):
        own = ~is_other & (size == bucket)
        has = np.zeros(counts.images, np.bool_)
        has[counts.image[own]] = True
        rows[bucket] = own | (is_other & has[counts.image])
    return rows


def hits(counts: Counts) -> npt.NDArray[np.bool_]:
    """Whether each image's largest predicted class (other excluded) is in its ground truth.

    Of two classes of the same area the lower id counts as the larger.
    """
    ids = counts.num_classes + 1
    rows = np.flatnonzero((counts.pred != OTHER) & (counts.pred < ids))
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


def fmeasures(counts: Counts) -> Float:
    """F-measure of each image: foreground (any id but other) against foreground, beta^2 = 0.3."""

    def area(rows: npt.NDArray[np.bool_]) -> Float:
        return np.bincount(counts.image[rows], counts.pixels[rows], counts.images).astype(float)

    predicted, true = counts.pred != OTHER, counts.gt != OTHER
    both = area(predicted & true)
    precision = both / (area(predicted) + 1e-20)
    recall = both / (area(true) + 1e-20)
    result: Float = (1 + BETA2) * precision * recall / (BETA2 * precision + recall + 1e-20)
    return result
