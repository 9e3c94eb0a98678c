"""Which size a class has in an image, at the published limits themselves."""

from __future__ import annotations

import numpy as np
import pytest

from imagenets.evaluation.metrics import Evaluator


@pytest.mark.parametrize(
    ("percent", "size"),
    [
        *((1, "S"), (5, "S"), (6, "MS"), (25, "MS"), (26, "ML")),
        *((50, "ML"), (51, "L"), (99, "L")),
    ],
)
def test_a_size_ends_at_its_limit(percent: int, size: str) -> None:
    gt = np.zeros((10, 11), np.int64)
    gt[:, 10] = 1000  # ignored pixels do not count
    gt[:, :10].flat[:percent] = 1
    evaluator = Evaluator(num_classes=1)
    evaluator.update(gt * (gt < 1000), gt)
    metrics = evaluator.compute()
    found = {"S": metrics["S"], "MS": metrics["MS"], "ML": metrics["ML"], "L": metrics["L"]}
    assert found == pytest.approx({name: 100 * (name == size) for name in found})
