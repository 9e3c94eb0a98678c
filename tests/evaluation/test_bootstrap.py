"""Weighted sums against repeated images, intervals, and the paired test against enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from imagenets.errors import UsageError
from imagenets.evaluation.bootstrap import (
    Difference,
    Interval,
    Statistics,
    bootstrap,
    compare,
    intervals,
    metrics_of,
)
from imagenets.evaluation.counts import concatenate, count
from imagenets.evaluation.metrics import SCALARS, Evaluator

K = 3


def images(number, quality, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        gt = np.kron(rng.integers(0, K + 1, (3, 4)), np.ones((6, 6), int))
        noise = np.kron(rng.random((3, 4)) > quality, np.ones((6, 6), int))
        yield np.where(noise, (gt + 1) % (K + 1), np.roll(gt, 1, axis=1)), gt


def counted(pairs):
    return concatenate([count(pred, gt, K) for pred, gt in pairs], K)


def evaluated(pairs):
    evaluator = Evaluator(K)
    for pred, gt in pairs:
        evaluator.update(pred, gt)
    return evaluator.compute()


def test_weights_repeat_images():
    pairs = list(images(6, 0.7))
    weights = np.array([[1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 2, 0]])
    values = metrics_of(Statistics(counted(pairs)).sums(weights.astype(float)))
    for row, weight in enumerate(weights):
        repeated = [pair for pair, times in zip(pairs, weight, strict=True) for _ in range(times)]
        expected = evaluated(repeated)
        for name in (*SCALARS, "IoUs"):
            assert values[name][row] == pytest.approx(expected[name], abs=1e-8), name


def test_intervals_hold_the_figure_and_repeat_with_the_seed():
    pairs = list(images(40, 0.7))
    counts = counted(pairs)
    found, again = intervals(counts, 300), intervals(counts, 300)
    assert found == again != intervals(counts, 300, seed=1)
    narrow = intervals(counts, 300, level=0.5)
    expected = evaluated(pairs)
    for name in SCALARS:
        item = found[name]
        assert item.estimate == pytest.approx(expected[name])
        if item.error > 1e-9:
            assert item.low < item.estimate < item.high
            assert item.low < narrow[name].low < narrow[name].high < item.high
    assert len(found["IoUs"]) == K + 1
    assert found["IoUs"][1].estimate == pytest.approx(expected["IoUs"][1])


def test_the_error_is_that_of_fresh_images():
    """The bootstrap's error of one set is about the spread of the metric over many sets."""
    fresh = [evaluated(images(40, 0.7, seed))["mIoU"] for seed in range(60)]
    found = [bootstrap(counted(images(40, 0.7, s)), 200)["mIoU"].std() for s in range(100, 105)]
    assert np.mean(found) == pytest.approx(np.std(fresh), rel=0.35)


def test_the_paired_test_equals_the_enumeration_of_swaps():
    a, b = list(images(5, 0.6)), list(images(5, 0.8))
    gap = evaluated(b)["mIoU"] - evaluated(a)["mIoU"]
    swaps = []
    for flips in product((0, 1), repeat=5):
        pairs = list(zip(a, b, flips, strict=True))
        first = [y if flip else x for x, y, flip in pairs]
        second = [x if flip else y for x, y, flip in pairs]
        swaps.append(evaluated(second)["mIoU"] - evaluated(first)["mIoU"])
    exact = np.mean([abs(swap) >= abs(gap) - 1e-9 for swap in swaps])
    found = compare(counted(a), counted(b), 2000)["mIoU"]
    assert found.b - found.a == pytest.approx(gap)
    assert found.p == pytest.approx(exact, abs=0.04)


def test_the_paired_test_tells_better_from_equal():
    bad, good = counted(images(30, 0.4)), counted(images(30, 0.9))
    found = compare(bad, good, 200)
    assert found["mIoU"].p < 0.01
    assert 0 < found["mIoU"].low < found["mIoU"].b - found["mIoU"].a < found["mIoU"].high
    same = compare(bad, bad, 50)["mIoU"]
    assert (same.p, same.low, same.high) == (1, 0, 0)


def test_they_print_as_one_reads_them():
    assert str(Interval(1.2345, 0.5, 2.0, 0.3, 0.01)) == "1.23 (0.50 to 2.00)"
    change = Difference(29.2, 28.1, -1.523, -0.31, 0.00311)
    assert str(change) == "29.20 -> 28.10: -1.10 (-1.52 to -0.31), p 0.0031"


def test_bad_calls_are_refused():
    counts = counted(images(3, 0.5))
    with pytest.raises(UsageError, match="at least 2 samples"):
        intervals(counts, 1)
    with pytest.raises(UsageError, match="between 0"):
        intervals(counts, 10, level=1)
    with pytest.raises(UsageError, match="same images"):
        compare(counts, counted(images(2, 0.5)))
    with pytest.raises(UsageError, match="no image"):
        Statistics(counted([]))
