"""The attention against true foreground: equal to a plain reading, and noted by the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imagenets import ImageNetS
from imagenets.methods.pass_.attention_scores import attention_scores, margin
from imagenets.methods.pass_.label_files import PseudoLabels
from imagenets.pixels.grids import level_of_grid


def test_the_scores_are_those_of_a_plain_reading(tiny_root: Path, finished: Path) -> None:
    folder = finished / "pseudo" / "validation"
    data = ImageNetS(tiny_root, "validation", "3", masks=True)
    labels = PseudoLabels(sorted(folder.glob("*.h5")), data.rows, 0.0)
    aucs, inside, outside = [], [], []
    for index in range(len(data)):
        kept = labels.grid(int(data.rows[index]), data.names[index])
        level = level_of_grid(kept.attention, kept.size)
        mask = data.mask(index)
        own, others = level[(mask > 0) & (mask != 1000)], level[mask == 0]
        inside.append(own)
        outside.append(others)
        if len(own) and len(others):
            larger = (own[:, None] > others).mean() + (own[:, None] == others).mean() / 2
            aucs.append(larger)
    found = attention_scores(data, folder)
    assert found["attention_auc"] == pytest.approx(np.mean(aucs), abs=1e-9)
    assert found["attention_inside"] == pytest.approx(np.concatenate(inside).mean(), abs=1e-5)
    assert found["attention_outside"] == pytest.approx(np.concatenate(outside).mean(), abs=1e-5)
    noted = json.loads((finished / "pseudo" / "done.json").read_text("utf-8"))
    assert noted["attention_auc"] == found["attention_auc"]
    assert 0 <= noted["threshold_width"] <= 0.8


@pytest.mark.parametrize(
    ("miou", "width"),
    [([1, 9, 10, 9, 1], 0.2), ([10, 1, 10, 1, 1], 0.0), ([9, 9, 10, 10, 9], 0.4), ([0, 8, 10], 0)],
)
def test_the_margin_is_the_range_around_the_best_threshold(miou: list[float], width: float) -> None:
    thresholds = [step / 10 for step in range(len(miou))]
    assert margin(thresholds, miou) == pytest.approx(width)
