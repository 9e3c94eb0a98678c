"""Otsu's threshold: against trying every cut, by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation.otsu import otsu


def test_two_groups_by_hand() -> None:
    values = np.array([[0.1, 0.2, 0.1], [0.8, 0.9, 0.7]], np.float32)
    assert otsu(values) == pytest.approx(0.7)
    assert (values >= otsu(values)).tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_leaves_less_variance_within(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0.49, 0.01, 60), rng.normal(0.52, 0.01, 25)])
    values = values.round(3)  # with ties

    def within(threshold: float) -> float:
        upper, lower = values[values >= threshold], values[values < threshold]
        return float(upper.var() * len(upper) + lower.var() * len(lower))

    best = min(within(cut) for cut in np.unique(values)[1:])
    assert within(otsu(values)) == pytest.approx(best)


def test_it_is_a_value_that_was_given_in_its_own_precision() -> None:
    values = np.random.default_rng(0).random(1000, np.float32)
    found = np.float32(otsu(values))
    assert found in values
    assert 0 < (values >= found).mean() < 1


def test_what_has_no_threshold_is_told() -> None:
    with pytest.raises(UsageError, match="two different values"):
        otsu(np.full(5, 0.5))
    with pytest.raises(CorruptError, match="NaN"):
        otsu(np.array([0.1, np.nan]))
