"""Orders and crops that runs were made with: the same seed gives them for good."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagenets import ImageNetS, Loader, RandomResizedCrop, ShortSide
from imagenets.data.augment import short_side
from imagenets.data.loader.order import Order, by_shape
from imagenets.errors import UsageError


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


SHAPES = st.lists(st.sampled_from([(4, 6), (6, 4), (4, 4), (4, 9)]), max_size=60)


@given(shapes=SHAPES, size=st.integers(1, 9))
def test_batches_of_one_shape_are_full_and_hold_every_sample_once(
    shapes: list[tuple[int, int]], size: int
) -> None:
    batches = by_shape(np.array(shapes, np.int64).reshape(-1, 2), size)
    assert sorted(i for batch in batches for i in batch.tolist()) == list(range(len(shapes)))
    left = []
    for batch in batches:
        (shape,) = {shapes[i] for i in batch}
        assert batch.tolist() == sorted(batch.tolist())
        assert 1 <= len(batch) <= size
        if len(batch) < size:
            left.append(shape)
    assert len(left) == len(set(left))  # one that is not full for each shape, at most


@pytest.mark.parametrize("side", [11, 40])
def test_whole_images_come_resized_in_one_shape(tiny_root: Path, side: int) -> None:
    data, crop = ImageNetS(tiny_root, "validation", 3), ShortSide(side)
    batches = by_shape(crop.shapes(data.sizes), 3)
    found = []
    for batch in Loader(data, crop=crop, batches=batches):
        assert batch.crop_masks.dtype == torch.int16
        for place, index in enumerate(batch.indices.tolist()):
            sample = data[index]
            assert torch.equal(batch.crops[place], short_side(sample["image"], side))
            height, width = batch.crops.shape[2:]
            ids = Image.fromarray(sample["mask"].numpy().astype(np.int32), "I")
            ids = ids.resize((width, height), Image.Resampling.NEAREST)
            assert np.array_equal(batch.crop_masks[place].numpy(), np.asarray(ids))
        found += batch.indices.tolist()
    assert sorted(found) == list(range(len(data)))


def test_images_of_several_shapes_do_not_go_into_one_batch(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", 3)
    shapes = np.unique(ShortSide(11).shapes(data.sizes), axis=0)
    assert len(shapes) > 1
    with pytest.raises(UsageError, match=rf"in {len(shapes)} shapes.*by_shape"):
        list(Loader(data, len(data), crop=ShortSide(11)))
