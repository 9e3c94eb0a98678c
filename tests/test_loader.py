"""The loader: the order depends on seed and epoch alone; errors arrive as they were raised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from imagenets.data.loader import Loader
from imagenets.errors import CorruptError


class Numbers(Dataset[Any]):
    def __init__(self, bad: int = -1) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == self.bad:
            raise CorruptError("n1/x_7.JPEG: broken")
        image = torch.full((3, 4 + index, 5), index, dtype=torch.uint8)
        return {"image": image, "class_id": index, "ilsvrc": 2 * index, "name": f"n1/x_{index}"}


def epoch(loader: Loader, number: int) -> list[list[str]]:
    loader.set_epoch(number)
    return [batch.names for batch in loader]


def test_batches_hold_images_of_all_sizes() -> None:
    batch = next(iter(Loader(Numbers(), 4, shuffle=False)))
    assert [tuple(image.shape) for image in batch.images] == [(3, 4 + i, 5) for i in range(4)]
    assert batch.sizes.tolist() == [[5, 4], [5, 5], [5, 6], [5, 7]]
    assert batch.class_ids.tolist() == [0, 1, 2, 3]
    assert batch.ilsvrc.tolist() == [0, 2, 4, 6]
    assert batch.masks is None


def test_the_order_is_the_same_for_any_number_of_workers() -> None:
    orders = []
    for workers in (0, 1, 2):
        loader = Loader(Numbers(), 3, seed=5, workers=workers)
        orders.append([epoch(loader, 0), epoch(loader, 1), epoch(loader, 0)])
    assert orders[0] == orders[1] == orders[2]
    first, second, again = orders[0]
    assert first == again != second


def test_each_epoch_visits_everything_once() -> None:
    loader = Loader(Numbers(), 3, drop_last=False)
    assert len(loader) == 4
    seen = sorted(name for names in epoch(loader, 3) for name in names)
    assert seen == [f"n1/x_{i}" for i in range(10)]
    assert len(Loader(Numbers(), 3)) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_is_raised_as_it_was(workers: int) -> None:
    loader = Loader(Numbers(bad=7), 5, workers=workers)
    with pytest.raises(CorruptError) as caught:
        list(loader)
    assert str(caught.value) == "n1/x_7.JPEG: broken"
