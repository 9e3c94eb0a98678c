"""How sure the metrics are: bootstrap over images, and a paired test of two predictions.

Both work on the counts of each image, so the masks are read once. The bootstrap is the Bayesian one
(Rubin, 1981): each sample weighs the images at random (Dirichlet) instead of drawing some of them.
Drawing would leave the classes of few images out of many samples, where they count 0 in mIoU: with
60 images of 50 classes that moved mIoU by 4.5 points, and its interval away from the metric itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.metrics import SCALARS, ious, scalars
from imagenets.evaluation.statistics import entries, fmeasures, hits
from imagenets.tiers import BUCKETS

Float = npt.NDArray[np.float64]
Values = dict[str, Float]
"""Metrics by name, of R samples: R numbers each, R x (K + 1) for `IoUs`."""

Sums = tuple[Float, Float]
"""Weighted sums of the images, samples first: what metrics are made of, and what adds up."""

_BLOCK = 16  # samples at a time: bounds the memory to some 10 MB at 919 classes


@dataclass(frozen=True, slots=True)
class Interval:
    """What the bootstrap says of one metric, in percent.

    Attributes:
        estimate: The metric on all images.
        low: Lower end of the percentile interval.
        high: Upper end.
        error: Standard deviation over the samples.
        bias: Mean over the samples less the estimate.
    """

    estimate: float
    low: float
    high: float
    error: float
    bias: float

    def __str__(self) -> str:
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of B less that of A on the same images.

    Attributes:
        a: The metric of A, percent.
        b: The metric of B, percent.
        low: Lower end of the bootstrap interval of B - A, percentage points.
        high: Upper end.
        p: Two-sided p-value: how often swapping A and B at random, image by image, makes a
            difference at least as large.
    """

    a: float
    b: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        between = f"{self.low:+.2f} to {self.high:+.2f}"
        return f"{self.a:.2f} -> {self.b:.2f}: {self.b - self.a:+.2f} ({between}), p {self.p:.4f}"


class Resampled(Protocol):
    """What any weighting of the images sums up, and makes metrics of.

    Attributes:
        images: Number of images.
    """

    images: int

    def sums(self, weights: Float) -> Sums:
        """Adds the images up.

        Args:
            weights: R x images: what each image counts in each of R samples.

        Returns:
            Two arrays whose first axis is that of the R samples.
        """

    def metrics(self, sums: Sums) -> Values:
        """Reckons the metrics of each sample.

        Args:
            sums: Of R samples, as the method `sums` gives them, or several of these added up.

        Returns:
            R values of each metric.
        """


class Statistics:
    """Counts as sparse rows, one an image, that any weighting of the images sums up."""

    def __init__(self, counts: Counts) -> None:
        """Arranges the counts.

        Args:
            counts: Of all images.

        Raises:
            UsageError: There is no image.
        """
        from scipy.sparse import csr_array

        if not counts.images:
            raise UsageError("there is nothing to resample: no image was counted.")
        self.images, self._ids = counts.images, counts.num_classes + 1
        rows, columns, pixels = [], [], []
        for (bucket, kind, which), (image, row, label) in entries(counts).items():
            rows.append(image)
            columns.append(((bucket * 2 + kind) * 3 + which) * self._ids + label)
            pixels.append(counts.pixels[row])
        width = (1 + len(BUCKETS)) * 2 * 3 * self._ids
        data = np.concatenate(pixels).astype(np.float64)
        place = np.concatenate(rows), np.concatenate(columns)
        self._pixels: Any = csr_array((data, place), shape=(counts.images, width))
        self._means = np.stack([hits(counts), fmeasures(counts)], axis=1).astype(np.float64)

    def sums(self, weights: Float) -> Sums:
        """Adds the images up.

        Args:
            weights: R x images, float64: what each image counts in each of R samples; 1 each is
                the whole set.

        Returns:
            Weighted pixels, R x 5 x 2 x 3 x (K + 1) with the axes of `Evaluator.pixels`; and Acc
            with FMeasure, R x 2, in 0..1 where weights have mean 1.
        """
        pixels: Float = np.asarray(weights @ self._pixels)
        shape = (len(weights), 1 + len(BUCKETS), 2, 3, self._ids)
        return pixels.reshape(shape), weights @ self._means / self.images

    def metrics(self, sums: Sums) -> Values:
        """Reckons the metrics of each sample; see `metrics_of`.

        Args:
            sums: Of R samples, as the method `sums` gives them.

        Returns:
            R float64 values of each of `SCALARS`, R x (K + 1) of `IoUs`, in percent.
        """
        return metrics_of(sums)


