"""Orders and crops that runs were made with: the same seed gives them for good."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagenets import ImageNetS, Loader, RandomResizedCrop
from imagenets.data.loader.order import Order


@pytest.mark.parametrize(
    ("shuffle", "seed", "epoch", "first", "digest"),
    [
        ("exact", 0, 0, [26044, 34615, 62699, 39172], 147909922),
        ("exact", 0, 3, [8986, 35388, 58639, 48284], 1567076365),
        ("exact", 5, 3, [42449, 12523, 38624, 21625], 1668397540),
        ("window", 0, 0, [51955, 218, 66784, 28393], 640260839),
        ("window", 0, 3, [36787, 42464, 32707, 54656], 934600025),
        ("window", 5, 3, [1640, 1073, 40437, 21130], 3408252235),
    ],
)
def test_the_order_of_an_epoch(
    shuffle: Any, seed: int, epoch: int, first: list[int], digest: int
) -> None:
    order = np.concatenate([share.rows for share in Order(70_000, 100, seed, shuffle).of(epoch)])
    assert order[:4].tolist() == first
    assert zlib.crc32(order.astype("<i8").tobytes()) == digest


def test_the_crops_of_an_epoch(tiny_root: Path) -> None:
    loader = Loader(
        ImageNetS(tiny_root, "train", 3), 4, crop=RandomResizedCrop(8), seed=3, shuffle=True
    )
    list(loader)
    batches = list(loader)  # the second epoch
    assert batches[1].boxes is not None
    assert batches[1].flips is not None
    assert batches[1].indices.tolist() == [22, 8, 5, 16]
    assert batches[1].boxes.tolist() == [
        [1, 1, 19, 17],
        [1, 6, 14, 13],
        [9, 1, 13, 13],
        [6, 6, 14, 11],
    ]
    assert batches[1].flips.tolist() == [True, False, True, False]
