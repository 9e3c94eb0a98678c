"""Intervals and the paired test of heat maps: repeated images, enumerated swaps, wrong pairs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from imagenets.errors import UsageError
from imagenets.evaluation.localization import (
    MEASURES,
    LocalizationEvaluator,
    compare,
    intervals,
)
from imagenets.evaluation.localization.comparing import ImageSums


def metrics(count, quality, *, seed=0, ids=True, order=1, picked=None):
    evaluator = LocalizationEvaluator()
    for number in range(count)[::order]:
        rng = np.random.default_rng(number)
        target = np.zeros((12, 12), np.uint8)
        target[3:8, 2:7] = number != 1  # image 1 has no target
        target[0] = 255
        noise = np.random.default_rng(1000 * seed + number).random((12, 12))
        heat = quality * target + noise
        for time in range(1 if picked is None else picked[number]):
            label = 1 + rng.integers(3) if ids else 0
            evaluator.update(heat, target, int(label), f"{number}.{time}")
    return evaluator.compute()


def undefined(found):
    return np.isnan(np.stack(list(found.per_image.values.values()), axis=1))


def test_weights_repeat_images():
    whole = metrics(6, 0.4)
    weights = np.array([[1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 2, 0]])
    sums = ImageSums(whole.per_image, undefined(whole))
    values = sums.metrics(sums.sums(weights.astype(float)))
    for row, weight in enumerate(weights):
        expected = metrics(6, 0.4, picked=weight)
        for name in MEASURES:
            assert values[name][row] == pytest.approx(expected.mean[name]), name
            assert values["macro_" + name][row] == pytest.approx(expected.macro[name]), name


def test_intervals_hold_the_figure_and_repeat_with_the_seed():
    whole = metrics(40, 0.4)
    found = intervals(whole, 300)
    assert found == intervals(metrics(40, 0.4, order=-1), 300) != intervals(whole, 300, seed=1)
    for name in MEASURES:
        for item, value in (
            (found[name], whole.mean[name]),
            (found["macro_" + name], whole.macro[name]),
        ):
            assert item.estimate == pytest.approx(value)
            assert item.low <= item.estimate <= item.high
    assert found["roc_auc"].low < found["roc_auc"].high
    assert "macro_energy" not in intervals(metrics(9, 0.4, ids=False), 20)


def test_the_error_is_that_of_a_mean():
    whole = metrics(60, 0.4)
    values = whole.per_image.values["roc_auc"]
    values = values[~np.isnan(values)]
    expected = values.std(ddof=1) / np.sqrt(len(values))
    assert intervals(whole, 2000)["roc_auc"].error == pytest.approx(expected, rel=0.1)


def test_the_paired_test_equals_the_enumeration_of_swaps():
    a, b = metrics(6, 0.3), metrics(6, 0.5, seed=1)
    own, other = (m.per_image.values["average_precision"] for m in (a, b))
    gaps = (other - own)[~np.isnan(own)]
    swaps = [np.mean(gaps * signs) for signs in product((-1, 1), repeat=len(gaps))]
    exact = np.mean(np.abs(swaps) >= abs(gaps.mean()) - 1e-9)
    found = compare(a, b, 3000)["average_precision"]
    assert found.b - found.a == pytest.approx(gaps.mean())
    assert found.p == pytest.approx(exact, abs=0.04)


def test_better_differs_and_equal_does_not():
    bad, good = metrics(30, 0.1), metrics(30, 0.9, seed=1, order=-1)
    found = compare(bad, good, 300)
    for name in ("roc_auc", "macro_roc_auc", "energy"):
        assert found[name].p < 0.02 or name.startswith("macro_")
        assert 0 < found[name].low < found[name].b - found[name].a < found[name].high
    assert found["roc_auc"].a == pytest.approx(bad.mean["roc_auc"])
    assert found["macro_roc_auc"].b == pytest.approx(good.macro["roc_auc"])
    assert np.isnan(found["macro_roc_auc"].p)  # its interval holds the classes fixed
    same = compare(bad, bad, 50)["energy"]
    assert (same.p, same.low, same.high) == (1, 0, 0)


def test_a_measure_takes_the_images_where_both_have_a_value():
    target = np.array([[1, 0, 0]], np.uint8)
    results = []
    for first in (np.inf, 5.0):
        evaluator = LocalizationEvaluator()
        maps = [[first, 1, 1]], [[1.0, 2, 1]], [[3.0, 0, 1]]
        for number, heat in enumerate(maps):
            evaluator.update(np.array(heat), target, names=str(number))
        results.append(evaluator.compute())
    found = compare(*results, 50)
    assert found["energy"].a == found["energy"].b == pytest.approx(100 * (1 / 4 + 3 / 4) / 2)
    assert results[1].mean["energy"] > found["energy"].b
    assert found["roc_auc"].a == results[0].mean["roc_auc"]


def test_what_cannot_be_paired_is_refused():
    a = metrics(5, 0.5)
    with pytest.raises(UsageError, match=r"1 images are only in the second, such as 5\.0"):
        compare(a, metrics(6, 0.5))
    with pytest.raises(UsageError, match=r"only in the first, .*4\.0.*Score both"):
        compare(a, metrics(4, 0.5))
    unnamed = LocalizationEvaluator()
    unnamed.update(np.zeros((2, 2)), np.eye(2, dtype=np.uint8))
    with pytest.raises(UsageError, match="give names"):
        compare(unnamed.compute(), unnamed.compute())
    results = []
    for size in (2, 3):
        evaluator = LocalizationEvaluator()
        evaluator.update(np.zeros((size, size)), np.eye(size, dtype=np.uint8), names="cat")
        results.append(evaluator.compute())
    with pytest.raises(UsageError, match="other targets in the two, such as cat"):
        compare(*results)
    empty = LocalizationEvaluator()
    empty.update(np.zeros((2, 2)), np.zeros((2, 2), np.uint8), names="cat")
    with pytest.raises(UsageError, match="0 images have a target, not 2"):
        intervals(empty.compute())
    with pytest.raises(UsageError, match="at least 2 samples"):
        intervals(a, 1)
    with pytest.raises(UsageError, match="between 0"):
        compare(a, a, level=1)
