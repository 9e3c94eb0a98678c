"""The attention threshold that scores best, all thresholds in one pass over the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation.boundary import plain
from imagenets.evaluation.counts import Int64, masks_of
from imagenets.evaluation.matching import Match, as_table, match
from imagenets.evaluation.metrics import ious
from imagenets.evaluation.sparse import Share, SparseSums
from imagenets.masks import BACKGROUND, IGNORED

Float = npt.NDArray[np.float64]

THRESHOLDS = tuple(step / 100 for step in range(81))
"""The published thresholds: 0.00 to 0.80 by 0.01."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What each threshold scores.

    Attributes:
        thresholds: As given, float64.
        miou: mIoU in percent at each threshold, each after its own matching.
        best: Index of the highest mIoU, the lowest threshold of equal ones.
        match: The match at the best threshold.
    """

    thresholds: Float
    miou: Float
    best: int
    match: Match

    @property
    def threshold(self) -> float:
        """The best threshold."""
        return float(self.thresholds[self.best])


class ThresholdSweep:
    """Scores predictions at every threshold: pixels whose attention lies below become other.

    Every threshold gets its own image-level matching. A pixel is foreground at the thresholds up
    to its attention, and an image holds an id at the thresholds up to the id's highest attention
    in it; so counts by (true id, predicted id, number of thresholds reached) say everything.
    """

    def __init__(
        self,
        num_classes: int,
        thresholds: Sequence[float] = THRESHOLDS,
        *,
        ignored: int = IGNORED,
    ) -> None:
        """Starts with no image.

        Args:
            num_classes: K.
            thresholds: Ascending, each in the same units as the attention.
            ignored: Ground-gt_id id that is left out.

        Raises:
            UsageError: No thresholds, or they do not ascend.
        """
        self.num_classes = num_classes
        self.thresholds = np.asarray(thresholds, np.float64)
        self.ignored = ignored
        if not len(self.thresholds) or (np.diff(self.thresholds) <= 0).any():
            raise UsageError("a sweep needs at least one threshold, in ascending order.")
        self._pixels = SparseSums()  # by true id, predicted id, thresholds reached
        self._images = SparseSums()  # the same of each image's highest attention

    def update(self, pred: Any, attention: Any, gt: Any) -> None:
        """Adds one image or a batch.

        Args:
            pred: H x W or N x H x W predicted ids (array, tensor, or a list of them).
            attention: Foreground attention of the same shape, any floating type; a pixel stays
                where it is not below the threshold, rounded to that type.
            gt: True ids of the same shape.

        Raises:
            UsageError: Shapes do not fit.
            CorruptError: The attention holds NaN, or the ground gt_id an id above K.
        """
        preds, maps, gts = list(masks_of(pred)), list(masks_of(attention)), list(masks_of(gt))
        if not len(preds) == len(maps) == len(gts):
            raise UsageError(
                f"{len(preds)} predictions, {len(maps)} attention maps, {len(gts)} true masks."
            )
        for p, a, g in zip(preds, maps, gts, strict=True):
            self._add(p, a, g)

    def merge(self, other: ThresholdSweep) -> None:
        """Adds what another sweep of the same classes and thresholds has seen."""
        same = np.array_equal(self.thresholds, other.thresholds)
        if not same or other.num_classes != self.num_classes:
            raise UsageError("cannot merge sweeps of other thresholds or numbers of classes.")
        for own, more in zip((self._pixels, self._images), other.sparse_sums(), strict=True):
            own.add(*more)

    def sparse_sums(self) -> list[Share]:
        """What was counted, as keys and numbers."""
        return [self._pixels.total(), self._images.total()]

    def replace(self, shares: Sequence[list[Share]]) -> None:
        """Forgets what was counted and takes the sum of these sparse_sums instead."""
        self._pixels, self._images = SparseSums(), SparseSums()
        for pixels, images in shares:
            self._pixels.add(*pixels)
            self._images.add(*images)

    def compute(self) -> SweepResult:
        """Scores all thresholds.

        Raises:
            UsageError: No image was added.
        """
        keys, pixels = self._pixels.total()
        if not len(keys):
            raise UsageError("there is nothing to sweep: no image was added.")
        ids, steps = self.num_classes + 1, len(self.thresholds)
        gt, pred, level = self._split(keys)
        true = np.bincount(gt, pixels, ids).astype(np.int64)
        occurrences = self._split(self._images.total()[0]), self._images.total()[1]
        # From the highest threshold down, more and more pixels keep their id.
        confusion = np.zeros((ids, ids + 1), np.int64)
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        miou = np.zeros(steps)
        matches: list[Match] = [{}] * steps
        for step in reversed(range(steps)):
            rows = level == step + 1
            np.add.at(confusion, (gt[rows], pred[rows]), pixels[rows])
            (image_gt, image_pred, image_level), number = occurrences
            rows = image_level == step + 1
            np.add.at(matrix, (image_pred[rows] - 1, image_gt[rows] - 1), number[rows])
            matches[step] = match(matrix)
            miou[step] = 100 * self._miou(confusion, true, matches[step])
        best = int(miou.argmax())
        return SweepResult(self.thresholds.copy(), miou, best, matches[best])

    def _miou(self, confusion: Int64, true: Int64, matched: Match) -> float:
        """Mean IoU over all ids, from the pixels by true and predicted id that keep their id."""
        table = as_table(matched, self.num_classes)
        kept = confusion.sum(axis=0)  # the last entry: predictions outside 0..K
        predicted = np.zeros_like(true)
        predicted[table] = kept[:-1]
        predicted[BACKGROUND] += true.sum() - kept.sum()
        both = np.zeros_like(true)
        both[table] = confusion[table, np.arange(len(table))]
        both[BACKGROUND] += true[BACKGROUND] - confusion[BACKGROUND].sum()
        return float(ious(np.stack([predicted, true, both])).mean())

    def _split(self, keys: Int64) -> tuple[Int64, Int64, Int64]:
        pairs, level = np.divmod(keys, len(self.thresholds) + 1)
        gt, pred = np.divmod(pairs, self.num_classes + 2)
        return gt, pred, level

    def _add(
        self,
        pred: npt.NDArray[Any],
        attention: npt.NDArray[Any],
        gt: npt.NDArray[Any],
    ) -> None:
        if not pred.shape == attention.shape == gt.shape or pred.ndim != 2:
            raise UsageError(
                f"prediction {pred.shape}, attention {attention.shape} and true mask {gt.shape} "
                "must have one H x W shape."
            )
        if not np.issubdtype(attention.dtype, np.floating):
            raise UsageError(f"the attention must be of a floating type, not {attention.dtype}.")
        from imagenets.evaluation.kernels import count_levels  # Numba: not before it is used

        k, levels = self.num_classes, len(self.thresholds) + 1
        limits = self.thresholds.astype(attention.dtype)  # rounded as the attention is, then exact
        kind = np.float32 if attention.dtype.itemsize <= 4 else np.float64
        pairs, table, odd, finite = count_levels(
            plain(gt),
            plain(pred),
            np.ascontiguousarray(attention, kind),
            limits.astype(kind),
            k,
            self.ignored,
        )
        if odd.size:
            raise CorruptError(f"the ground gt_id holds id {odd[0]}, not 0..{k} or ignored.")
        if not finite:
            raise CorruptError("the attention map holds NaN; give it finite values.")
        is_other = (
            pairs % (k + 2) == BACKGROUND
        )  # other is other at every threshold: one level will do
        table[is_other, -1] = table[is_other].sum(axis=1)
        table[is_other, :-1] = 0
        row, level = np.nonzero(table)
        self._pixels.add(pairs[row] * levels + level, table[row, level].astype(np.int64))
        self._add_image(pairs, table)

    def _add_image(self, pairs: Int64, table: npt.NDArray[np.int32]) -> None:
        """Adds the pairs (class, category) of one image, at the category's highest level."""
        k, levels = self.num_classes, table.shape[1]
        gt_id, guess = np.divmod(pairs, k + 2)
        classes = np.unique(gt_id[gt_id != BACKGROUND])
        top = np.where(table > 0, np.arange(levels), 0).max(axis=1, initial=0)
        highest = np.zeros(k + 2, np.int64)
        np.maximum.at(highest, guess, top)
        found = np.unique(guess[(guess != BACKGROUND) & (guess <= k)])
        keys = (classes[:, None] * (k + 2) + found) * levels + highest[found]
        self._images.add(keys.reshape(-1), np.ones(keys.size, np.int64))
