"""How sure the measures are: bootstrap over images, and a paired test of two methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.bootstrap import (
    Difference,
    Interval,
    Sums,
    Values,
    compare_sums,
    intervals_of,
)
from imagenets.evaluation.localization.measures import NAMES
from imagenets.evaluation.localization.metrics import ImageTable, LocalizationMetrics

Float64 = npt.NDArray[np.float64]

MACRO = "macro_"
"""Before the name of a measure that is averaged over classes."""


class ImageSums:
    """The values of images by class, which any weighting of the images sums up."""

    def __init__(self, table: ImageTable, undefined: npt.NDArray[np.bool_]) -> None:
        """Arranges the values.

        Args:
            table: Of the images.
            undefined: Images x measures: the values to leave out.
        """
        from scipy.sparse import csr_array

        self.images = len(table.names)
        ids, place = np.unique(table.target_ids, return_inverse=True)
        self._has_class, self._shape = ids > 0, (len(ids), len(NAMES))
        values = np.stack([table.values[name] for name in NAMES], axis=1)
        row, measure = np.nonzero(~undefined)
        where = row, place.reshape(-1)[row] * len(NAMES) + measure
        shape = self.images, len(ids) * len(NAMES)
        self._values: Any = csr_array((values[row, measure], where), shape=shape)
        self._there: Any = csr_array((np.ones(len(row)), where), shape=shape)

    @property
    def names(self) -> list[str]:
        """Names of the averages."""
        macros = [MACRO + name for name in NAMES] if self._has_class.any() else []
        return [*NAMES, *macros]

    def sums(self, weights: Float64) -> Sums:
        """Weighted sums of the values, and of the weights of those that are there."""
        shape = (len(weights), *self._shape)
        total, there = weights @ self._values, weights @ self._there
        return np.asarray(total).reshape(shape), np.asarray(there).reshape(shape)

    def metrics(self, sums: Sums) -> Values:
        """The averages, over images and over classes, of each sample."""
        total, there = sums
        means = _divided(total.sum(axis=1), there.sum(axis=1))
        result = {name: means[:, k] for k, name in enumerate(NAMES)}
        if self._has_class.any():
            of_class = _divided(total, there)[:, self._has_class]
            known = ~np.isnan(of_class)
            macro = _divided(np.where(known, of_class, 0).sum(axis=1), known.sum(axis=1))
            result |= {MACRO + name: macro[:, k] for k, name in enumerate(NAMES)}
        return result


def intervals(
    metrics: LocalizationMetrics, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of every average over images and, as `macro_...`, over classes.

    Random weights of the images, as for the segmentation metrics (see `evaluation.bootstrap`); the
    classes are held fixed: other classes are not what an interval of `macro_...` speaks of.
    The pooled measures have none: the values of each image are not kept.

    Args:
        metrics: Of one method.
        samples: Number of samples.
        level: Of the intervals.
        seed: The same seed gives the same samples.

    Raises:
        UsageError: Fewer than 2 images with a target or 2 samples, or a level outside 0..1.
    """
    sums = ImageSums(metrics.per_image, _undefined(metrics.per_image))
    _check_any(metrics.per_image)
    return intervals_of(sums, sums.names, samples, level, seed)


def compare(
    a: LocalizationMetrics,
    b: LocalizationMetrics,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Tests two methods against each other on the same images, paired by name.

    A measure takes the images in which both methods have a value. Averages over classes,
    `macro_...`, have an interval and no p-value (NaN): the interval holds the classes fixed, and
    swapping the methods image by image does not.

    Args:
        a: Of the first method.
        b: Of the second, on the same images.
        samples: Bootstrap samples, and as many random swaps.
        level: Of the intervals.
        seed: The same seed gives the same answer.

    Raises:
        UsageError: The images or their targets differ, they have no names, or as `intervals`.
    """
    first, second = a.per_image, b.per_image
    _check_pairs(first, second)
    _check_any(first)
    undefined = _undefined(first) | _undefined(second)
    one, two = ImageSums(first, undefined), ImageSums(second, undefined)
    found = compare_sums(one, two, one.names, samples, level, seed)
    return {
        name: replace(item, p=float("nan")) if name.startswith(MACRO) else item
        for name, item in found.items()
    }


def _check_pairs(a: ImageTable, b: ImageTable) -> None:
    if "" in a.names or "" in b.names:
        raise UsageError("images are paired by name: give names to `update`.")
    own, others = (set(zip(t.names, t.target_ids.tolist(), strict=True)) for t in (a, b))
    if own != others:
        told = [
            f"{len(found)} images are only in {which}, such as {', '.join(sorted(found)[:3])}"
            for which, found in (
                ("the first", {name for name, _ in own - others}),
                ("the second", {name for name, _ in others - own}),
            )
            if found
        ]
        raise UsageError(
            f"the two methods cannot be paired: {'; '.join(told)} (an image counts with its "
            "target id). Score both on the same images."
        )
    for what in ("pixels", "counted"):
        differs = np.flatnonzero(getattr(a, what) != getattr(b, what))
        if len(differs):
            raise UsageError(
                f"{len(differs)} images have other targets in the two, such as "
                f"{a.names[differs[0]]}: score both in the same view."
            )


def _check_any(table: ImageTable) -> None:
    count = int((table.pixels > 0).sum())
    if count < 2:
        raise UsageError(f"there is nothing to resample: {count} images have a target, not 2.")


def _undefined(table: ImageTable) -> npt.NDArray[np.bool_]:
    return np.isnan(np.stack([table.values[name] for name in NAMES], axis=1))


def _divided(total: Float64, number: Any) -> Float64:
    """Quotients, NaN where the divisor is 0."""
    result: Float64 = np.where(number > 0, total / np.where(number > 0, number, 1), np.nan)
    return result
