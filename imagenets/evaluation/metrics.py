"""Every published metric, from pixel counts that are exact and mergeable in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.counts import Counts, Int64, concatenate, count, masks_of
from imagenets.evaluation.hints import hints
from imagenets.evaluation.sparse import Share, SparseSums
from imagenets.evaluation.statistics import fmeasures, hits, totals
from imagenets.masks import IGNORED
from imagenets.tiers import BUCKETS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_FIXED = 1 << 40  # F-measures are summed as multiples of 2^-40: exact in any order

Array = npt.NDArray[Any]
Absent = Literal["published", "skip", "zero"]


class Metrics(TypedDict):
    """The metrics by their published names, in percent (arXiv:2106.03149; docs/evaluation.md).

    Attributes:
        Acc: Share of the images whose largest predicted class is in their ground truth.
        mIoU: Mean IoU over all ids 0..K, other among them.
        mBIoU: The same on boundary maps (Cheng et al., "Boundary IoU", CVPR 2021,
            arXiv:2103.16562).
        FMeasure: F-measure of foreground against foreground with beta^2 = 0.3, mean over images.
        S: Mean IoU of the classes that cover up to 5 % of their image, and of other in these
            images. Like every size, 0 where there is no such class.
        MS: The same of those that cover more, up to 25 %.
        ML: The same of those that cover more, up to 50 %.
        L: The same of those that cover more than 50 %.
        BS: As S, on boundary maps.
        BMS: As MS, on boundary maps.
        BML: As ML, on boundary maps.
        BL: As L, on boundary maps.
        IoUs: IoU of each id 0..K, over all images.
    """

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


SCALARS = tuple(name for name in Metrics.__annotations__ if name != "IoUs")
"""The names of the metrics that are one number."""


class Evaluator:
    """Accumulates every metric; images may come in any order and in any number of parts.

    Example:
        >>> evaluator = Evaluator(num_classes=2)
        >>> evaluator.update(np.array([[0, 1], [2, 2]]), np.array([[0, 1], [1, 2]]))
        >>> round(evaluator.compute()["mIoU"], 2)
        66.67

    Attributes:
        num_classes: K; ids are 0 (other) to K.
        ignored: Ground-truth id that is left out.
        pixels: 5 x 2 x 3 x (K + 1): [all, S, MS, ML, L] x [areas, boundaries] x
            [predicted, true, both] x id, int64.
    """

    dtype: type[np.int64 | np.float32] = np.int64
    """Of the sums."""

    def __init__(self, num_classes: int, *, ignored: int = IGNORED) -> None:
        """Starts at nothing.

        Args:
            num_classes: K, the number of classes without other.
            ignored: Ground-truth id that is left out; must not be one of 0..K.

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
        self.pixels: Array = np.zeros((1 + len(BUCKETS), 2, 3, num_classes + 1), self.dtype)
        self._confusion = SparseSums()  # by true id * (K + 2) + predicted id
        self._images = np.zeros(1, np.int64)
        self._sums: Array = np.zeros(2, self.dtype)  # of hits and of F-measures

    @property
    def images(self) -> int:
        """Number of images so far."""
        return int(self._images[0])

    def update(self, pred: Any, gt: Any) -> None:
        """Adds one image or a batch.

        Args:
            pred: H x W or N x H x W predicted ids, NumPy array or tensor of any device, or a list
                of such; ids outside 0..K count as no class.
            gt: The true ids likewise, 0..K or the ignored id.

        Raises:
            UsageError: Shapes or types do not fit.
            CorruptError: The ground truth holds an id that is neither 0..K nor the ignored one.
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
        """Adds images that were counted before.

        Args:
            counts: Of any number of images, with boundary flags.

        Raises:
            UsageError: They are of another number of classes.
        """
        self._add_pixels(counts)
        self.pixels += totals(counts)
        fixed = np.rint(fmeasures(counts) * _FIXED).astype(np.int64)
        self._sums += np.array([hits(counts).sum(), fixed.sum()], np.int64)

    def _add_pixels(self, counts: Counts) -> None:
        """Adds to what is counted alike in every mode: images and the confusion matrix."""
        self._same(counts.num_classes == self.num_classes)
        self._images += counts.images
        keys = counts.gt.astype(np.int64) * (self.num_classes + 2) + counts.pred
        self._confusion.add(keys, counts.pixels)

    def merge(self, other: Evaluator) -> None:
        """Adds what another evaluator has seen; the order makes no difference at all.

        Args:
            other: Of the same classes and mode (`dtype`); not changed.

        Raises:
            UsageError: It has another number of classes or another mode.
        """
        self._same(other.num_classes == self.num_classes and other.dtype == self.dtype)
        for own, more in zip(self.state(), other.state(), strict=True):
            own += more
        self._confusion.add(*other._confusion.total())

    def state(self) -> list[Array]:
        """Gives the arrays that add up across evaluators; changing them changes this one.

        Returns:
            The number of images, shape (1,); `pixels`, 5 x 2 x 3 x (K + 1); and the sums over
            images of hits and of F-measures in units of 2^-40, shape (2,); all int64.
        """
        return [self._images, self.pixels, self._sums]

    def sparse_sums(self) -> list[Share]:
        """Gives what else adds up across evaluators: the confusion matrix, sparse.

        Returns:
            One pair of int64 arrays of one length. The keys, true id * (K + 2) + predicted id, are
            distinct and ascending; beside them stand the pixels of each.
        """
        return [self._confusion.total()]

    def replace(self, shares: Sequence[list[Share]]) -> None:
        """Forgets the confusion matrix and takes the sum of these instead.

        Args:
            shares: What `sparse_sums` gives on each rank.
        """
        self._confusion = SparseSums()
        for (share,) in shares:
            self._confusion.add(*share)

    @property
    def confusion(self) -> Int64:
        """(K + 1) x (K + 2) pixels by true and predicted id, the last column for those outside."""
        return np.asarray(self.sparse_confusion().todense())

    def sparse_confusion(self) -> csr_array[np.int64]:
        """Gives the confusion matrix without its zeros: of many classes, few meet.

        Returns:
            (K + 1) x (K + 2) int64 pixels, as `confusion`.
        """
        from scipy.sparse import coo_array

        keys, pixels = self._confusion.total()
        shape = self.num_classes + 1, self.num_classes + 2
        return coo_array((pixels, np.divmod(keys, shape[1])), shape).tocsr()

    def compute(self, absent: Absent = "published") -> Metrics:
        """Reckons the metrics of all images so far.

        Args:
            absent: What an id counts that is absent from the ground truth. "published": 0 in mIoU
                and mBIoU, left out in the sizes. "skip": left out everywhere. "zero": 0
                everywhere, the convention of the published upper bounds by size.

        Returns:
            Every metric in percent; `IoUs` has K + 1.

        Raises:
            UsageError: Nothing was added yet.
        """
        self._check_images()
        accuracy, fmeasure = self._sums / np.array([1, _FIXED]) / self.images
        values = scalars(self.pixels, absent)
        values |= {"Acc": 100 * accuracy, "FMeasure": 100 * fmeasure}
        result: dict[str, Any] = {name: float(values[name]) for name in SCALARS}
        result["IoUs"] = (100 * ious(self.pixels[0, 0])).tolist()
        return cast(Metrics, result)

    @property
    def empty(self) -> list[str]:
        """Names of the metrics by size that have no object: their 0 says nothing."""
        areas = self.pixels[1:, :, 1].sum(axis=-1) > 0  # bucket x [areas, boundaries]
        return [
            prefix + name
            for kind, prefix in enumerate(("", "B"))
            for bucket, name in enumerate(BUCKETS)
            if not areas[bucket, kind]
        ]

    def hints(self) -> list[str]:
        """Looks for signs that these scores mean something else than one thinks.

        Such as ids that start at another number, or clusters without a match.

        Returns:
            One sentence for each sign; empty where all looks well.
        """
        return hints(self.confusion)

    def _check_images(self) -> None:
        if not self.images:
            raise UsageError("there is nothing to compute metrics from: no image was added.")

    def _same(self, same: bool) -> None:
        if not same:
            raise UsageError("cannot merge evaluators of other numbers of classes or modes.")


def scalars(pixels: Array, absent: Absent = "published") -> dict[str, Array]:
    """Reckons the metrics that follow from pixel totals: all of `SCALARS` but Acc and FMeasure.

    Args:
        pixels: ... x 5 x 2 x 3 x (K + 1) as in `Evaluator.pixels`; leading axes are kept.
        absent: As in `Evaluator.compute`.

    Returns:
        Name -> percent, float64, of the shape of the leading axes.
    """
    result = {}
    for kind, prefix in enumerate(("", "B")):
        for bucket, name in enumerate(("IoU", *BUCKETS)):
            part = pixels[..., bucket, kind, :, :]
            skip = absent == "skip" or (absent == "published" and bucket > 0)
            counted = part[..., 1, :] > 0 if skip else np.ones(part[..., 1, :].shape, np.bool_)
            total = np.where(counted, ious(part), 0.0).sum(axis=-1)
            label = f"m{prefix}IoU" if bucket == 0 else prefix + name
            result[label] = 100 * total / np.maximum(counted.sum(axis=-1), 1)
    return result


def ious(pixels: Array) -> npt.NDArray[np.float64]:
    """Reckons TP / (T + P - TP + 1e-10) of every id.

    Args:
        pixels: ... x 3 x N totals of any dtype: [predicted T, true P, both TP] x id; leading axes
            are kept.

    Returns:
        ... x N float64, 0..1; 0 where an id has no pixels.
    """
    predicted, true, both = (pixels[..., i, :].astype(np.float64) for i in range(3))
    result: npt.NDArray[np.float64] = both / (predicted + true - both + 1e-10)
    return result
