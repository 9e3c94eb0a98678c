"""Labels of patches, against a plain loop over patches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagenets import patch_labels
from imagenets.errors import UsageError


def plainly(
    mask: NDArray[Any], rows: int, cols: int, ignored: int
) -> tuple[list[list[int]], list[list[dict[int, float]]]]:
    """Label and shares of each patch."""
    height, width = mask.shape
    labels: list[list[int]] = []
    shares: list[list[dict[int, float]]] = []
    for i in range(rows):
        labels.append([])
        shares.append([])
        for j in range(cols):
            top, bottom = i * height // rows, (i + 1) * height // rows
            left, right = j * width // cols, (j + 1) * width // cols
            seen = Counter(mask[top:bottom, left:right].reshape(-1).tolist())
            seen.pop(ignored, None)
            most = max(seen.values(), default=0)
            labels[-1].append(min((one for one in seen if seen[one] == most), default=ignored))
            shares[-1].append({one: count / sum(seen.values()) for one, count in seen.items()})
    return labels, shares


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([np.uint16, np.int64, np.int16, np.uint8]),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_patches_are_those_of_a_plain_loop(
    size: tuple[int, int], grid: tuple[int, int], kind: Any, kinds: int, seed: int
) -> None:
    rows, cols = min(grid[0], size[0]), min(grid[1], size[1])
    ignored = 255 if kind is np.uint8 else 1000
    values = [0, 1, ignored] if kind is np.uint8 else [ignored, 7, 919]
    mask = np.random.default_rng(seed).choice(values[:kinds], size).astype(kind)
    made = patch_labels(mask, (rows, cols))
    labels, shares = plainly(mask, rows, cols, ignored)
    assert made.labels.dtype == kind
    assert made.labels.tolist() == labels
    assert made.ids.tolist() == sorted(set(mask.reshape(-1).tolist()) - {ignored})
    assert made.shares.dtype == np.float32
    assert made.shares.shape == (rows, cols, len(made.ids))
    for i in range(rows):
        for j in range(cols):
            for place, one in enumerate(made.ids.tolist()):
                assert made.shares[i, j, place] == np.float32(shares[i][j].get(one, 0.0))


def test_of_ids_with_as_many_pixels_the_smallest_is_the_label() -> None:
    mask = np.array([[9, 9, 3, 5], [2, 2, 1000, 1000], [7, 7, 7, 1000]], np.uint16)
    assert patch_labels(mask, (1, 1)).labels.tolist() == [[7]]
    assert patch_labels(mask[:2], (1, 2)).labels.tolist() == [[2, 3]]
    assert patch_labels(mask[2:], (1, 2)).labels.tolist() == [[7, 7]]
    assert patch_labels(mask[1:2], (1, 2)).labels.tolist() == [[2, 1000]]
    assert patch_labels(mask[1:2], (1, 2)).shares.tolist() == [[[1.0], [0.0]]]


@pytest.mark.parametrize("grid", [7, 14, 16, 24, 37])
def test_batches_are_their_masks_one_by_one(grid: int) -> None:
    rng = np.random.default_rng(grid)
    coarse = rng.choice([0, 4, 1000], (3, 10, 10), p=[0.5, 0.3, 0.2]).astype(np.int16)
    masks = coarse.repeat(23, 1).repeat(23, 2)[:, :224, :224]
    made = patch_labels(torch.from_numpy(masks), grid)
    assert made.labels.shape == (3, grid, grid)
    for place, mask in enumerate(masks):
        alone = patch_labels(mask, grid)
        assert np.array_equal(made.labels[place], alone.labels)
        assert np.array_equal(made.shares[place], alone.shares)
        total = made.shares[place].sum(-1)
        assert np.allclose(total, made.labels[place] != 1000)


def test_a_grid_that_does_not_divide_covers_each_pixel_once() -> None:
    mask = np.arange(10, dtype=np.uint16)[None].repeat(2, 0)
    shares = patch_labels(mask, (1, 4)).shares  # columns 0-1, 2-4, 5-6, 7-9
    assert [np.flatnonzero(row).tolist() for row in shares[0]] == [
        *([0, 1], [2, 3, 4]),
        *([5, 6], [7, 8, 9]),
    ]


@pytest.mark.parametrize(
    ("mask", "grid", "message"),
    [
        (np.zeros((4, 4)), 2, "whole numbers, not float64"),
        (np.zeros(4, int), 2, r"whole numbers, not int64 of \(4,\)"),
        (np.zeros((4, 4), int), 5, "5 x 5 patches does not fit a mask of 4 x 4"),
        (np.zeros((4, 4), int), (1, 0), "1 x 0 patches does not fit"),
        (np.full((4, 4), -1), 2, "holds -1 to -1: ids are 0 to 65535"),
        (np.full((4, 4), 65536), 2, "ids are 0 to 65535"),
    ],
)
def test_what_has_no_patches_is_refused(mask: NDArray[Any], grid: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        patch_labels(mask, grid)
