"""The one-pass sweep against scoring every threshold by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imagenets import masks
from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation.matching import CoOccurrence, match
from imagenets.evaluation.metrics import Evaluator
from imagenets.evaluation.sweep import THRESHOLDS, ThresholdSweep

K = 5


def images(dtype, number=6):
    rng = np.random.default_rng(3)
    for _ in range(number):
        height, width = rng.integers(1, 30, 2)
        gt = rng.choice([0, *range(1, K + 1), masks.IGNORED], (height // 4 + 1, width // 4 + 1))
        gt = np.kron(gt, np.ones((4, 4), int))[:height, :width]
        pred = np.where(
            rng.random(gt.shape) < 0.7, (gt + 2) % (K + 2), rng.integers(0, K + 3, gt.shape)
        )
        attention = (rng.random(gt.shape) * 1.1 - 0.1).astype(dtype)
        exact = rng.random(gt.shape) < 0.2
        attention[exact] = np.array(THRESHOLDS, dtype)[rng.integers(0, 81, exact.sum())]
        yield pred, attention, gt


def one_by_one(found, thresholds, dtype):
    for threshold in thresholds:
        cut = [(np.where(a < dtype(threshold), 0, p), g) for p, a, g in found]
        seen, evaluator = CoOccurrence(K), Evaluator(K)
        for pred, gt in cut:
            seen.update(pred, gt)
        matched = match(seen.matrix)
        table = np.array([matched.get(i, i) for i in range(K + 3)])
        for pred, gt in cut:
            evaluator.update(table[pred], gt)
        yield evaluator.compute()["mIoU"], matched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "thresholds",
    [pytest.param(THRESHOLDS, marks=pytest.mark.slow), (0.3,), (-0.05, 0.1, 0.1000001, 0.9)],
)
def test_every_threshold_equals_its_own_evaluation(dtype, thresholds):
    found = list(images(dtype))
    sweep, part = ThresholdSweep(K, thresholds), ThresholdSweep(K, thresholds)
    for pred, attention, gt in found[:4]:
        sweep.update(pred, torch.from_numpy(attention), gt)
    for image in found[4:]:
        part.update(*image)
    sweep.merge(part)
    result = sweep.compute()
    expected = list(one_by_one(found, thresholds, dtype))
    assert result.miou == pytest.approx([value for value, _ in expected])
    assert result.match == expected[result.best][1]
    assert result.best == int(np.argmax(result.miou))
    assert result.threshold == thresholds[result.best]


def test_many_keys_are_folded_as_they_come():
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(0, K + 1, (2, 60, 70))
    attention = rng.random((60, 70), np.float32)
    sweep = ThresholdSweep(K, np.arange(2000) / 2000)
    for _ in range(400):
        sweep.update(pred, attention, gt)
    once = ThresholdSweep(K, np.arange(2000) / 2000)
    once.update(pred, attention, gt)
    assert sweep.compute().miou == pytest.approx(once.compute().miou)


def test_bad_input_is_refused():
    sweep = ThresholdSweep(2)
    mask, attention = np.zeros((2, 3), int), np.zeros((2, 3))
    with pytest.raises(UsageError, match="no image"):
        sweep.compute()
    with pytest.raises(CorruptError, match="NaN"):
        sweep.update(mask, np.full((2, 3), np.nan), mask)
    with pytest.raises(CorruptError, match=r"not 0\.\.2"):
        sweep.update(mask, attention, mask + 3)
    with pytest.raises(UsageError, match="one H x W shape"):
        sweep.update(mask, attention.T, mask)
    with pytest.raises(UsageError, match="floating"):
        sweep.update(mask, mask, mask)
    with pytest.raises(UsageError, match="1 predictions, 2 attention maps"):
        sweep.update(mask, np.stack([attention] * 2), mask)
    with pytest.raises(UsageError, match="ascending"):
        ThresholdSweep(2, (0.2, 0.1))
    with pytest.raises(UsageError, match="cannot merge"):
        sweep.merge(ThresholdSweep(3))