def metrics_of(sums: Sums) -> Values:
    """Reckons the metrics of each sample.

    Args:
        sums: Of R samples, as `Statistics.sums` gives them: R x 5 x 2 x 3 x (K + 1), and R x 2.

    Returns:
        R float64 values of each of `SCALARS`, R x (K + 1) of `IoUs`, in percent.
    """
    pixels, means = sums
    values: Values = dict(scalars(pixels))
    values["Acc"], values["FMeasure"] = 100 * means[:, 0], 100 * means[:, 1]
    values["IoUs"] = 100 * ious(pixels[:, 0, 0])
    return values


def bootstrap(counts: Counts, samples: int = 1000, seed: int = 0) -> Values:
    """Reckons the metrics under random weights of the images (Rubin, 1981).

    Args:
        counts: Of all images.
        samples: Number of samples R, at least 1.
        seed: The same seed gives the same samples.

    Returns:
        R float64 values of each of `SCALARS`, R x (K + 1) of `IoUs`, in percent.

    Raises:
        UsageError: There is no image, or no sample is asked for.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples: at least 1 is needed.")
    return _bootstrap(Statistics(counts), samples, seed)


def _bootstrap(statistics: Resampled, samples: int, seed: int) -> Values:
    weights = _weights(statistics.images, samples, np.random.default_rng(seed))
    return _joined([statistics.metrics(statistics.sums(block)) for block in weights])


def intervals(
    counts: Counts, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval | list[Interval]]:
    """Finds the percentile interval of every metric.

    Args:
        counts: Of all images.
        samples: Bootstrap samples, at least 2.
        level: Share of the samples between the ends of an interval, above 0 and below 1.
        seed: The same seed gives the same intervals.

    Returns:
        Name of each of `SCALARS` -> its interval; "IoUs" -> a list of K + 1, of the ids 0..K.

    Raises:
        UsageError: No image, fewer than 2 samples, or a level outside 0..1.
    """
    _check(samples, level)
    statistics = Statistics(counts)
    whole = _whole(statistics)
    found = _bootstrap(statistics, samples, seed)
    result: dict[str, Interval | list[Interval]] = {
        name: _interval(whole[name][0], found[name], level) for name in SCALARS
    }
    result["IoUs"] = [
        _interval(estimate, column, level)
        for estimate, column in zip(whole["IoUs"][0], found["IoUs"].T, strict=True)
    ]
    return result


def intervals_of(
    statistics: Resampled, names: Sequence[str], samples: int, level: float, seed: int
) -> dict[str, Interval]:
    """Finds the percentile intervals of some metrics, of anything that sums up.

    Args:
        statistics: Of all images.
        names: Of the metrics, each one number a sample.
        samples: Bootstrap samples, at least 2.
        level: Share of the samples between the ends of an interval, above 0 and below 1.
        seed: The same seed gives the same intervals.

    Returns:
        Name -> interval, in the order of the names.

    Raises:
        UsageError: Fewer than 2 samples, or a level outside 0..1.
    """
    _check(samples, level)
    whole, found = _whole(statistics), _bootstrap(statistics, samples, seed)
    return {name: _interval(whole[name][0], found[name], level) for name in names}


def compare(
    a: Counts, b: Counts, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Difference]:
    """Tests two predictions of the same images against each other, metric by metric.

    Args:
        a: Counts of the first prediction.
        b: Counts of the second, images in the same order.
        samples: Bootstrap samples, and as many random swaps, at least 2. The smallest p-value is
            1 / (samples + 1).
        level: Share of the samples between the ends of an interval, above 0 and below 1.
        seed: The same seed gives the same answer.

    Returns:
        Name of each of `SCALARS` -> the second prediction less the first.

    Raises:
        UsageError: The numbers of images or classes differ, or as `intervals`.
    """
    _check(samples, level)
    if (a.images, a.num_classes) != (b.images, b.num_classes):
        raise UsageError(
            f"cannot pair {a.images} images of {a.num_classes} classes with {b.images} of "
            f"{b.num_classes}: both predictions must cover the same images."
        )
    return compare_sums(Statistics(a), Statistics(b), SCALARS, samples, level, seed)


def compare_sums(
    a: Resampled, b: Resampled, names: Sequence[str], samples: int, level: float, seed: int
) -> dict[str, Difference]:
    """As `compare`, of anything that sums up; images in the same order.

    Args:
        a: Of the first prediction.
        b: Of the second.
        names: Of the metrics to compare, each one number a sample.
        samples: Bootstrap samples, and as many random swaps, at least 2.
        level: Share of the samples between the ends of an interval, above 0 and below 1.
        seed: The same seed gives the same answer.

    Returns:
        Name -> the second prediction less the first, in the order of the names.

    Raises:
        UsageError: Fewer than 2 samples, or a level outside 0..1.
    """
    _check(samples, level)
    value_a, value_b = _whole(a), _whole(b)
    rng = np.random.default_rng(seed)
    drawn = _joined(
        [
            _difference(a.metrics(a.sums(weights)), b.metrics(b.sums(weights)), names)
            for weights in _weights(a.images, samples, rng)
        ]
    )
    swapped = _joined([_swapped(a, b, names, size, rng) for size in _blocks(samples)])
    result = {}
    for name in names:
        gap = float(value_b[name][0] - value_a[name][0])
        low, high = _percentiles(drawn[name], level)
        extreme = int((np.abs(swapped[name]) >= abs(gap) - 1e-9).sum())
        p = (1 + extreme) / (1 + samples)
        result[name] = Difference(float(value_a[name][0]), float(value_b[name][0]), low, high, p)
    return result


def _whole(statistics: Resampled) -> Values:
    """The metrics of all images, as they are."""
    return statistics.metrics(statistics.sums(np.ones((1, statistics.images))))


def _swapped(
    a: Resampled, b: Resampled, names: Sequence[str], size: int, rng: np.random.Generator
) -> Values:
    """Differences after A and B changed places in a random half of the images."""
    swap = rng.integers(0, 2, (size, a.images)).astype(np.float64)
    first = a.metrics(_add(a.sums(1 - swap), b.sums(swap)))
    second = b.metrics(_add(a.sums(swap), b.sums(1 - swap)))
    return _difference(first, second, names)


def _add(x: Sums, y: Sums) -> Sums:
    return x[0] + y[0], x[1] + y[1]


def _difference(a: Values, b: Values, names: Sequence[str]) -> Values:
    return {name: b[name] - a[name] for name in names}


def _weights(images: int, samples: int, rng: np.random.Generator) -> Iterator[Float]:
    """Yields random weights, of mean 1 in each sample: blocks of samples x images."""
    for size in _blocks(samples):
        weights = rng.standard_exponential((size, images))
        yield weights / weights.mean(axis=1, keepdims=True)


def _blocks(samples: int) -> list[int]:
    return [min(_BLOCK, samples - start) for start in range(0, samples, _BLOCK)]


def _joined(parts: list[Values]) -> Values:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _percentiles(values: Float, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _interval(estimate: float, values: Float, level: float) -> Interval:
    low, high = _percentiles(values, level)
    error, bias = float(values.std(ddof=1)), float(values.mean() - estimate)
    return Interval(float(estimate), low, high, error, bias)


def _check(samples: int, level: float) -> None:
    if samples < 2 or not 0 < level < 1:
        raise UsageError(
            f"{samples} samples at level {level}: give at least 2 samples and a level between 0 "
            "and 1."
        )
