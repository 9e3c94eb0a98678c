"""Quantus's numbers are ours where the definitions are the same; where not, it is shown how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from imagenets import ImageNetS, Loader
from imagenets.data.dataset.views import Squash
from imagenets.evaluation.localization import LocalizationEvaluator

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # the library's own
]

SIDE = 32
EQUAL = {
    "PointingGame": "pointing_game",
    "RelevanceRankAccuracy": "rank_accuracy",
    "RelevanceMassAccuracy": "energy",
    "AUC": "roc_auc",
}


def quantus_scores(
    name: str, heat: npt.NDArray[np.float32], objects: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    import quantus

    metric = getattr(quantus, name)(abs=False, normalise=False, disable_warnings=True)
    images = np.zeros((len(heat), 3, *heat.shape[1:]), np.float32)
    found = metric(
        model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2)),
        x_batch=images,
        y_batch=np.zeros(len(heat), np.int64),
        a_batch=heat[:, None],
        s_batch=objects,
        device="cpu",
    )
    return 100 * np.asarray(found, np.float64)


def ours(heat: Any, targets: Any) -> dict[str, npt.NDArray[np.float64]]:
    evaluator = LocalizationEvaluator()
    names = [f"{number:03d}" for number in range(len(heat))]  # the table is sorted by name
    evaluator.update(heat, targets, names=names)
    return evaluator.compute().per_image.values


@pytest.mark.parametrize("name", list(EQUAL))
def test_the_same_definition_gives_the_same_numbers(tiny_root: Path, name: str) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label").subset_present()
    (batch,) = Loader(data, len(data), crop=Squash(SIDE))
    heat = np.random.default_rng(0).random((len(data), SIDE, SIDE), np.float32)
    objects = batch.s_batch
    heat += np.float32(0.02) * objects[:, 0]
    theirs = quantus_scores(name, heat, objects)
    assert 0 < np.mean(theirs) < 100
    without_ignored = objects[:, 0].astype(np.uint8)  # Quantus knows none
    np.testing.assert_allclose(ours(heat, without_ignored)[EQUAL[name]], theirs, atol=1e-3)


def test_ignored_pixels_are_background_there(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label").subset_present()
    (batch,) = Loader(data, len(data), crop=Squash(SIDE))
    heat = np.random.default_rng(0).random((len(data), SIDE, SIDE), np.float32)
    theirs = quantus_scores("RelevanceMassAccuracy", heat, batch.s_batch)
    assert (ours(heat, batch.targets)["energy"] > theirs + 1).any()


def test_one_of_many_highest_pixels_is_a_hit_there() -> None:
    heat = np.ones((1, SIDE, SIDE), np.float32)
    heat[0, -1] = 0
    targets = np.zeros((1, SIDE, SIDE), np.uint8)
    targets[0, :1] = 1  # one of 31 rows that have the highest value
    assert quantus_scores("PointingGame", heat, targets[:, None] == 1) == [100]
    assert ours(heat, targets)["pointing_game"] == pytest.approx(100 / 31)


def test_negative_values_take_from_the_mass_there() -> None:
    heat = np.full((1, SIDE, SIDE), 0.5, np.float32)
    heat[0, SIDE // 2 :] = -0.25
    targets = np.zeros((1, SIDE, SIDE), np.uint8)
    targets[0, : SIDE // 2] = 1
    assert quantus_scores("RelevanceMassAccuracy", heat, targets[:, None] == 1) == [200]
    assert ours(heat, targets)["energy"] == [100]


def test_an_image_without_its_object_is_a_hit_there() -> None:
    heat = np.random.default_rng(0).random((1, SIDE, SIDE), np.float32)
    nothing = np.zeros((1, SIDE, SIDE), np.uint8)
    assert quantus_scores("PointingGame", heat, nothing[:, None] == 1) == [100]
    assert np.isnan(ours(heat, nothing)["pointing_game"]).all()
