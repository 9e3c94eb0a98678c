"""Labels on a grid come to the size of their image as torch brings them there."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imagenets.errors import UsageError
from imagenets.pixels.grids import labels_of_grid, largest_of_grid, nearest_of_grid

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


def whole(logits: np.ndarray, image: tuple[int, int]) -> torch.Tensor:
    """All maps at full size, in float32 as torch makes them."""
    maps = torch.from_numpy(logits).permute(2, 0, 1)[None].contiguous()
    return F.interpolate(maps, image, mode="bilinear", align_corners=False)[0]


def agree(logits: np.ndarray, image: tuple[int, int]) -> None:
    found = largest_of_grid(logits, image[::-1])
    maps = whole(logits, image)
    expected = maps.argmax(0).numpy()
    differ = found != expected
    values = [
        maps.gather(0, torch.from_numpy(ids.astype(np.int64))[None])[0].numpy()
        for ids in (found, expected)
    ]
    scale = np.abs(logits).max()
    assert (np.abs(values[0] - values[1])[differ] <= 3e-7 * scale).all()  # rounding alone
    assert differ.mean() < 1e-4
    assert (found.dtype, found.shape) == (np.uint16, image)


@pytest.mark.parametrize(("grid", "image"), [*SIZES, ((8, 11), (375, 500)), ((2, 1), (9, 2))])
@pytest.mark.parametrize("classes", [1, 2, 51, 920])
def test_the_largest_logits_are_those_of_the_whole(
    grid: tuple[int, int], image: tuple[int, int], classes: int
) -> None:
    rng = np.random.default_rng(classes)
    agree(rng.standard_normal((*grid, classes)).astype(np.float32), image)
    smooth = rng.standard_normal(classes) * 5 + rng.standard_normal((*grid, classes))
    agree(smooth.astype(np.float32), image)


def test_of_equal_logits_the_smallest_id_is_taken() -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 3, (6, 7, 40)).astype(np.float32)  # halves and quarters are exact
    image = (12, 14)
    found = largest_of_grid(logits, image[::-1])
    maps = whole(logits, image)
    assert np.array_equal(found, maps.argmax(0).numpy())
    first = (maps == maps.amax(0)).int().argmax(0).numpy()
    assert np.array_equal(found, first)
    assert (largest_of_grid(np.zeros((3, 4, 9), np.float32), (30, 20)) == 0).all()


def test_a_class_that_is_first_nowhere_on_the_grid_can_be_so_between_its_points() -> None:
    logits = np.zeros((1, 2, 3), np.float32)
    logits[0, 0, 0] = logits[0, 1, 1] = 10
    logits[:, :, 2] = 6
    found = largest_of_grid(logits, (40, 1))
    assert sorted(set(found.ravel().tolist())) == [0, 1, 2]
    agree(logits, (1, 40))


def test_no_map_of_a_class_is_held() -> None:
    """The maps of 920 classes would take 5.5 GB; the ids take 3 MB."""
    code = (
        "import resource, numpy as np; from imagenets.pixels.grids import largest_of_grid\n"
        "logits = np.random.default_rng(0).standard_normal((8, 12, 920)).astype(np.float32)\n"
        "for size in ((10, 10), (1500, 1000)):\n"
        "    largest_of_grid(logits, size)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    before, after = map(int, done.stdout.split())
    assert after - before < 30_000  # KiB


def test_ids_are_resized_as_torch_does() -> None:
    ids = np.random.default_rng(0).integers(0, 920, (31, 45)).astype(np.uint16)
    for image in ((100, 77), (13, 200), (31, 45)):
        maps = torch.from_numpy(ids.astype(np.float32))[None, None]
        expected = F.interpolate(maps, image, mode="nearest")[0, 0].numpy()
        assert np.array_equal(nearest_of_grid(ids, image[::-1]), expected)


def test_logits_that_compiled_code_would_take_at_their_word_are_refused() -> None:
    logits = np.ones((2, 3, 4), np.float32)
    with pytest.raises(UsageError, match="logits are float32 h x w x C, not float64"):
        largest_of_grid(logits.astype(np.float64), (4, 4))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"not float32 of \(2, 3, 0\)"):
        largest_of_grid(logits[..., :0], (4, 4))
    with pytest.raises(UsageError, match=r"an image of \(0, 4\)"):
        largest_of_grid(logits, (0, 4))
    assert (largest_of_grid(logits[:, ::2], (4, 4)) == 0).all()
