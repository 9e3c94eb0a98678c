"""The result of a stage that writes masks changes when any of them does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagenets.methods.pass_.mask_files import DONE, finish, masks_result, write_mask

TWO_CLUSTERINGS = {"one": (1, 2), "two": (2, 1), "again": (1, 2)}


def labels(folder: Path, *fills: int) -> str:
    """Writes masks that are each of one id, notes them, and gives their digest."""
    for number, fill in enumerate(fills):
        write_mask(folder / "train" / "n01" / f"{number}.png", np.full((8, 8), fill))
    finish(folder, "train", len(fills), threshold=0.5)
    result = masks_result(folder)
    assert result is not None
    return result


def test_other_labels_of_the_same_names_sizes_and_threshold_are_another_result(
    tmp_path: Path,
) -> None:
    """As of two clusterings whose categories have changed places."""
    one, two, again = (labels(tmp_path / name, *ids) for name, ids in TWO_CLUSTERINGS.items())
    sizes = [
        [path.stat().st_size for path in sorted((tmp_path / name).rglob("*.png"))]
        for name in TWO_CLUSTERINGS
    ]
    assert sizes[0] == sizes[1]
    assert one != two
    assert one == again


def test_a_lost_mask_is_no_result(tmp_path: Path) -> None:
    labels(tmp_path, 1, 2)
    (tmp_path / "train" / "n01" / "1.png").unlink()
    assert masks_result(tmp_path) is None


def test_a_mask_written_over_later_is_another_result(tmp_path: Path) -> None:
    before = labels(tmp_path, 1, 2)
    write_mask(tmp_path / "train" / "n01" / "1.png", np.arange(64).reshape(8, 8))
    assert masks_result(tmp_path) not in (None, before)


@pytest.mark.parametrize("missing", ["nothing is there", DONE])
def test_masks_that_are_not_noted_are_no_result(tmp_path: Path, missing: str) -> None:
    if missing == DONE:
        labels(tmp_path, 1)
        (tmp_path / DONE).unlink()
    assert masks_result(tmp_path) is None
