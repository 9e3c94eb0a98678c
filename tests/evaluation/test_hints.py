"""Scores that mean something else than one thinks are told; odd but honest ones are not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from imagenets.evaluation.metrics import Evaluator

Ids = npt.NDArray[np.int64]


def _ground_truth(classes: list[int], side: int = 40) -> list[Ids]:
    """One image a class: an object of a quarter of the image on background."""
    masks = []
    for one in classes:
        mask = np.zeros((side, side), np.int64)
        mask[10:30, 10:30] = one
        masks.append(mask)
    return masks


def _hints(pred: list[Ids], gt: list[Ids], num_classes: int) -> list[str]:
    evaluator = Evaluator(num_classes)
    evaluator.update(pred, gt)
    return evaluator.hints()


def test_right_masks_are_not_warned_of() -> None:
    gt = _ground_truth(list(range(1, 21)))
    assert _hints(gt, gt, 20) == []


@pytest.mark.parametrize("classes", [list(range(1, 301)), [3, 50, 120, 299]])
def test_255_as_background_is_told(classes: list[int]) -> None:
    """In a tier of 300, 255 is a class, so nothing else would say so."""
    gt = _ground_truth(classes)
    pred = [np.where(mask == 0, 255, mask) for mask in gt]
    (hint,) = _hints(pred, gt, 300)
    assert "id 255" in hint
    assert "Write background as 0" in hint


@pytest.mark.parametrize("step", [-1, 1])
def test_ids_shifted_by_one_are_told(step: int) -> None:
    gt = _ground_truth(list(range(2, 20)))
    pred = [np.where(mask > 0, mask + step, 0) for mask in gt]
    hints = _hints(pred, gt, 20)
    assert any("Check where your ids start" in hint for hint in hints)


def test_all_ids_shifted_with_background_are_told() -> None:
    gt = _ground_truth(list(range(1, 20)))
    hints = _hints([mask + 1 for mask in gt], gt, 20)
    assert any("one too large" in hint for hint in hints)


def test_clusters_without_a_match_are_told() -> None:
    gt = _ground_truth(list(range(1, 21)))
    order = np.append(0, 1 + np.random.default_rng(0).permutation(20))
    (hint,) = _hints([order[mask] for mask in gt], gt, 20)
    assert "With a match" in hint
    assert "100.0 mIoU" in hint


def test_ids_that_never_occur_are_told() -> None:
    gt = _ground_truth(list(range(1, 16)))
    pred = [np.where(mask > 0, 16 + mask % 5, 0) for mask in gt]
    (hint,) = [h for h in _hints(pred, gt, 20) if "never occur" in h]
    assert "16, 17, 18, 19, 20" in hint
    assert "25 %" in hint


def test_ten_images_of_919_are_not_warned_of() -> None:
    """A fair network on them: every object is found, half of them as another class."""
    gt = _ground_truth(list(range(5, 900, 90)))
    pred = [mask if i % 2 else np.where(mask > 0, mask + 7, 0) for i, mask in enumerate(gt)]
    assert _hints(pred, gt, 919) == []
    rng = np.random.default_rng(0)
    assert _hints([rng.integers(0, 920, mask.shape) for mask in gt], gt, 919) == []


@pytest.mark.parametrize("one", [0, 3, 17])
def test_one_predicted_class_is_not_warned_of(one: int) -> None:
    gt = _ground_truth(list(range(1, 13)))
    assert _hints([np.full_like(mask, one) for mask in gt], gt, 20) == []
    half = [np.where(np.arange(40) < 20, one, 0) * np.ones_like(mask) for mask in gt]
    assert _hints(half, gt, 20) == []


def test_sizes_without_objects_are_named() -> None:
    evaluator = Evaluator(20)
    evaluator.update(*(_ground_truth([1, 2]),) * 2)  # 25 % of an image: MS
    assert evaluator.empty == ["S", "ML", "L", "BS", "BML", "BL"]
    assert evaluator.compute()["S"] == 0
