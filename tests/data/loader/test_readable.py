"""A loader reads whatever offers what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from imagenets import ImageNetS, Loader, RandomResizedCrop
from imagenets.data.dataset.sample import Encoded
from imagenets.errors import UsageError


class Doubled:
    """Every sample of a data set twice, by delegation: not an `ImageNetS`."""

    has_masks = False

    def __init__(self, data: ImageNetS) -> None:
        self.data = data

    def __len__(self) -> int:
        return 2 * len(self.data)

    @property
    def class_ids(self) -> npt.NDArray[np.int16]:
        return self.data.class_ids.repeat(2)

    @property
    def ilsvrc(self) -> npt.NDArray[np.int16]:
        return self.data.ilsvrc.repeat(2)

    @property
    def names(self) -> Sequence[str]:
        return [name for name in self.data.names for _ in range(2)]

    def sizes_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return self.data.sizes_of(indices // 2)

    def encoded(self, index: int) -> Encoded:
        return self.data.encoded(index // 2)

    def where(self, index: int) -> str:
        return self.data.where(index // 2)


def test_a_loader_reads_what_offers_the_same(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "train", 3)
    (whole,) = Loader(Doubled(data), 48, shuffle=False, drop_last=False)
    assert whole.names[::2] == whole.names[1::2] == list(data.names)
    for index in (0, 5):
        assert torch.equal(whole.whole[2 * index], data[index]["image"])
        assert torch.equal(whole.whole[2 * index + 1], data[index]["image"])


@pytest.mark.parametrize("other", [[1, 2], torch.utils.data.TensorDataset(torch.zeros(3))])
def test_others_are_told_what_they_lack(other: Any) -> None:
    with pytest.raises(UsageError, match=r"has no sizes_of, encoded.*DataLoader"):
        Loader(other, 2)


def test_a_data_set_with_a_transform_is_refused(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "train", 3, transform=lambda sample: sample)
    with pytest.raises(UsageError, match="without a transform"):
        Loader(data, 2, crop=RandomResizedCrop(8))
