"""Labels on a grid come to the size of their image as torch brings them there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imagenets.errors import UsageError
from imagenets.pixels.grids import labels_of_grid

SIZES = [((32, 43), (375, 500)), ((1, 1), (5, 7)), ((64, 3), (20, 30)), ((7, 9), (7, 9))]


@pytest.mark.parametrize(("grid", "image"), SIZES)
@pytest.mark.parametrize("threshold", [0.37, 0.4, 0.41])
def test_ids_and_levels_are_torchs(
    grid: tuple[int, int], image: tuple[int, int], threshold: float
) -> None:
    """But where a level lies within rounding of the threshold."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 920, grid).astype(np.uint16)
    level = (0.4 + 0.05 * rng.standard_normal(grid)).astype(np.float32)
    found = labels_of_grid(ids, level, threshold, image[::-1])
    maps = [torch.from_numpy(part)[None, None] for part in (ids.astype(np.float32), level)]
    whole = F.interpolate(maps[0], image, mode="nearest")[0, 0].numpy()
    levels = F.interpolate(maps[1], image, mode="bilinear", align_corners=False)[0, 0].numpy()
    expected = np.where(levels >= np.float32(threshold), whole, 0)
    differ = found != expected
    assert (np.abs(levels[differ] - np.float32(threshold)) < 1e-7).all()
    assert differ.mean() < 1e-4
    assert found.dtype == np.uint16


def test_a_level_at_the_threshold_stays() -> None:
    ids, level = np.full((2, 2), 7, np.uint16), np.full((2, 2), 0.37, np.float32)
    assert (labels_of_grid(ids, level, 0.37, (6, 6)) == 7).all()
    assert (labels_of_grid(ids, level, 0.38, (6, 6)) == 0).all()


def test_what_compiled_code_would_take_at_its_word_is_refused() -> None:
    ids, level = np.ones((2, 3), np.uint16), np.ones((2, 3), np.float32)
    with pytest.raises(UsageError, match="uint16 ids and float32"):
        labels_of_grid(ids.astype(np.int64), level, 0.5, (4, 4))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"levels of \(3, 2\)"):
        labels_of_grid(ids, level.T, 0.5, (4, 4))
    with pytest.raises(UsageError, match=r"an image of \(0, 4\)"):
        labels_of_grid(ids, level, 0.5, (0, 4))
    strided = np.ones((4, 6), np.uint16)[::2, ::2]
    assert (labels_of_grid(strided, level, 0.5, (4, 4)) == 1).all()
